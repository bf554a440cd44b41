"""Tables that once crashed, or were fitted without a word, or with an interval too narrow: what is said of them now."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis import fit_chinchilla, fit_power_law
from analysis.study.sources import study_of, study_of_csv
from tests.support.fake_study import write_study
from tests.support.laws import run
from var_scaling.cli.laws import show_study
from var_scaling.cli.run import out

# Parameters and last-scale loss at three budgets of eight real trainings on photographs, and at the last of a ninth.
PHOTOGRAPHS = (
    (58_628, 6.08493, 6.01057, 5.89547),
    (58_628, 6.09853, 5.99731, 5.88107),
    (159_017, 6.08256, 5.98766, 5.83312),
    (159_017, 6.07766, 5.9766, 5.83192),
    (343_824, 6.07674, 5.9666, 5.77491),
    (343_824, 6.07543, 5.9528, 5.79103),
    (640_697, 6.07131, 5.94861, 5.75853),
    (640_697, 6.08403, 5.94672, 5.75701),
    (1_077_284, 5.74029),
)


def told(tmp_path, frame, *arguments):
    """What `fit-laws` prints of a table, on one line, and its laws.json."""
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, text, problem = run("fit-laws", tmp_path / "rows.csv", *arguments, "--no-figures", "--all")
    assert (code, problem) == (0, "")
    return " ".join(text.split()), json.loads((tmp_path / "rows_laws" / "laws.json").read_text())


def checkpoints(runs=5, amounts=12, shared=0.01, seed=3):
    """Runs of one size each, their checkpoints' losses off by the luck of the run."""
    rng = np.random.default_rng(seed)
    params, tokens = np.geomspace(1.5e7, 1.5e9, runs), np.geomspace(3e10, 2.5e11, amounts)
    luck = shared * rng.normal(size=runs)[:, None] + 0.0005 * rng.normal(size=(runs, amounts))
    loss = (1.6 + 60 / params[:, None] ** 0.25 + 4e3 / tokens**0.4) * np.exp(luck)
    rows = np.stack(np.broadcast_arrays(np.arange(runs)[:, None], params[:, None], tokens, loss), -1)
    return pd.DataFrame(rows.reshape(-1, 4), columns=["run", "params", "tokens", "loss"])


def test_checkpoints_of_one_run_do_not_narrow_an_interval(tmp_path):
    frame = checkpoints()
    frame.to_csv(tmp_path / "rows.csv", index=False)
    last = frame["tokens"].max()
    law = study_of_csv(tmp_path / "rows.csv").find("loss", "params", "power + offset", last)[0].law
    part = frame[frame["tokens"] == last]
    alone = fit_power_law(part["params"], part["loss"], "fit")
    widths = [np.ptp(each.interval("alpha")) for each in (law, alone)]
    assert widths[0] > 0.9 * widths[1]
    assert law.pooled[1] < 4  # of 24 degrees of freedom that twelve laws of five rows count


def test_budgets_of_unlike_runs_pool_their_noise(tmp_path):
    frame = checkpoints(shared=0.0).assign(run=lambda rows: rows.index)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    law = study_of_csv(tmp_path / "rows.csv").find("loss", "params", "power + offset", frame["tokens"].max())[0].law
    assert law.pooled[1] == pytest.approx(24)


@pytest.mark.parametrize("name", ["run_name", "Run ID", "experiment"])
def test_a_run_column_is_known_by_its_usual_names(tmp_path, name):
    frame = checkpoints().rename(columns={"run": name}).astype({name: str})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert study_of_csv(tmp_path / "rows.csv").columns.run == name


def test_a_column_that_looks_like_runs_is_said_where_it_counts(tmp_path):
    twice = pd.concat([checkpoints(amounts=4), checkpoints(amounts=4, seed=4).assign(run=lambda rows: rows["run"] + 5)])
    twice = twice.rename(columns={"run": "which"}).assign(
        which=lambda rows: "m" + rows["which"].astype(int).astype(str)
    )
    text, _ = told(tmp_path, twice)
    assert "name the runs with --group which" in text
    once = checkpoints(amounts=4).rename(columns={"run": "which"}).astype({"which": str})
    text, _ = told(tmp_path, once)
    assert "--group which" not in text  # a size is a cluster, whoever names it


def test_every_interval_holds_its_own_estimate():
    """Rows without a floor and without much: percentiles alone passed E = 0 and tied exponents by."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(12):
        params, data = (values.ravel() for values in np.meshgrid(np.geomspace(6e4, 6e5, 4), [5e3, 1.5e4, 3e4]))
        loss = 6.9 * (params / 1e5) ** -0.004 * (data / 1e4) ** -0.02 * np.exp(0.002 * rng.normal(size=12))
        try:
            law = fit_chinchilla(params, data, loss, np.inf)
            intervals = {name: law.interval(name) for name in law.estimator.natural(law.estimator.theta[None])}
        except ValueError:
            continue
        names = law.estimator.natural(law.estimator.theta[None])
        for name, (low, high) in intervals.items():
            assert low <= names[name][0] <= high, name
        found += 1
    assert found


def test_a_law_whose_interval_cannot_be_had_is_a_refusal_of_its_own(tmp_path):
    """E's interval could be had, that of alpha not: the command died after its first table and wrote nothing."""
    rows = [(run, *entry) for run, (params, *losses) in enumerate(PHOTOGRAPHS) for entry in _budgets(params, losses)]
    frame = pd.DataFrame(rows, columns=["trial", "params", "images", "loss"])
    text, document = told(tmp_path, frame)
    refused = [law for law in document["laws"] if law["refused"]]
    assert [law["form"] for law in refused] == ["chinchilla"]
    assert "resamples could not be refitted" in text
    for law in document["laws"]:
        assert law["refused"] or all(low is not None for low, _ in law["intervals"].values())


def _budgets(params, losses):
    return [
        (params, images, loss) for images, loss in zip((5_120, 15_360, 30_720)[-len(losses) :], losses, strict=True)
    ]


def test_a_ladder_whose_loss_rises_says_so(tmp_path):
    frame = pd.DataFrame(
        {"n_params": [1.5e6, 3.7e6, 1.2e7, 3.4e7, 8.8e7], "val_loss": [1.78, 1.67, 1.62, 1.603, 1.771]}
    )
    text, document = told(tmp_path, frame)
    assert "val_loss rises with size: from n_params 3.4e+07 (1.603) to 8.8e+07 (1.771), 10 %" in text
    assert document["falls"][0]["holds"] is False
    many = pd.DataFrame({"params": np.geomspace(1e6, 1e9, 400)})
    many["loss"] = (2 + (many["params"] / 1e6) ** -0.3) * np.exp(0.01 * np.random.default_rng(0).normal(size=400))
    text, _ = told(tmp_path, many)
    assert "loss falls with size (11 pairs)" in text  # neighbours of four hundred differ by their luck


def test_r_is_none_where_losses_lie_below_the_floor(tmp_path):
    params = np.array([1, 2, 4, 8, 16, 32, 64, 128]) * 100.0
    frame = pd.DataFrame({"params": params, "loss": [0.71, 0.302, 0.229, 0.219, 0.2165, 0.2161, 0.215, 0.2148]})
    _, document = told(tmp_path, frame, "--holdout", 0)
    law = next(law for law in document["laws"] if law["form"] == "E + (beta x)^alpha")
    assert law["coefficients"]["E"] > 0.2148
    assert law["correlation"] is None


def test_sizes_are_called_by_depth_only_where_a_depth_is_a_size(tmp_path):
    shapes = pd.DataFrame({"depth": [24, 6, 12, 27, 36], "params": [5e7, 1e8, 2e8, 4e8, 8e8]})
    frame = shapes.merge(pd.DataFrame({"tokens": [1e10, 3e10, 1e11]}), how="cross")
    frame["loss"] = 1.7 + 60 / frame["params"] ** 0.25 + 4e3 / frame["tokens"] ** 0.4
    frame.loc[frame["params"] == 2e8, "loss"] += 0.3
    text, _ = told(tmp_path, frame)
    assert "from params 1e+08" in text
    assert "depth 6" not in text
    code, text, _ = run("allocate", tmp_path / "rows.csv", "--flops", 1e22)
    assert code == 0
    assert "deep" not in text
    frame["depth"] = frame["params"].rank(method="dense")
    text, _ = told(tmp_path, frame)
    assert "from depth 2" in text


def test_within_one_per_cent_is_no_merit_where_sizes_hardly_differ(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"params": np.geomspace(1e6, 1e8, 6)})
    frame["loss"] = 5.7 * (frame["params"] / 1e6) ** -0.0005 * np.exp(0.003 * rng.normal(size=6))
    frame.loc[5, "loss"] = frame["loss"][4] * 0.9999  # the next smaller model's own loss is nearest
    text, document = told(tmp_path, frame)
    (check,) = document["deepest"]
    assert check["within"] and not check["better"] and not check["holds"]
    assert "broken loss, largest model" in text
    assert "which is nearer" in text


def test_an_isoflop_refusal_names_the_column_that_would_do(tmp_path):
    params = np.geomspace(5e7, 2e9, 7)
    rows = [
        {"params": p, "tokens": c / (6 * p) * f, "budget": c, "loss": 2 + 30 / p**0.2 + 50 / (c / p / 6) ** 0.25}
        for c in (3e18, 1e19, 3e19, 1e20, 3e20)
        for p, f in zip(params, (0.8, 1.2, 0.9, 1.1, 1.25, 0.85, 1.0), strict=True)
    ]
    text, _ = told(tmp_path, pd.DataFrame(rows))
    assert "no isoFLOP minima" in text
    assert "5 values that 7 sizes share, like planned compute: name it with --compute budget" in text


@pytest.mark.parametrize("name", ["final_loss", "lm_loss", "val_ce", "eval_nll"])
def test_one_column_that_reads_like_a_loss_is_the_loss(tmp_path, name):
    frame = pd.DataFrame({"params": np.geomspace(1e6, 1e9, 6), "wall": 1.0})
    frame[name] = 2 + (frame["params"] / 1e6) ** -0.3
    _, document = told(tmp_path, frame)
    assert document["columns"]["targets"] == [name]
    frame["other_loss"] = 1.0
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv")
    assert code == 2
    assert f"2 columns read like losses ({name}, other_loss)" in problem


def test_swept_hyper_parameters_and_many_families_are_said(tmp_path):
    places = pd.DataFrame([(n, d) for n in (2e8, 3e8, 5e8, 1e9) for d in (1e10, 3e10, 6e10)], columns=["N", "D"])
    frame = places.merge(pd.DataFrame({"lr": np.geomspace(3e-4, 2e-2, 23).round(6)}), how="cross")
    frame["bs"] = ([16] + [64, 128] * len(frame))[: len(frame)]
    frame["loss"] = 1.7 + 300 / frame["N"] ** 0.3 + (np.log(frame["lr"] / 2e-3) / 50) ** 2 + 1e-7 * frame.index
    text, _ = told(tmp_path, frame)
    assert "differ in lr" in text
    assert "differ in bs" in text
    frame = pd.DataFrame({"Family": [f"fam{place}" for place in range(22)] * 2, "flops": np.geomspace(1e20, 1e22, 44)})
    frame["error"] = 60 * (frame["flops"] / 1e20) ** -0.1
    text, _ = told(tmp_path, frame, "--x", "flops", "--y", "error")
    assert "rows of 22 values of Family" in text


def test_a_small_step_of_steps_is_told_as_such(tmp_path):
    frame = pd.DataFrame({"params": np.repeat([1e7, 3e7, 1e8, 3e8], 2), "step": [250_000, 300_000] * 4})
    frame["loss"] = [3.31, 3.30, 3.06, 3.05, 2.83, 2.82, 2.62, 2.61]
    text, _ = told(tmp_path, frame, "--x", "params", "--y", "loss")
    assert "by up to 20 %" in text
    text, _ = told(tmp_path, frame.assign(step=[249_000, 250_000] * 4), "--x", "params", "--y", "loss")
    assert "no law uses it" not in text


def test_at_one_budget_only_rows_of_one_amount_of_unique_images_are_compared(tmp_path):
    write_study(tmp_path, depths=(2, 3, 4, 5, 6), budgets=(20_480, 61_440), seeds=(0, 1), fid=False)
    for file in tmp_path.glob("trials/*seed=1*/budgets/*/row.json"):  # the second seed saw a tenth of the images
        row = json.loads(file.read_text())
        row |= {"unique_images": 2_000, "epochs": row["images_seen"] / 2_000}
        row["loss_all_scales"] *= 1.2
        file.write_text(json.dumps(row))
    study = study_of(tmp_path / "sweeps" / "depth", targets=("loss_all_scales",))
    records = study.find("loss_all_scales", "params")
    assert {len(record.rows) for record in records} == {5}
    assert all("seed=0" in name for record in records for name in record.rows["name"])
    assert any("most unique_images: 10 rows of fewer" in note.sentence for note in study.notes)


def test_an_outlier_of_a_study_is_named_by_depth_and_seed(tmp_path):
    write_study(tmp_path, depths=(2, 3, 4, 5, 6, 8, 10), budgets=(20_480,), seeds=(0, 1), fid=False)
    file = next(tmp_path.glob("trials/depth=5-seed=1*/budgets/*/row.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"loss_all_scales": 9.9}))
    study = study_of(tmp_path / "sweeps" / "depth", targets=("loss_all_scales",))
    notes = [note for record in study.fitted for note in record.law.notes if note.code == "outliers"]
    assert notes
    assert all("depth=5-seed=1" in note.sentence for note in notes)


def test_exponents_of_all_forms_have_one_sign(tmp_path):
    params, tokens = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 2e9, 7), np.geomspace(1e9, 1e11, 5)))
    loss = 1.8 + 480 / params**0.35 + 2000 / tokens**0.37
    frame = pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})
    text, _ = told(tmp_path, frame, "--budget", "tokens", "--holdout", 0)
    assert "N^-0.35 [-0.35" in text
    assert "D^-0.37 [-0.37" in text
    assert "N, D^-0.3" in text


def test_a_refusal_of_every_law_is_told_once(tmp_path):
    pd.DataFrame({"params": [1e6, 1e7], "loss": [2.0, 1.9]}).to_csv(tmp_path / "rows.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv")
    assert code == 2
    assert problem.count("2 distinct sizes for 2 parameters") == 1


def test_a_bug_is_no_mistake_of_the_user(tmp_path, monkeypatch):
    pd.DataFrame({"params": np.geomspace(1e6, 1e9, 6), "loss": np.linspace(3, 2, 6)}).to_csv(tmp_path / "r.csv")

    def broken(*_arguments, **_options):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr("analysis.study.sources.fit_study", broken)
    with pytest.raises(ValueError, match="broadcast"):
        run("fit-laws", tmp_path / "r.csv", "--x", "params")


def test_a_notebook_s_backend_does_not_stop_the_figures(tmp_path):
    frame = pd.DataFrame({"params": np.geomspace(1e6, 1e9, 6)})
    frame["loss"] = 2 + (frame["params"] / 1e6) ** -0.3
    frame.to_csv(tmp_path / "rows.csv", index=False)
    command = [sys.executable, "-c", "from var_scaling.cli.scaling import main; main()", "fit-laws", "rows.csv"]
    environment = os.environ | {"MPLBACKEND": "module://no_such_package.backend_inline"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows_laws" / "loss_params.png").stat().st_size > 1000


def test_show_study_needs_no_figures(tmp_path):
    frame = checkpoints()
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with out.capture():
        show_study(study_of_csv(tmp_path / "rows.csv", holdout=0))
