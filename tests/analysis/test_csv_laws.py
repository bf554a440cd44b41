"""Somebody's CSV: what its columns are taken for, which laws it gets, and what is said about the rest."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.lawtable import percent
from tests.analysis.test_fit_laws import run


@pytest.mark.parametrize(
    ("share", "text"), [(-0.00001, "0.00"), (0.00004, "0.00"), (-0.00006, "-0.01"), (0.0123, "+1.23"), (0.0, "0.00")]
)
def test_what_rounds_to_nothing_has_no_sign(share, text):
    assert percent(share) == text


def grid(sizes=8, amounts=6, noise=0.002, seed=0):
    """Every size at every amount of data, with losses of a planted law; columns params, tokens, loss."""
    params, tokens = (
        values.ravel() for values in np.meshgrid(np.geomspace(1e7, 2e9, sizes), np.geomspace(1e9, 1e11, amounts))
    )
    luck = noise * np.random.default_rng(seed).normal(size=len(params))
    loss = (1.8 + 480 / params**0.35 + 2000 / tokens**0.37) * np.exp(luck)
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss})


def laws(tmp_path, frame, *arguments, figures=False):
    """laws.json of a table, and where its files are."""
    frame.to_csv(tmp_path / "rows.csv", index=False)
    more = () if figures else ("--no-figures",)
    code, text, problem = run("fit-laws", tmp_path / "rows.csv", *arguments, *more, "--json")
    assert (code, problem) == (0, "")
    return json.loads(text), tmp_path / "rows_laws"


def test_the_best_size_s_exponent_is_told_with_its_interval(tmp_path):
    document, folder = laws(tmp_path, grid())
    joint = next(law for law in document["laws"] if law["form"].startswith("E + A/N"))
    low, high = joint["intervals"]["a_opt"]
    assert low < joint["derived"]["a_opt"] < high
    line = pd.read_csv(folder / "table.csv").set_index("form").loc["chinchilla"]
    assert (line["a_opt_low"], line["a_opt_high"]) == pytest.approx((low, high))
    _, text, _ = run("fit-laws", tmp_path / "rows.csv", "--no-figures")
    assert f"a_opt {joint['derived']['a_opt']:.3g} [{low:.3g}" in " ".join(text.split())
    assert r"$a_\mathrm{opt}$" in (folder / "table.tex").read_text()


@pytest.mark.parametrize(
    ("name", "unit", "ceiling"),
    [
        ("top1_err", 1, 1),
        ("Top-1 Error", 1, 1),
        ("ERR", 100, 100),
        ("top5 error (%)", 100, 100),
        ("loss", 1, None),
        ("interrupts", 1, None),
        ("squared error", 1000, None),
    ],
)
def test_error_rates_saturate_in_shares_and_in_per_cent(tmp_path, name, unit, ceiling):
    sizes = np.geomspace(1e6, 1e9, 12)
    rate = 0.2 + 0.8 / (1 + (sizes / 1e7) ** 0.5)
    frame = pd.DataFrame({"params": sizes, name: unit * rate})
    document, _ = laws(tmp_path, frame, "--x", "params", "--y", name, "--holdout", 0)
    forms = [law["form"] for law in document["laws"]]
    if ceiling is None:
        assert len(forms) == 2
        return
    law = document["laws"][2]
    assert law["form"] == f"floor + ({ceiling} - floor)/(1 + (beta x)^-alpha)"
    assert law["coefficients"]["floor"] == pytest.approx(0.2 * unit, rel=1e-4)
    assert law["coefficients"]["alpha"] == pytest.approx(-0.5, rel=1e-4)


def test_rows_without_a_loss_are_refused_or_left_out_by_name(tmp_path):
    frame = grid(sizes=30, amounts=1)
    frame.loc[[3, 7], "loss"] = None
    frame.loc[15, "loss"] *= 1.1
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--x", "params")
    assert code == 2
    assert "rows 4, 8" in problem
    assert "--drop-missing" in problem
    document, _ = laws(tmp_path, frame, "--x", "params", "--drop-missing", "--holdout", 0)
    note = next(note for note in document["notes"] if note["code"] == "rows_left_out")
    assert note["sentence"] == "loss is empty or infinite in rows 4, 8: not in its laws"
    assert (note["number"], note["rows"]) == (2, [3, 7])
    assert [law["rows_used"] for law in document["laws"]] == [28, 28]
    odd = [note for law in document["laws"] for note in law["notes"] if note["code"] == "outliers"]
    assert odd
    assert all(note["sentence"].startswith("row 16:") for note in odd)


def test_a_row_that_lacks_one_of_two_targets_keeps_the_other(tmp_path):
    frame = grid(sizes=8, amounts=1).assign(error=lambda frame: frame["loss"] / 10)
    frame.loc[2, "error"] = np.inf
    document, _ = laws(tmp_path, frame, "--x", "params", *("--y", "loss", "--y", "error"), "--drop-missing")
    assert {(law["target"], law["rows_used"]) for law in document["laws"] if law["refused"] is None} == {
        ("loss", 8),
        ("error", 7),
    }
    frame["error"] = None
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--x", "params", "--y", "error", "--drop-missing")
    assert code == 2
    assert "in every row" in problem


@pytest.mark.parametrize("arguments", [("--group", "run"), ("--budget", "tokens")])
def test_a_frontier_is_never_made_of_means_over_lengths_or_sizes(tmp_path, arguments):
    frame = grid().assign(run=lambda frame: frame["params"].astype("category").cat.codes)
    frame["flops"] = 6 * frame["params"] * frame["tokens"]
    named = ("--x", "params", "--data", "tokens", "--compute", "flops")
    _, folder = laws(tmp_path, frame, *named, *arguments, "--holdout", 0, figures=True)
    rows = pd.read_csv(folder / "loss_compute.csv").sort_values(["flops", "loss"])
    best = rows["loss"].cummin().shift(fill_value=np.inf)
    assert rows["loss_on_frontier"].tolist() == (rows["loss"] < best).tolist()
