"""`fit-laws` from end to end: a study or a CSV in; laws, tables and figures out; every bad input a sentence."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.support.fake_study import write_study
from tests.support.laws import run
from var_scaling.cli.scaling import app


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_study(root, failed=[(6, 0)], depths=(2, 3, 4, 5, 6, 8), budgets=(20_480, 61_440), fid=False)
    code, text, problem = run("fit-laws", "--runs", root, "--json", "--y", "loss_all_scales", "--y", "error_last_scale")
    assert (code, problem) == (0, "")
    return root / "sweeps" / "depth" / "laws", json.loads(text)


def test_the_newest_sweep_is_fitted_and_its_files_written(study):
    folder, document = study
    assert json.loads((folder / "laws.json").read_text())["study"] == "depth"
    for stem in ("loss_params", "loss_compute", "error_params", "error_compute"):
        for kind in ("png", "svg", "pdf", "csv"):
            assert (folder / f"{stem}.{kind}").stat().st_size > 300
    rows = pd.read_csv(folder / "loss_params.csv")
    assert len(rows) == 10
    assert {"trial", "params_total", "loss_all_scales"} <= set(rows)
    assert len(document["files"]) == len(set(document["files"])) >= 19
    assert "\\toprule" in (folder / "table.tex").read_text()


def test_every_law_names_its_convention_interval_rows_and_held_out_size(study):
    _, document = study
    assert "all parameters" in document["conventions"]["N"]
    law = next(
        law for law in document["laws"] if law["name"] == "loss_all_scales against params at 20480, power + offset"
    )
    assert law["rows_used"] == 5
    low, high = law["intervals"]["alpha"]
    assert low < law["coefficients"]["alpha"] < high
    test = law["backtests"][0]
    assert test["low"] < test["predicted"] < test["high"]
    assert abs(test["error"]) < 0.01
    assert test["inside"] is True
    assert law["correlation"] < -0.99


def test_the_planted_law_falls_and_the_diverged_trial_is_said(study):
    _, document = study
    assert document["falls"]
    assert all(check["holds"] for check in document["falls"])
    codes = [note["code"] for note in document["notes"]]
    assert "rows_left_out" in codes
    assert "recipe_moves" in codes


def test_a_refused_fit_does_not_fail_the_study(study):
    _, document = study
    refused = [law["refused"]["code"] for law in document["laws"] if law["refused"]]
    assert "too_few_sizes" in refused  # two budgets do not carry five parameters
    assert any(law["refused"] is None for law in document["laws"])


def test_a_law_that_does_not_hold_is_said(tmp_path):
    sweep = write_study(tmp_path, fid=False)
    row = next((tmp_path / "trials").glob("depth=6*")) / "budgets" / "61440" / "row.json"
    values = json.loads(row.read_text()) | {"loss_all_scales": 9.0}
    row.write_text(json.dumps(values))
    code, text, _ = run("fit-laws", sweep, "--no-figures", "--y", "loss_all_scales")
    assert code == 0
    assert "loss_all_scales rises with size: " in text
    assert "9" in text


def test_a_study_without_rows_is_a_sentence(tmp_path):
    write_study(tmp_path, depths=(2,), failed=[(2, 0)])
    code, _, problem = run("fit-laws", "--runs", tmp_path)
    assert code == 2
    assert "no finished rows" in problem
    code, _, problem = run("fit-laws", "--runs", tmp_path / "nowhere")
    assert code == 2
    assert "no sweep" in problem


def test_an_outlier_is_named_as_the_reader_knows_it(tmp_path):
    sizes = np.repeat(np.geomspace(1e6, 1e9, 12), 3)
    loss = (2 + (sizes / 1e5) ** -0.4) * np.exp(0.003 * np.random.default_rng(0).normal(size=36))
    loss[4] *= 1.08
    for runs, words in (({}, "row 5:"), ({"run": [f"trial-{place}" for place in range(36)]}, "run trial-4 (x =")):
        pd.DataFrame({"params": sizes, "loss": loss} | runs).to_csv(tmp_path / "odd.csv", index=False)
        code, text, _ = run("fit-laws", tmp_path / "odd.csv", "--no-figures", "--json", "--holdout", 0)
        assert code == 0
        law = next(law for law in json.loads(text)["laws"] if law["form"] == "E + (beta x)^alpha")
        note = next(note for note in law["notes"] if note["code"] == "outliers")
        assert note["rows"] == [4]
        assert note["sentence"].startswith(words)


def table(path, **changes):
    sizes = np.array([1e6, 2e6, 4e6, 8e6, 1.6e7, 3.2e7])
    frame = pd.DataFrame({"params": sizes, "loss": 2 + (sizes / 1e5) ** -0.4, "run": list("abcdef")})
    for name, value in changes.items():
        frame[name] = value
    frame.to_csv(path, index=False)
    return path


def test_any_csv(tmp_path):
    code, text, _ = run(
        "fit-laws", table(tmp_path / "results.csv"), "--x", "params", "--y", "loss", "--group", "run", "--json"
    )
    assert code == 0
    law = json.loads(text)["laws"][1]
    assert law["coefficients"]["alpha"] == pytest.approx(-0.4, rel=1e-6)
    assert law["coefficients"]["E"] == pytest.approx(2, rel=1e-6)
    assert (tmp_path / "results_laws" / "loss_params.png").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": [3, 2.9, "oops", 2.7, 2.6, 2.5]}, ["row 3", "oops"]),
        ({"loss": [3, 2.9, None, 2.7, 2.6, None]}, ["rows 3, 6"]),
        ({"loss": [3, 2.9, 0, 2.7, -2.6, 2.5]}, ["rows 3, 5"]),
        ({"params": [1e6, 2e6, 4e6, 0.008e-3, 1.6e7, 3.2e7]}, ["row 4", "unit"]),
        ({"params": 1e6, "loss": [3, 2.9, 2.8, 2.7, 2.6, 2.5]}, ["too_few_sizes"]),
        ({"loss": [2, 2.1, 2.2, 2.3, 2.4, 2.5]}, ["loss_rises"]),
        (
            {"params": [1e6, 2e6, 2e6, 8e6, 1.6e7, 3.2e7], "loss": [3, 2.9, 2.9, 2.7, 2.6, 2.5], "run": list("abbdef")},
            ["row 3", "repeat"],
        ),
    ],
)
def test_bad_tables_exit_2_with_rows_and_draw_nothing(tmp_path, changes, words):
    path = table(tmp_path / "bad.csv", **changes)
    code, _, problem = run("fit-laws", path, "--x", "params", "--y", "loss", "--group", "run")
    assert code == 2
    for word in words:
        assert word in problem
    assert not list(tmp_path.glob("**/*.png"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--x", "parms", "--y", "loss"), ["parms", "did you mean 'params'"]),
        (("--x", "params", "--y", "los"), ["los", "loss"]),
    ],
)
def test_missing_columns_are_named(tmp_path, arguments, words):
    code, _, problem = run("fit-laws", table(tmp_path / "a.csv"), *arguments)
    assert code == 2
    for word in words:
        assert word in problem


def test_help_has_examples_and_loads_nothing_heavy():
    code = (
        "import sys; import var_scaling.cli.scaling; "
        "assert not {'torch', 'mlflow', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "results.csv" in CliRunner().invoke(app, ["fit-laws", "--help"]).stdout


def test_error_rates_and_fid_have_forms_of_their_own(tmp_path):
    sweep = write_study(tmp_path, depths=(2, 3, 4, 5, 6, 8), budgets=(20_480, 61_440), seeds=(0, 1))
    code, text, _ = run(
        "fit-laws",
        sweep,
        "--no-figures",
        "--json",
        *("--y", "loss_all_scales"),
        *("--y", "error_all_scales"),
        *("--y", "fid_corrected_classifier"),
    )
    assert code == 0
    found = {law["name"]: law for law in json.loads(text)["laws"]}
    rate = found["error_all_scales against params at 61440, saturating"]
    assert 0 < rate["coefficients"]["floor"] < 0.75
    assert rate["backtests"][0]["inside"] is not None
    assert "loss_all_scales against params at 61440, saturating" not in found
    fid = found["fid_corrected_classifier against loss, FID given loss, var"]
    assert fid["refused"] is None
    low, high = fid["intervals"]["rate"]
    assert 0 < low < fid["coefficients"]["rate"] < high
    assert fid["interval_method"].endswith("one cluster a run")
    line = next(line for line in (tmp_path / "sweeps/depth/laws/table.csv").read_text().splitlines() if "given" in line)
    assert "var" in line
