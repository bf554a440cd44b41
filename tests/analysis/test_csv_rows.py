"""What is said about the rows of somebody's CSV: which they are, as the file counts them, and what is wrong there."""

import pytest

from analysis.load import load_runs
from tests.analysis.test_csv_laws import grid, laws
from tests.analysis.test_fit_laws import run


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
