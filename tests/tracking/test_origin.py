"""A run in the tracker is one training's: not another folder's, nor that of a folder which was emptied."""

import shutil
import sqlite3

from tests.support.tracker import Sweep, effective_points, train
from var_scaling.tracking.mirror import Mirror
from var_scaling.tracking.origin import folder_id


def runs_of(database, trial):
    """What each run of a trial holds: name and step -> values."""
    with sqlite3.connect(database) as connection:
        found = connection.execute("select run_uuid from tags where key = 'trial' and value = ?", (trial,)).fetchall()
        query = "select key, step, value, timestamp from metrics where run_uuid = ?"
        rows = [connection.execute(query, run).fetchall() for run in found]
    for of_run in rows:
        assert len({(key, step) for key, step, *_ in of_run}) == len(of_run), "a point is there twice"
    return [{(key, step): (value, at) for key, step, value, at in of_run} for of_run in rows]


def test_two_runs_folders_and_one_that_was_emptied_have_runs_of_their_own(uri, tmp_path):
    database = tmp_path / "mlflow.db"
    expected = []
    for place, shift in (("mine", 0.0), ("hers", 0.5)):
        sweep = Sweep(tmp_path / place)
        train(sweep, shift=shift)
        Mirror(sweep.runs, sweep.name, uri).sync()
        expected.append(effective_points(sweep, "02aa", {"trunk": 500}))
    shutil.rmtree(tmp_path / "mine")
    again = Sweep(tmp_path / "mine")
    train(again, shift=0.25)
    Mirror(again.runs, again.name, uri).sync()
    expected.append(effective_points(again, "02aa", {"trunk": 500}))
    shutil.rmtree(again.trial("02aa") / "attempts")  # somebody starts one trial anew
    train(again, shift=0.75)
    Mirror(again.runs, again.name, uri).sync()
    expected.append(effective_points(again, "02aa", {"trunk": 500}))
    assert len(expected) == 4
    assert sorted(runs_of(database, "02aa"), key=lambda points: sorted(points.items())) == sorted(
        expected, key=lambda points: sorted(points.items())
    )
    with sqlite3.connect(database) as connection:
        parents = connection.execute("select count(*) from tags where key = 'launch'").fetchone()[0]
    assert parents == 3, "and a launch of each folder"


def test_a_copy_and_a_lost_state_go_on_in_the_same_run(sweep, uri, tmp_path):
    train(sweep)
    Mirror(sweep.runs, sweep.name, uri).sync()
    shutil.copytree(sweep.runs, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "sweeps" / sweep.name / "mirror")
    Mirror(tmp_path / "copy", sweep.name, uri).sync()
    assert runs_of(tmp_path / "mlflow.db", "02aa") == [effective_points(sweep, "02aa", {"trunk": 500})]


def test_runs_from_before_they_had_an_origin_are_gone_on_with(sweep, uri, tmp_path):
    train(sweep)
    mirror = Mirror(sweep.runs, sweep.name, uri)
    mirror.sync()
    for known in mirror.state.runs.values():
        del known["origin"]
    mirror.state.save()
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("delete from tags where key = 'origin'")
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert len(runs_of(tmp_path / "mlflow.db", "02aa")) == 1
    for path in (sweep.folder / "mirror").glob("*.json"):
        path.unlink()
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert len(runs_of(tmp_path / "mlflow.db", "02aa")) == 1, "it has one now, by which it is found"


def test_the_name_of_a_folder_is_written_once(tmp_path):
    assert folder_id(tmp_path) == folder_id(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]
    (tmp_path / "other").mkdir()
    assert folder_id(tmp_path / "other") != folder_id(tmp_path)
