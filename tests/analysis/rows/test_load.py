"""Run folders and CSVs become one table."""

import json

import pandas as pd
import pytest

import analysis
from analysis.rows.columns import csv_columns
from tests.support.fake_study import write_study


@pytest.fixture
def runs(tmp_path):
    write_study(tmp_path, depths=(2, 3, 4), budgets=(1000, 3000), seeds=(0, 1), failed=[(4, 1)])
    return tmp_path


def test_a_sweep_gives_one_row_a_trial_and_budget_with_its_evaluation(runs):
    rows = analysis.load_runs(runs / "sweeps" / "depth")
    assert len(rows) == 2 * 5
    assert set(rows["images_asked"]) == {1000, 3000}
    assert (rows["fid_features_classifier"] == "classifier").all()
    assert rows["fid_corrected_classifier"].notna().all()
    assert rows["fid_classifier"].gt(rows["fid_corrected_classifier"]).all()
    assert rows["fid_guidance_classifier"].eq(1.5).all()
    assert rows.attrs["study"] == "depth"


def test_trials_without_a_row_are_listed_with_their_cause(runs):
    left = analysis.load_runs(runs / "sweeps" / "depth").attrs["left_out"]
    assert [(entry["images_asked"], entry["cause"]) for entry in left] == [(1000, "diverged"), (3000, "diverged")]
    assert "depth=4-seed=1" in left[0]["folder"]


@pytest.mark.parametrize("place", [".", "trials"])
def test_the_root_and_the_trials_folder_give_the_same_rows(runs, place):
    rows = analysis.load_runs(runs / place)
    assert len(rows) == 10
    assert [entry["cause"] for entry in rows.attrs["left_out"]] == ["diverged"]


def test_a_single_trial(runs):
    trial = next((runs / "trials").glob("depth=3-seed=0*"))
    rows = analysis.load_runs(trial)
    assert rows["depth"].tolist() == [3, 3]
    assert rows["images_seen"].tolist() == [1000, 3000]


def test_only_the_evaluations_of_the_study_are_joined(runs):
    budget = next((runs / "trials").glob("depth=3-seed=0*")) / "budgets" / "1000"
    (budget / "evaluations" / "fid-other.json").write_text(
        json.dumps({"kind": "fid", "label": "inception", "fid": 9.0, "samples": 50_000})
    )
    assert "fid_inception" not in analysis.load_runs(runs / "sweeps" / "depth")
    assert analysis.load_runs(runs)["fid_inception"].count() == 1


def test_sampling_seeds_are_averaged_as_on_the_terminal(runs):
    from var_scaling.runs.evaluations import pooled

    trial = next((runs / "trials").glob("depth=3-seed=0*"))
    folder = trial / "budgets" / "1000" / "evaluations"
    values = []
    for seed, fid in ((5, 3.0), (6, 5.0), (7, 4.5)):
        value = {"kind": "fid", "label": "x", "seed": seed, "samples": 400, "fid": fid + 1, "fid_corrected": fid}
        values.append(value | {"fid_low": fid - 0.3, "fid_high": fid + 0.3, "kid": fid / 10, "precision": 0.5})
        (folder / f"fid-{seed}.json").write_text(json.dumps(values[-1]))
    row = analysis.load_runs(trial).set_index("images_seen").loc[1000]
    terminal = pooled(values)
    for name in ("fid_corrected", "fid_low", "fid_high", "fid_spread", "kid", "seeds", "precision", "fid"):
        assert row[f"{name}_x"] == pytest.approx(terminal[name]), name
    assert row["fid_corrected_x"] == pytest.approx(12.5 / 3)
    assert row["fid_high_x"] - row["fid_corrected_x"] == pytest.approx(0.3 / 3**0.5)
    assert row["fid_spread_x"] == pytest.approx(1.040833)


def test_a_study_without_evaluations_shows_none_of_anothers(runs):
    study = runs / "sweeps" / "depth" / "study.json"
    study.write_text(json.dumps(json.loads(study.read_text()) | {"evaluations": []}))
    assert not [name for name in analysis.load_runs(study.parent).columns if name.startswith("fid")]


def test_a_missing_value_is_missing_and_a_half_written_budget_gives_no_row(runs):
    trial = next((runs / "trials").glob("depth=3-seed=0*"))
    (trial / "budgets" / "1000" / "row.json").unlink()
    rows = analysis.load_runs(runs / "sweeps" / "depth")
    assert len(rows) == 9
    assert "unfinished" not in rows.columns
    assert {"images_asked": 1000}.items() <= [e for e in rows.attrs["left_out"] if "depth=3" in e["folder"]][0].items()


def test_the_newest_sweep_is_the_last_launched(runs):
    write_study(runs / "b", depths=(2,), budgets=(5,), name="other", launched="2026-11-25T00:00:00+00:00")
    (runs / "b" / "sweeps" / "other").rename(runs / "sweeps" / "other")
    assert analysis.newest_sweep(runs).name == "other"


@pytest.mark.parametrize("command", ["single", "evaluate"])
def test_one_model_trained_or_evaluated_alone_is_not_the_newest_sweep(runs, command):
    alone = {"name": f"{command}-ab12", "launched": "2027-01-01T00:00:00+00:00", "trials": [{"trial": "ab12"}]}
    folder = runs / "sweeps" / alone["name"]
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(alone))
    assert analysis.newest_sweep(runs).name == "depth"
    (runs / "sweeps" / "depth").rename(runs / "depth")
    assert analysis.newest_sweep(runs).name == alone["name"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "nothing", "does not exist"),
        (lambda path: path, "holds no trial"),
        (lambda path: _file(path / "empty.csv", ""), "is empty"),
        (lambda path: _file(path / "head.csv", "a,b\n"), "no rows"),
    ],
)
def test_bad_places_are_refused_with_a_sentence(tmp_path, make, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        analysis.load_runs(make(tmp_path))


def test_a_broken_row_is_named(runs):
    row = next((runs / "trials").glob("depth=3-seed=0*")) / "budgets" / "1000" / "row.json"
    row.write_text('{"trial": ')
    with pytest.raises(ValueError, match="row.json"):
        analysis.load_runs(runs)


def _file(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_may_be_separated_by_semicolons_or_tabs(tmp_path, separator):
    lines = [separator.join(parts) for parts in (("N", "D", "loss"), ("1", "2", "3.5"), ("4", "5", "3.25"))]
    rows = analysis.load_runs(_file(tmp_path / "rows.csv", "\n".join(lines)))
    assert list(rows.columns) == ["N", "D", "loss"]
    assert rows["loss"].tolist() == [3.5, 3.25]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("N;loss\n1e6;3,5\n2e6;3,25\n", [3.5, 3.25]),
        ("N\tloss\n1000000,0\t3,5\n2000000,0\t3,25\n", [3.5, 3.25]),
        ("N\tloss\n125,000\t3.5\n250,000\t3.25\n", [3.5, 3.25]),  # thousands: N stays text, which is refused
    ],
)
def test_commas_are_decimal_where_they_do_not_separate(tmp_path, text, found):
    rows = analysis.load_runs(_file(tmp_path / "rows.csv", text))
    assert rows["loss"].tolist() == found
    assert rows["N"].tolist() in ([1e6, 2e6], ["125,000", "250,000"])


def test_rows_that_a_spreadsheet_left_empty_are_none(tmp_path):
    rows = analysis.load_runs(_file(tmp_path / "rows.csv", "N,loss\n1,3.5\n,\n4,3.25\n,\n,\n"))
    assert rows.index.tolist() == [0, 2]  # still the rows that the file's reader counts
    assert rows["N"].tolist() == [1, 4]
    with pytest.raises(ValueError, match="no rows"):
        analysis.load_runs(_file(tmp_path / "none.csv", "N,loss\n,\n,\n"))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("Model Size", "Training Tokens", "Training FLOP", "loss"), (0, 1, 2, 3)),
        (("Params", "Tokens", "FLOPs", "Val Loss"), (0, 1, 2, 3)),
        (("n_params", "n_tokens", "train_flops", "loss"), (0, 1, 2, 3)),
        (("N", "D", "C", "L"), (0, 1, 2, 3)),
        (("params", "n", "c", "loss"), (0, None, None, 3)),  # a small n counts something
    ],
)
def test_usual_names_are_known_however_they_are_written(names, found):
    columns = csv_columns(pd.DataFrame(columns=list(names)))
    expected = [None if place is None else names[place] for place in found]
    assert [columns.params, columns.data, columns.compute, columns.targets[0]] == expected
