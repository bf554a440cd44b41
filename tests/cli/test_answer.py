"""What `fit-laws` says first: the answer within a screen, and no number ever broken."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.laws.power import fit_power_law
from analysis.report.answer import answer_of, quantities
from analysis.report.formula import formula
from analysis.study.headline import of_one_form
from analysis.study.reading import slope_known
from analysis.study.sources import study_of
from tests.support.fake_study import write_study
from tests.support.programs import run
from var_scaling.cli.tables import Column, fitting_table

NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("answer") / "runs"
    write_study(root)
    return root


@pytest.fixture(scope="module")
def study(runs: Path):
    return study_of(runs / "sweeps" / "depth", targets=("loss_all_scales", "fid_corrected_classifier"))


def test_the_answer_fits_a_screen_and_tells_all_that_is_asked_first(runs: Path) -> None:
    done = run("scaling", "fit-laws", "depth", "--runs", str(runs), "--no-figures", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.rstrip("\n").split("\n")
    assert len(lines) <= 25
    # a command and a path are whole, for they are copied
    assert all(len(line.rstrip()) <= 76 for line in lines if str(runs) not in line)
    text = done.stdout
    for said in ("10 rows of 5 sizes", "law at 61,440 images", "N^-0.36", "predicted", "measured", "-0.23]"):
        assert said in text, said
    for label in ("open", "held", "next", "files"):
        assert any(line.startswith(label) for line in lines), label
    assert "1 %" not in text, "nobody asked for a test of 1 %"


def test_a_form_is_one_over_all_budgets_and_undetermined_laws_are_no_headline(study) -> None:
    for target in study.columns.targets:
        forms = {record.form for against in ("params", "compute") for record in of_one_form(study, target, against)}
        assert len(forms) == 1, target
    for each in answer_of(study).told:
        assert each.record is None or slope_known(each.record)


def test_the_formula_computes_what_the_law_predicts(study) -> None:
    for record in study.fitted:
        if record.against not in ("params", "compute") or record.form == "saturating":
            continue
        x = float(record.rows["x"].max())
        words = re.sub(r" ([NC])\^", r" * \1**", formula(record))
        told = eval(words, {"N": x, "C": x})
        assert told == pytest.approx(float(record.law.predict(x)[0]), rel=0.03), words


def test_two_fids_of_one_kind_keep_their_whole_names() -> None:
    targets = (
        "loss_all_scales",
        "fid_corrected_dinov2-val-1",
        "fid_corrected_classifier-a",
        "fid_corrected_classifier-b",
    )
    assert list(quantities(targets).values()) == [
        "loss, all scales",
        "FID dinov2",
        "FID classifier-a",
        "FID classifier-b",
    ]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_table_leaves_columns_out_and_breaks_no_number(width: int) -> None:
    from rich.console import Console

    columns = (Column("law"), Column("rows", True, worth=1), Column("exponent"), Column("offset", worth=5))
    rows = [["N at 61,440", "123", "-0.3634 to -0.229", "3.24531 [2.91234 to 3.40001]"], ["C", "7", "-0.1", ""]]
    table, left_out = fitting_table("", columns, rows, width)
    console = Console(width=width, force_terminal=False)
    with console.capture() as drawn:
        console.print(table)
    said = NUMBER.findall(drawn.get())
    whole = [number for row in rows for cell in row for number in NUMBER.findall(cell)]
    assert set(said) <= set(whole)
    assert ("3.24531" in said) == ("offset" not in left_out)
    assert "-0.3634" in said
    if width == 200:
        assert not left_out


def test_a_pipe_has_the_width_that_columns_says(tmp_path: Path) -> None:
    sizes = np.geomspace(1e6, 1e9, 6)
    pd.DataFrame({"params": sizes, "loss": 2 + 400 * sizes**-0.4}).to_csv(tmp_path / "rows.csv", index=False)
    done = run("scaling", "fit-laws", str(tmp_path / "rows.csv"), "--no-figures", "--all", COLUMNS="60")
    table = [line for line in done.stdout.splitlines() if line.startswith("N  ")]
    assert len(table) == 2
    assert all(len(line.rstrip()) <= 60 for line in table)
    assert "N^-0.4" in table[1]
    assert fit_power_law(sizes, 2 + 400 * sizes**-0.4, "fit").coefficients["alpha"] == pytest.approx(-0.4, abs=1e-6)


def test_several_kinds_of_rows_and_isoflop_minima_are_in_the_first_answer(tmp_path: Path) -> None:
    """A note of the study and the way to minima stood in laws.json and under --all alone."""
    table, told = tmp_path / "rows.csv", []
    kinds = [
        {"params": size, "tokens": budget / (6 * size) * 1.02**place, "budget": budget, "lr": 1e-3 * (1 + place % 2)}
        for budget in (1e18, 3e18, 1e19, 3e19)
        for place, size in enumerate(1e8 * (budget / 1e18) ** 0.5 * 1.6 ** np.arange(5))
    ]
    rows = pd.DataFrame(kinds)
    pd.concat([rows.assign(kind="red"), rows.assign(kind="blue")]).assign(
        loss=lambda t: 2 + 90 * t.params**-0.23 + 1800 * t.tokens**-0.36 + 0.01 * (t.kind == "red")
    ).to_csv(table, index=False)
    for more in ((), ("--compute", "budget")):
        done = run("scaling", "fit-laws", str(table), "--no-figures", "--out", str(tmp_path / "o"), *more, COLUMNS="80")
        assert done.returncode == 0, done.stderr
        told.append(" ".join(done.stdout.split()))
    assert all("note rows of 2 values of kind (blue, red)" in text for text in told)
    assert "name it with --compute budget" in told[0]
    assert re.search(r"isoFLOP \(\d minima\): N\* = \S+ C\^0\.\d+ \[", told[1])


def test_sizes_that_are_no_parameters_and_values_below_zero_are_called_what_they_are(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("gmacs,err\n8,48\n20,40\n60,33\n210,25\n")
    done = run("scaling", "fit-laws", str(table), "--x", "gmacs", "--y", "err", "--no-figures", COLUMNS="80")
    assert "(gmacs 8 to 210)" in done.stdout and "parameters" not in done.stdout
    table.write_text("params,loss\n0,4\n2e6,3.8\n4e6,3.6\n-8e6,3.5\n")
    done = run("scaling", "fit-laws", str(table), "--no-figures", COLUMNS="80")
    assert done.returncode == 2 and "is not above zero in rows 1, 4 (first: 0)" in done.stderr
