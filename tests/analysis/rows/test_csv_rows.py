"""What is said about the rows of somebody's CSV: which they are, as the file counts them, and what is wrong there."""

import numpy as np
import pandas as pd
import pytest

from analysis.errors import CannotFit
from analysis.rows.columns import Columns, csv_columns, derive
from analysis.rows.conventions import unit_notes, unused_notes
from analysis.rows.falls import fall_checks
from analysis.rows.load import load_runs
from analysis.rows.recipe import pooled_notes
from analysis.rows.table import check_table, without_missing
from analysis.rows.words import axis
from tests.support.laws import grid, laws, repeated, run


def refused(tmp_path, frame, *arguments):
    """What a refused table is told."""
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--no-figures", *arguments)
    assert code == 2
    return problem


@pytest.mark.parametrize("names", [False, True])
def test_a_refused_law_names_rows_of_the_file_or_runs(tmp_path, names):
    frame = grid(sizes=6, amounts=4)
    frame = frame.iloc[::-1].reset_index(drop=True)
    if names:
        frame["run"] = [f"r{place}" for place in frame.index]
    document, _ = laws(tmp_path, frame, "--offset", 5, "--budget", "tokens")
    told = [
        law["refused"] for law in document["laws"] if law["refused"] and law["refused"]["code"] == "offset_too_high"
    ]
    assert len(told) >= 4
    lowest = frame.groupby("tokens")["loss"].idxmin()
    words = [f"(run r{place} (x = 2e+09))" if names else f"(row {place + 1})" for place in lowest]
    assert {word for word in words for refusal in told if word in refusal["sentence"]} == set(words)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("tokens", "many", "column 'tokens' holds text in rows 3, 5 (first: 'many')"),
        ("tokens", None, "column 'tokens' is empty or infinite in rows 3, 5"),
        ("run", None, "column 'run' names no run in rows 3, 5"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--drop-missing",)])
def test_a_budget_is_a_number_and_no_run_is_nameless(tmp_path, column, value, words, more):
    frame = grid(sizes=6, amounts=2).assign(run=lambda frame: [f"r{place}" for place in frame.index])
    frame[column] = frame[column].astype(object)
    frame.loc[[2, 4], column] = value
    named = ("--x", "params", "--group", "run", "--budget", "tokens")
    assert words in refused(tmp_path, frame, *named, *more)


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_header_given_twice_is_refused(tmp_path, separator):
    header, row = separator.join(("params", "params ", "loss")), separator.join("123")
    (tmp_path / "rows.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(ValueError, match="more than one column 'params'"):
        load_runs(tmp_path / "rows.csv")


def told(tmp_path, text, *arguments):
    """Exit code and problem of a table that was written by hand."""
    (tmp_path / "rows.csv").write_text(text)
    code, _, problem = run("fit-laws", tmp_path / "rows.csv", "--no-figures", *arguments)
    return code, problem


SIZES = (("10000000", "3.3"), ("30000000", "2.9"), ("100000000", "2.57"), ("300000000", "2.36"), ("1000000000", "2.2"))


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("params,loss", "run{place},{size},{loss}"),  # as R writes its row names
        ("params,loss", "{size},{loss},7"),
        ("params;loss", "{size};{loss};7;8"),
    ],
)
def test_a_row_longer_than_the_header_is_refused(tmp_path, header, row):
    rows = [row.format(place=place, size=size, loss=loss) for place, (size, loss) in enumerate(SIZES)]
    code, problem = told(tmp_path, "\n".join([header, *rows]))
    assert code == 2
    assert "row 1 of" in problem
    assert "more fields than the header has names (params, loss)" in problem
    separator = ";" if ";" in header else ","
    padded = separator.join(["2", "4", *[""] * (rows[0].count(separator) - 1)])
    assert "row 2 of" in told(tmp_path, "\n".join([header, padded, *rows]))[1]


@pytest.mark.parametrize("end", [",", ",,"])
def test_empty_fields_at_the_end_of_rows_are_none(tmp_path, end):
    (tmp_path / "rows.csv").write_text("\n".join(["params,loss", *(f"{size},{loss}{end}" for size, loss in SIZES)]))
    table = load_runs(tmp_path / "rows.csv")
    assert list(table.columns) == ["params", "loss"]
    assert table["loss"].tolist() == [3.3, 2.9, 2.57, 2.36, 2.2]
    assert table.index.tolist() == [0, 1, 2, 3, 4]


def test_decimal_commas_may_begin_below_the_first_row(tmp_path):
    (tmp_path / "rows.csv").write_text("params;loss\n10000000;4\n30000000;2,9\n")
    assert load_runs(tmp_path / "rows.csv")["loss"].tolist() == [4, 2.9]


def test_a_file_of_zero_bytes_is_no_table(tmp_path):
    code, problem = told(tmp_path, "\0" * 500)
    assert code == 2
    assert "is not a CSV table: its first line holds no names of columns" in problem


def test_dropped_rows_are_named_as_the_file_counts_them(tmp_path):
    """A row of commas is left out before any other and still counts."""
    rows = [f"{size},{loss}" for size, loss in SIZES]
    rows[1:2] = [",", rows[1], "50000000,"]
    (tmp_path / "rows.csv").write_text("\n".join(["params,loss", *rows]))
    table, notes = without_missing(load_runs(tmp_path / "rows.csv"), Columns(params="params", targets=("loss",)))
    assert notes[0].sentence == "loss is empty or infinite in row 4: not in its laws"
    assert notes[0].rows == (3,)
    assert len(table) == len(SIZES)


def ladder(sizes, noise=0.005, seed=0):
    luck = np.exp(noise * np.random.default_rng(seed).normal(size=len(sizes)))
    return pd.DataFrame({"params": sizes, "loss": (1.8 + 480 / np.array(sizes) ** 0.35) * luck})


def check(frame):
    check_table(frame, csv_columns(frame))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.001, 0.01])
def test_a_unit_that_changes_is_refused_with_its_rows(seed, noise):
    frame = ladder(np.geomspace(1e7, 1e9, 8), noise, seed)
    frame.loc[[6, 7], "params"] /= 1e6
    with pytest.raises(CannotFit, match=r"'params' jumps .* rows 7, 8 look like another unit \(times 1e\+06 they lie"):
        check(frame)
    frame = ladder(np.geomspace(1e7, 1e12, 11), noise, seed)
    frame.loc[[7, 8, 9, 10], "params"] /= 1e9
    with pytest.raises(CannotFit, match=r"rows 8, 9, 10, 11 look like another unit \(times 1e\+09"):
        check(frame)
    for name, scale in (("tokens", 1e6), ("params", 1e6), ("tokens", 1e9), ("params", 1e9)):
        frame = grid(noise=noise, seed=seed)
        frame.loc[::2, name] /= scale
        with pytest.raises(CannotFit, match="look like another unit"):
            check(frame)
    frame = grid(noise=noise, seed=seed).assign(flops=lambda frame: 6 * frame["params"] * frame["tokens"])
    frame.loc[frame.index[30:], "flops"] *= 1000
    with pytest.raises(CannotFit, match=r"flops / \(6 params tokens\) jumps by a factor 1e\+03 .* rows 31, 32"):
        check(frame)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0, 0.001, 0.01, 0.1])
def test_an_honest_ladder_may_have_holes(seed, noise):
    for sizes in (
        [1e6, 2e6, 1e8, 2e8],
        [1e6, 2e6, 4e6, 1e8, 2e8, 4e8, 8e8],
        [1e6, 2e6, 1e8, 3e8, 1e9, 2e9, 4e9],
        [1e6, 3e6, 1e7, 1e8, 1e11, 2e11, 4e11],
    ):
        check(ladder(sizes, noise, seed))
    frame = grid(noise=noise, seed=seed)
    check(frame[(frame["params"] < 3e7) | (frame["params"] > 1e9)])
    check(
        frame.assign(flops=lambda frame: 6 * frame["params"] * frame["tokens"] * np.where(frame["params"] < 1e8, 8, 1))
    )
    frame["loss"] = 2 * np.exp(noise * np.random.default_rng(seed).normal(size=len(frame)))
    check(frame[(frame["params"] < 3e7) | (frame["params"] > 1e9)])


def test_kinds_that_are_pooled_are_said(tmp_path):
    def notes(frame, *arguments):
        frame.to_csv(tmp_path / "rows.csv", index=False)
        table, columns = load_runs(tmp_path / "rows.csv"), csv_columns(frame, group=(*arguments, None)[0])
        return [note.sentence for note in unused_notes(table, columns, own=False)]

    frame = grid()
    frame["config"] = np.where(frame.index % 3 > 0, "long", "short")
    assert notes(frame) == [
        "rows of 2 values of config (long, short) are fitted as one; where they differ in more than size and data, "
        "fit a table of each"
    ]
    assert notes(frame, "config") == []
    assert notes(frame.assign(config=frame["config"] == "long"))[0].startswith(
        "rows of 2 values of config (False, True)"
    )
    frame["config"] = [f"d{size:.3g}" for size in frame["params"]]  # sizes by name
    assert notes(frame) == []
    frame["config"] = [f"run {place}" for place in frame.index]
    assert notes(frame) == []
    frame["config"] = "one"
    assert notes(frame) == []


def test_a_number_tried_at_every_size_is_said():
    def notes(frame):
        return [note.sentence for note in pooled_notes(frame, csv_columns(frame), own=False)]

    once = grid()
    frame = pd.concat([once.assign(lr=lr, seed=seed) for lr in (1e-3, 3e-3) for seed in (7, 40)], ignore_index=True)
    assert notes(frame) == [
        "rows of one size and amount differ in lr (0.001, 0.003) and are fitted as repeats, their differences as "
        "noise; fit a table of each"
    ]
    assert notes(frame[frame["lr"] > 1e-3]) == []
    assert notes(frame.assign(lr=frame["params"] ** -0.5)) == []  # a rule: one value a size
    assert notes(frame.rename(columns={"lr": "seconds"}).assign(seconds=np.arange(len(frame)) / 7)) == []  # measured
    scaled = frame.rename(columns={"lr": "learning_rate"}).assign(learning_rate=frame["lr"] * frame["params"] ** -0.3)
    (said,) = pooled_notes(scaled, csv_columns(scaled), own=True)  # of our own rows it is known to be the recipe
    assert "differ in learning_rate" in said.sentence
    assert notes(frame.assign(lr=frame["lr"].map({1e-3: 4, 3e-3: 5})).rename(columns={"lr": "replica"})) == []


def test_sizes_in_billions_are_no_counts():
    def notes(frame):
        columns = csv_columns(frame)
        return [note.sentence for note in unit_notes(*derive(frame, columns))]

    frame = grid()
    assert notes(frame) == []
    (said,) = notes(frame.assign(params=frame["params"] / 1e9))
    assert said.startswith("params is ") and "6 N D is training FLOPs only where both are in units" in said
    (said,) = notes(frame.assign(params=frame["params"] / 1e6, tokens=frame["tokens"] / 1e9))
    assert "at most and tokens is" in said


def test_equal_losses_of_two_seeds_are_no_repeat():
    frame = pd.concat([grid(sizes=4, amounts=1).round(1).assign(seed=seed) for seed in (0, 1)], ignore_index=True)
    assert len(check_table(frame, csv_columns(frame))) == 8
    for twice in (frame.drop(columns="seed"), pd.concat([frame, frame.iloc[[1]]], ignore_index=True)):
        with pytest.raises(ValueError, match="a repeat of an earlier row"):
            check_table(twice, csv_columns(twice))


def test_an_accuracy_is_told_to_be_one(tmp_path):
    frame = pd.DataFrame({"params": [1e6, 1e7, 1e8, 1e9], "accuracy": [50, 60, 68, 74]})
    assert "of an accuracy fit the error" in refused(tmp_path, frame, "--y", "accuracy")


@pytest.mark.parametrize(
    ("rise", "words"), [(0, "does not fall with size: 3 stays"), (1e-5, "(3) to 4e+06 (3.00001) at")]
)
def test_losses_that_stay_do_not_rise(rise, words):
    frame = pd.DataFrame({"params": [1e6, 2e6, 4e6], "tokens": 1e9, "loss": [4, 3, 3 + rise]})
    size, amount = fall_checks(frame, Columns(params="params", data="tokens", targets=("loss",), budget="tokens"))
    assert words in size.sentence
    assert amount.sentence == "loss: nothing to compare along tokens"
    held = fall_checks(frame[:2], Columns(params="params", targets=("loss",), budget="tokens"))[0]
    assert held.sentence == "loss falls with size at every value of tokens (1 pairs)"


def test_losses_are_compared_among_rows_of_one_amount_of_unique_data():
    """1.2e9 tokens of which 1e8 are new are worth less than 1e9 new ones: no loss rises with data there."""
    frame = repeated(epochs="E", unique_tokens="U")
    frame = frame[~((frame["unique_tokens"] == 1e9) & (frame["epochs"] == 16))]
    again = frame[frame["tokens"] == 1e9].assign(tokens=1.2e9, epochs=12, unique_tokens=1e8)
    again["loss"] += 2000 / 7e8**0.37 - 2000 / 1e9**0.37
    frame = pd.concat([frame, again], ignore_index=True)
    columns = csv_columns(frame, budget="tokens")
    checks = fall_checks(frame, columns)
    assert [check.violations for check in checks] == [(), ()]
    assert [check.pairs for check in checks] == [5 * 8, 6 * 5]
    once = fall_checks(frame, csv_columns(frame.drop(columns=["epochs", "unique_tokens"]), budget="tokens"))
    assert once[1].violations


def test_any_name_may_stand_in_tex_and_a_csv_s_compute_keeps_its_own(tmp_path):
    loss, tokens = r"a&b#c$d{e}f^g~h\i_j%", "my_tokens & co"
    frame = grid().rename(columns={"loss": loss, "tokens": tokens})
    frame["train_flops"] = 6 * frame["params"] * frame[tokens]
    _, folder = laws(tmp_path, frame, "--x", "params", "--y", loss, "--budget", tokens)
    text = (folder / "table.tex").read_text()
    words = r"a\&b\#c\$d\{e\}f\textasciicircum{}g\textasciitilde{}h\textbackslash{}i\_j\% & N, my\_tokens \& co = "
    assert words in text
    assert all(line.replace(r"\&", "").count("&") in (3, 6) for line in text.splitlines() if line.startswith("a"))
    columns = csv_columns(frame, "params", (loss,), compute="train_flops")
    assert axis(columns, "compute") == "train_flops ($C$)"
    study = Columns("params_total", "images_seen", "train_flops", run="trial")
    assert axis(study, "compute") == "Training compute $C$ (FLOPs)"


def test_a_hash_of_the_data_is_no_amount_of_data() -> None:
    """A study's own table.csv, whose `data` says which images they were, is a table like any other."""
    rows = pd.DataFrame({"params_total": [1e5, 2e5], "data": ["96bd1d", "96bd1d"], "images_seen": [1e4, 1e4]})
    rows["loss_all_scales"] = [3.2, 3.1]
    assert csv_columns(rows).data == "images_seen"
