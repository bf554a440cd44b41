"""Somebody's CSV: what its columns are taken for, which laws it gets, and what is said about the rest."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.figures.gallery import _backtests
from analysis.figures.scaling import draw_against_compute, draw_against_size
from analysis.rows.budgets import budgets_of_data
from analysis.rows.columns import Columns, csv_columns, derive
from analysis.rows.names import is_fid, is_loss
from analysis.rows.words import percent, span
from analysis.study.diagnostics import study_isoflop
from analysis.study.sources import study_of, study_of_csv
from analysis.study.study import fit_study
from tests.support.fake_study import write_study
from tests.support.laws import found, grid, isoflop_rows, laws, repeated, run
from var_scaling.cli.laws import show_study
from var_scaling.cli.run import out


@pytest.mark.parametrize(
    ("share", "text"), [(-0.00001, "0.00"), (0.00004, "0.00"), (-0.00006, "-0.01"), (0.0123, "+1.23"), (0.0, "0.00")]
)
def test_what_rounds_to_nothing_has_no_sign(share, text):
    assert percent(share) == text


def test_the_best_size_s_exponent_is_told_with_its_interval(tmp_path, monkeypatch):
    monkeypatch.setattr("var_scaling.cli.run.out.width", 160)  # narrower, the table leaves this column out
    document, folder = laws(tmp_path, grid())
    joint = next(law for law in document["laws"] if law["form"].startswith("E + A/N"))
    low, high = joint["intervals"]["a_opt"]
    assert low < joint["derived"]["a_opt"] < high
    line = pd.read_csv(folder / "table.csv").set_index("form").loc["chinchilla"]
    assert (line["a_opt_low"], line["a_opt_high"]) == pytest.approx((low, high))
    _, text, _ = run("fit-laws", tmp_path / "rows.csv", "--no-figures", "--all")
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


@pytest.mark.parametrize("lone", [False, True])
@pytest.mark.parametrize("names", [{}, {"seed": "Seed"}, {"seed": "run"}])
def test_a_frontier_is_of_means_over_seeds_whatever_tells_them_apart(tmp_path, names, lone):
    """The luckiest of six seeds lies below the law by more than its noise: E of the C-law came out too low."""
    once = pd.DataFrame({"params": np.geomspace(1e6, 1e9, 8)}).assign(flops=lambda frame: 1.2e10 * frame["params"])
    frame = pd.concat([once.assign(seed=seed) for seed in range(6)], ignore_index=True)
    luck = 0.01 * np.random.default_rng(0).normal(size=len(frame))
    frame["loss"] = (2.1 + (frame["params"] / 3e6) ** -0.28) * np.exp(luck)
    means = frame.groupby("params")["loss"].mean()
    frame["seed"] = [f"r{row}" for row in frame.index] if names.get("seed") == "run" else frame["seed"]
    frame = frame.rename(columns=names) if names else frame.drop(columns="seed")
    if lone and "Seed" in frame:
        frame = frame.drop(columns="params")
    _, folder = laws(tmp_path, frame, *(("--x", "flops") if lone else ()), "--holdout", 0, figures=True)
    drawn = pd.read_csv(folder / "loss_compute.csv")
    assert drawn["loss_on_frontier"].all()
    study = study_of_csv(tmp_path / "rows.csv", **({"x": "flops"} if lone else {}))
    points = study.find("loss", "compute")[0].rows
    assert points["y"].to_numpy() == pytest.approx(means.to_numpy())
    assert points["row"].iloc[1] == "2, 10, 18, 26, 34, 42"


def test_sizes_of_one_compute_are_no_seeds_where_no_column_names_them(tmp_path):
    frame = isoflop_rows().assign(seed=0).drop(columns="params")
    laws(tmp_path, frame, "--holdout", 0)
    points = study_of_csv(tmp_path / "rows.csv").find("loss", "compute")[0].rows
    assert points["y"].to_numpy() == pytest.approx(frame.groupby("flops")["loss"].min().to_numpy())


def test_a_grid_in_size_and_data_has_a_law_for_each_amount_of_data(tmp_path):
    frame = grid(sizes=6, amounts=14)
    frame.loc[len(frame)] = [3e7, 2e9, 2.9]  # a D of its own
    document, _ = laws(tmp_path, frame, "--holdout", 0)
    power = [law for law in found(document, "params") if law["form"] == "(beta x)^alpha"]
    assert len(power) == 12
    assert all(law["rows_used"] == 6 and law["budget"] in frame["tokens"].to_numpy() for law in power)
    assert document["conventions"]["budget"] == "laws against N: one at each value of tokens that 4 sizes or more share"
    note = next(note for note in document["notes"] if note["code"] == "rows_left_out")
    assert note["number"] == 13
    assert "12 of 15 values of tokens" in note["sentence"]
    assert "1e+09, 2e+09, 1.19" in note["sentence"]  # of equally populated ones an even choice stays
    assert max(law["budget"] for law in power) == frame["tokens"].max()


def test_whole_batches_do_not_part_what_was_trained_equally_long(tmp_path):
    frame = grid(sizes=6, amounts=3)
    frame["tokens"] *= 1 + 2e-4 * np.random.default_rng(0).random(len(frame))
    document, _ = laws(tmp_path, frame, "--holdout", 0)
    assert [law["rows_used"] for law in found(document, "params")] == [6] * 6
    assert "tokens (within 0.1%)" in document["conventions"]["budget"]


def test_rows_that_share_no_data_have_no_law_against_size(tmp_path):
    rng = np.random.default_rng(0)
    frame = grid(sizes=8, amounts=6)
    frame["tokens"] *= rng.uniform(0.8, 1.2, len(frame))
    document, folder = laws(tmp_path, frame, "--holdout", 0, figures=True)
    assert [law["refused"]["code"] for law in found(document, "params")] == ["mixed_conventions"] * 2
    assert "rows of like size differ in data" in found(document, "params")[0]["refused"]["sentence"]
    assert [law["refused"] for law in found(document, "params, data")] == [None, None]
    assert document["falls"] == []
    assert not (folder / "loss_params.png").exists()  # no figure from a refused fit
    # sizes read off a figure differ by a little: still rows of one size
    frame["params"] *= rng.uniform(0.999, 1.001, len(frame))
    document, _ = laws(tmp_path, frame, "--holdout", 0)
    assert all(law["refused"] for law in found(document, "params"))


@pytest.mark.parametrize("own", [False, True])
def test_sizes_of_several_computes_have_no_law_against_size_alone(tmp_path, own):
    frame = isoflop_rows(own)
    document, folder = laws(tmp_path, frame, "--holdout", 0, figures=True)
    refusals = [law["refused"] for law in found(document, "params")]
    assert [refusal["code"] for refusal in refusals] == ["mixed_conventions"] * 2
    assert "rows of like size differ in flops (4 values)" in refusals[0]["sentence"]
    assert [law["refused"] for law in found(document, "compute")] == [None, None]
    assert (folder / "loss_compute.png").exists()
    code, _, problem = run("predict", tmp_path / "rows.csv", "--size", "1e9")
    assert code == 2
    assert "rows of like size differ in flops" in problem
    document, _ = laws(tmp_path, frame, "--x", "params", "--holdout", 0)
    (note,) = document["notes"]
    assert note["sentence"].startswith("rows of like size differ in flops (up to 1e+03 times) and no law uses it")
    document, _ = laws(tmp_path, frame, "--budget", "flops", "--holdout", 0)
    assert {law["budget"] for law in found(document, "params")} == set(frame["flops"])
    document, _ = laws(tmp_path, frame.assign(tokens=frame["flops"] / 6 / frame["params"]), "--holdout", 0)
    assert "rows of like size differ in data" in found(document, "params")[0]["refused"]["sentence"]


def test_valleys_and_the_frontier_of_a_table_without_data_stay(tmp_path):
    document, _ = laws(tmp_path, isoflop_rows(), "--holdout", 0)
    assert document["isoflop"]["optimum"]["coefficients"]["exponent"] == pytest.approx(0.37 / 0.72, abs=0.02)


def test_a_ladder_of_one_compute_a_size_keeps_its_law_in_size(tmp_path):
    frame = grid(sizes=8, amounts=1).assign(flops=lambda frame: 120 * frame["params"] ** 2).drop(columns="tokens")
    again = frame.assign(params=frame["params"] * 1.004, flops=frame["flops"] * 1.008, loss=frame["loss"] * 1.001)
    document, _ = laws(tmp_path, pd.concat([frame, again]), "--holdout", 0)
    assert [law["refused"] for law in found(document, "params")] == [None, None]


def test_points_that_meet_at_one_d_by_chance_are_no_budgets():
    """Of 10,000 scattered rows almost all share a tenth of a per cent with three others."""
    rng = np.random.default_rng(0)
    for rows in (100, 10_000):
        frame = pd.DataFrame(np.exp(rng.uniform([16, 20], [23, 25], (rows, 2))), columns=["params", "tokens"])
        columns = Columns(params="params", data="tokens", targets=("loss",))
        assert budgets_of_data(frame, columns)[1].budgets == ()
    frame["tokens"] = np.geomspace(1e9, 1e11, 30)[rng.integers(30, size=rows)]
    assert len(budgets_of_data(frame, columns)[1].budgets) == 12


def test_checkpoints_of_one_schedule_are_budgets_however_close():
    params, steps = np.meshgrid(np.geomspace(1e7, 1e9, 5), np.arange(1, 1001))
    frame = pd.DataFrame({"params": params.ravel(), "tokens": 1e7 * steps.ravel()})
    _, columns = budgets_of_data(frame, Columns(params="params", data="tokens", targets=("loss",)))
    assert columns.budgets == tuple(1e7 * np.array([84, 167, 250, 334, 417, 500, 584, 667, 750, 834, 917, 1000]))


def test_many_held_out_points_are_drawn_and_told_in_part(tmp_path):
    rows = grid(sizes=5, amounts=27)
    columns = Columns(params="params", data="tokens", targets=("loss",), budget="tokens", budgets=(1e11,))
    study = fit_study(rows, columns)
    assert [len(record.backtests) for record in study.find("loss", "params, data")] == [27, 27]
    files = _backtests(study, tmp_path / "backtest")
    assert len(pd.read_csv(next(file for file in files if file.suffix == ".csv"))) == 2 + 2 * 27
    with out.capture() as told:
        show_study(study)
    assert told.get().count("by the joint law") == 12
    assert "of 27 such predictions hold" in told.get()


def test_runs_may_be_named_where_there_is_compute_alone(tmp_path):
    rows = grid(sizes=6, amounts=1)
    rows = pd.DataFrame({"flops": 6 * rows["params"] * rows["tokens"], "loss": rows["loss"], "id": rows.index})
    alone, _ = laws(tmp_path, rows, "--x", "flops", "--holdout", 0)
    named, _ = laws(tmp_path, rows, "--x", "flops", "--group", "id", "--holdout", 0)
    assert [law["coefficients"] for law in named["laws"]] == [law["coefficients"] for law in alone["laws"]]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"group": "loss"}, "'loss' cannot be loss and run at once"),
        ({"budget": "loss"}, "'loss' cannot be loss and budget at once"),
        ({"x": "params", "y": ("params",)}, "'params' cannot be size and loss at once"),
        ({"x": "params", "data": "params"}, "'params' cannot be size and data at once"),
        ({"x": "tokens", "compute": "tokens"}, "'tokens' cannot be size and compute at once"),
    ],
)
def test_a_column_plays_one_part(parts, words):
    with pytest.raises(ValueError, match=words):
        csv_columns(grid(), **parts)
    csv_columns(grid(), group="params", budget="tokens")  # runs and budgets may be named by what they are


@pytest.mark.parametrize(
    ("low", "high", "digits", "text"),
    [
        (-0.0388, -0.0109, 3, "-0.0388 to -0.0109"),
        (1.6876, 1.6911, 3, "1.6876 to 1.6911"),
        (1.68123e100, 1.73123e100, 3, "1.68e+100 to 1.73e+100"),
        (2, 2, 3, "2 to 2"),
        (2, 2 + 1e-13, 3, "2 to 2"),
        (0, 1.7, 3, "0 to 1.7"),
        (1.5, np.inf, 3, "1.5 to inf"),
    ],
)
def test_the_ends_of_an_interval_can_be_told_apart(low, high, digits, text):
    assert span(low, high, digits) == text


@pytest.mark.parametrize("tokens", [lambda frame: 20 * frame["params"], 1e10])
def test_a_ladder_of_one_recipe_has_one_law(tmp_path, tokens):
    frame = grid(sizes=8, amounts=1).assign(tokens=tokens)
    document, _ = laws(tmp_path, frame, "--holdout", 0)
    assert [(law["budget"], law["rows_used"]) for law in found(document, "params")] == [(None, 8), (None, 8)]
    assert "budget" not in document["conventions"]


def test_compute_follows_from_size_and_data(tmp_path):
    params, tokens = (
        values.ravel() for values in np.meshgrid(1e7 * 2.0 ** np.arange(9), 1e9 * 2.0 ** np.arange(8), indexing="ij")
    )
    frame = pd.DataFrame({"n": params, "d": tokens, "loss": 1.8 + 480 / params**0.35 + 2000 / tokens**0.37})
    document, folder = laws(tmp_path, frame, "--x", "n", "--data", "d", figures=True)
    assert document["conventions"]["C"] == "C: 6 N D, derived from N and D"
    assert [law["refused"] for law in found(document, "compute")] == [None, None]
    assert document["isoflop"]["optimum"]["coefficients"]["exponent"] == pytest.approx(0.37 / 0.72, abs=0.01)
    assert (folder / "isoflop.png").exists()
    given, _ = laws(tmp_path, frame.assign(flops=1e3 * params * tokens))
    assert given["conventions"]["C"] == "C: column flops"


@pytest.mark.parametrize(("sizes", "amounts"), [(12, 6), (12, 20), (30, 30)])
def test_a_grid_that_is_no_isoflop_grid_has_no_valleys(sizes, amounts):
    rng = np.random.default_rng(0)
    params, tokens = (
        values.ravel()
        for values in np.meshgrid(10 ** rng.uniform(7, 10, sizes), 10 ** rng.uniform(9, 12, amounts), indexing="ij")
    )
    frame = pd.DataFrame({"params": params, "tokens": tokens, "loss": 1.8 + 480 / params**0.35 + 2000 / tokens**0.37})
    refusal = study_isoflop(*derive(frame, Columns("params", "tokens", targets=("loss",))))
    assert refusal.code == "too_few_sizes"
    assert "no isoFLOP grid" in refusal.sentence


@pytest.mark.parametrize(
    ("x", "against", "words"),
    [("flops", "compute", {"C": "C: column flops"}), ("Training Tokens", "data", {"D": "D: column Training Tokens"})],
)
def test_a_lone_x_that_is_called_like_compute_or_data_is_that(tmp_path, x, against, words):
    sizes = np.geomspace(1e9, 1e12, 9)
    frame = pd.DataFrame({x: sizes, "loss": 2 + (sizes / 1e7) ** -0.2, "params": 1e7})
    document, folder = laws(tmp_path, frame, "--x", x, figures=True)
    assert document["conventions"] == words
    assert [law["against"] for law in document["laws"]] == [against] * 2
    assert document["laws"][1]["coefficients"]["alpha"] == pytest.approx(-0.2, rel=1e-5)
    drawn = (folder / f"loss_{against}.svg").read_text()
    assert "Parameters" not in drawn
    assert "nats" not in drawn


def test_axes_and_sentences_call_columns_what_their_owner_calls_them(tmp_path):
    _, folder = laws(tmp_path, grid(), "--holdout", 1)
    _, text, _ = run("fit-laws", tmp_path / "rows.csv", "--no-figures", "--all")
    assert "images" not in text + (folder / "table.tex").read_text()
    assert "loss at tokens = 100,000,000,000, largest model" in text
    for arguments in (("allocate", "--flops", "1e20"), ("design",), ("predict", "--size", "1e9")):
        code, text, _ = run(arguments[0], tmp_path / "rows.csv", *arguments[1:])
        assert code == 0
        assert "tokens" in text
        assert "images" not in text
    study = study_of_csv(tmp_path / "rows.csv")
    ax = draw_against_size(study, "loss")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("params ($N$)", "loss")
    ax = draw_against_compute(study, "loss")
    assert ax.get_xlabel() == "6 N D ($C$)"


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({"Epochs": "E"}, ()),
        ({"unique_tokens": "U"}, ()),
        ({"epochs": "E", "unique_images": "U"}, ()),
        ({"passes": "E"}, ("--x", "params", "--data", "tokens", "--epochs", "passes")),
        ({"passes": "E", "Unique Tokens": "U"}, ("--x", "params", "--data", "Unique Tokens", "--epochs", "passes")),
    ],
)
def test_repeated_data_have_a_law_from_the_command_line(tmp_path, monkeypatch, changes, arguments):
    monkeypatch.setattr("var_scaling.cli.run.out.width", 160)  # narrower, the table leaves R's column out
    document, folder = laws(tmp_path, repeated(**changes), *arguments)
    (law,) = found(document, "params, data, epochs")
    low, high = law["intervals"]["R"]
    assert low < 8 < high < 16
    assert document["conventions"]["D"].startswith(
        "D: column tokens" if "Unique Tokens" not in changes else "D: Unique Tokens x passes, derived"
    )
    line = pd.read_csv(folder / "table.csv").set_index("form").loc["repeated data"]
    assert (line["R"], line["R_low"]) == pytest.approx((law["coefficients"]["R"], low))
    assert "$R$ $" in (folder / "table.tex").read_text()
    _, text, _ = run("fit-laws", tmp_path / "rows.csv", *arguments, "--no-figures", "--all")
    assert f"R {law['coefficients']['R']:.3g} [{low:.3g}" in " ".join(text.split())
    assert not [note for note in document["notes"] if "no law uses it" in note["sentence"]]
    # at 1.6e10 half of the rows saw 1e9 sixteen times: those are no rows of one budget
    assert {law["budget"] for law in found(document, "params")} == {1e9, 2e9, 4e9, 8e9, 3.2e10, 1.28e11}


def test_epochs_that_no_law_uses_are_said(tmp_path):
    frame = repeated(epochs="E")
    document, _ = laws(tmp_path, frame, "--x", "params", "--data", "tokens", "--holdout", 0)
    note = next(note for note in document["notes"] if "epochs reaches 16 and no law uses it" in note["sentence"])
    assert note["code"] == "mixed_conventions"
    once, _ = laws(tmp_path, frame.assign(epochs=1), "--holdout", 0)
    assert not found(once, "params, data, epochs")
    assert not [note for note in once["notes"] if note["code"] == "mixed_conventions"]
    some, _ = laws(tmp_path, frame.rename(columns={"E": "epochs"}), "--holdout", 0)
    (note,) = [note for note in some["notes"] if note["code"] == "mixed_conventions"]
    assert "laws in C, and in N and D alone, count data seen again as new ones" in note["sentence"]
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--x", "params", "--epochs", "epochs")
    assert code == 2
    assert "--data" in problem


def test_a_study_on_several_numbers_of_unique_images_has_the_law_of_repeated_data(tmp_path):
    sweep = write_study(tmp_path, budgets=(20_480, 61_440, 184_320), seeds=(0, 1), fid=False)
    one = study_of(sweep, targets=("loss_all_scales",), holdout=0)
    assert not one.find(against="params, data, epochs")
    (note,) = [note for note in one.notes if "no law uses it" in note.sentence]
    assert note.quiet
    for file in tmp_path.glob("trials/*seed=1*/budgets/*/row.json"):
        row = json.loads(file.read_text())
        few = {"unique_images": 5_000, "epochs": row["images_seen"] / 5_000, "cell": row["cell"] + "-few"}
        file.write_text(json.dumps(row | few | {"loss_all_scales": row["loss_all_scales"] * 1.05}))
    (record,) = study_of(sweep, targets=("loss_all_scales",), holdout=0).find(against="params, data, epochs")
    assert record.law is not None or record.refusal is not None


def test_fid_given_loss_from_a_csv(tmp_path):
    loss, rng = np.linspace(3, 4, 10), np.random.default_rng(0)
    parts = [
        pd.DataFrame({"Family": name, "val_loss": loss, "FID50k": 2 + scale * np.exp(1.5 * (loss - 3))})
        for name, scale in (("dit", 2), ("var", 5))
    ]
    frame = pd.concat(parts)
    frame["FID50k"] *= np.exp(0.01 * rng.normal(size=len(frame)))
    document, folder = laws(tmp_path, frame, "--x", "val_loss", "--y", "FID50k", figures=True)
    names = [law["name"].rsplit(", ", 1)[-1] for law in document["laws"]]
    assert names == ["dit", "var"]
    for law in document["laws"]:
        low, high = law["intervals"]["rate"]
        assert 0 < low < law["coefficients"]["rate"] < high
        assert law["coefficients"]["rate"] == pytest.approx(1.5, rel=0.15)
    assert document["notes"] == []
    assert document["conventions"] == {"loss": "loss: column val_loss"}
    assert (folder / "fid_given_loss.png").exists()
    guessed, _ = laws(tmp_path, frame.drop(columns="Family"), "--x", "val_loss")
    assert [law["form"] for law in guessed["laws"]] == ["floor + scale exp(rate loss)"]
    frame["recall"] = 0.5
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--x", "val_loss", "--y", "FID50k", "--y", "recall")
    assert code == 2
    assert "recall" in problem


@pytest.mark.parametrize("name", ["loss", "Loss", "val_loss", "ce", "val CE", "nll", "NLL_c4", "cross_entropy"])
def test_losses_and_fids_are_known_by_name(name):
    assert is_loss(name)
    assert not is_fid(name)
    assert not any(is_loss(other) for other in ("params", "lossless", "since", "FID", "pace"))
    assert all(is_fid(other) for other in ("FID", "fid_10k", "rFID", "FID50k", "fid_corrected_inception"))
    assert not any(is_fid(other) for other in ("confidence", "fidelity"))


def test_a_law_that_pools_a_column_nobody_named_says_so(tmp_path):
    document, _ = laws(tmp_path, grid(), "--x", "params", "--holdout", 0)
    (note,) = document["notes"]
    assert note["code"] == "mixed_conventions"
    assert note["sentence"] == "rows of one size differ in tokens (up to 100 times) and no law uses it; see --data"
    document, _ = laws(tmp_path, grid(amounts=1), "--x", "params", "--holdout", 0)
    assert document["notes"] == []
    document, _ = laws(tmp_path, grid().rename(columns={"tokens": "global_step"}), "--holdout", 0)
    assert "differ in global_step (up to 100 times)" in document["notes"][0]["sentence"]


def test_learning_curves_of_one_or_two_sizes_are_no_frontier(tmp_path):
    document, folder = laws(tmp_path, grid(sizes=2), figures=True)
    assert {law["refused"]["code"] for law in found(document, "compute")} == {"too_few_sizes"}
    assert not (folder / "loss_compute.png").exists()
    grid(sizes=1).to_csv(tmp_path / "one.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "one.csv")
    assert code == 2
    assert "the frontier of 1 size is" in problem
    assert not (tmp_path / "one_laws").exists()
