"""MLflow equals the effective journal point for point, whatever happens to the tracker or to the mirror."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.support.tracker import Server, Sweep, effective_points, free_port, run_count, stored_points
from tests.support.writers import mirrored
from var_scaling.runs import store
from var_scaling.tracking import mirror as mirror_module
from var_scaling.tracking.address import read_ui_address, state_path, ui_address
from var_scaling.tracking.connect import prepare
from var_scaling.tracking.mirror import Mirror
from var_scaling.tracking.mlflow_mirror import main


def curves(points):
    return {k: v for k, v in points.items() if k[0].split("/")[0] in ("train", "trunk") or k[0].startswith("anneal_")}


def test_it_publishes_what_is_durable_and_no_more(sweep, uri, tmp_path):
    journal = sweep.journal("02aa")
    sweep.train(journal, "trunk", 0, 700)
    sweep.durable(journal, "trunk", 500)
    Mirror(sweep.runs, sweep.name, uri).sync()
    stored = stored_points(tmp_path / "mlflow.db", "02aa")
    assert stored == effective_points(sweep, "02aa", {"trunk": 500})
    assert len(stored) == 2 * 5
    assert run_count(tmp_path / "mlflow.db") == 2, "a launch and a trial; none of the trial that has not begun"


def test_it_equals_the_effective_journal_over_attempts_branches_and_rounds(sweep, uri, tmp_path):
    mirror = Mirror(sweep.runs, sweep.name, uri)
    first = sweep.journal("03aa")
    sweep.train(first, "trunk", 0, 600, shift=0.5)  # killed: what follows 300 is done again
    sweep.durable(first, "trunk", 300)
    mirror.sync()
    second = sweep.journal("03aa", attempt=1)
    sweep.train(second, "trunk", 300, 720, step=70)
    sweep.durable(second, "trunk", 720)
    sweep.train(second, "anneal_900", 720, 900, step=60)
    mirror.sync()
    assert ("anneal_900/loss_var", 900) not in stored_points(tmp_path / "mlflow.db", "03aa"), "its row is not there yet"
    sweep.row("03aa", 900, branch=720)
    sweep.evaluation("03aa", 900, fid=5.25)
    mirror.sync()
    mirror.sync()
    stored = stored_points(tmp_path / "mlflow.db", "03aa")
    assert curves(stored) == effective_points(sweep, "03aa", {"trunk": 720, "anneal_900": 900})
    at = int((1_700_009_000.5 + 900) * 1000)
    assert stored["val/loss_var", 900] == (3.5, at)
    assert stored["val/error_var", 900] == (0.75, at)
    assert stored["scale/loss_02_var", 900] == (3.0, at)
    assert stored["fid/classifier-train-2000-g1.5", 900][0] == 5.25
    assert stored["fid/classifier-train-2000-g1.5_raw", 900][0] == 5.75
    assert stored["fid/classifier-train-2000-g1.5_floor", 900][0] == 3.25


def test_a_fid_metric_holds_the_studys_own_number_and_the_mean_over_its_seeds(sweep, uri, tmp_path):
    mirror = Mirror(sweep.runs, sweep.name, uri)
    sweep.durable(sweep.journal("03aa"), "trunk", 900)
    sweep.row("03aa", 900, branch=720)
    sweep.evaluation("03aa", 900, fid=5.0, name="fid-123.json", seed=5)
    sweep.evaluation("03aa", 900, fid=7.0, name="fid-124.json", seed=6)
    sweep.evaluation("03aa", 900, fid=40.0, name="fid-of-another-study.json", seed=0)
    mirror.sync()
    stored = stored_points(tmp_path / "mlflow.db", "03aa")
    assert stored["fid/classifier-train-2000-g1.5", 900][0] == 6.0
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        query = "SELECT count(*) FROM metrics WHERE key = 'fid/classifier-train-2000-g1.5'"
        assert database.execute(query).fetchone() == (1,)


def test_a_lost_state_and_a_kill_between_making_a_run_and_remembering_it_make_no_ghost(
    sweep, uri, tmp_path, monkeypatch
):
    journal = sweep.journal("02aa")
    sweep.train(journal, "trunk", 0, 500)
    sweep.durable(journal, "trunk", 500)
    original = mirror_module.State.save

    def dies_with_two_runs(self, at_once=True):
        if len(self.runs) == 2:
            raise KeyboardInterrupt
        original(self, at_once)

    monkeypatch.setattr(mirror_module.State, "save", dies_with_two_runs)
    with pytest.raises(KeyboardInterrupt):
        Mirror(sweep.runs, sweep.name, uri).sync()
    assert run_count(tmp_path / "mlflow.db") == 2, "the premise: the trial's run was made and is not remembered"
    monkeypatch.undo()
    Mirror(sweep.runs, sweep.name, uri).sync()
    before = stored_points(tmp_path / "mlflow.db", "02aa")
    assert before == effective_points(sweep, "02aa", {"trunk": 500})
    for path in (sweep.folder / "mirror").glob("*.json"):
        path.unlink()
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert stored_points(tmp_path / "mlflow.db", "02aa") == before
    assert run_count(tmp_path / "mlflow.db") == 2


def test_runs_are_nested_named_and_described(sweep, uri, tmp_path):
    from mlflow.tracking import MlflowClient

    for trial in sweep.trials:
        journal = sweep.journal(trial)
        sweep.train(journal, "trunk", 0, 300)
        for budget in (900, 2000):
            sweep.row(trial, budget, branch=200)
            (sweep.trial(trial) / "budgets" / str(budget) / "samples.png").write_bytes(b"png")
    (sweep.folder / "laws").mkdir()
    (sweep.folder / "laws" / "laws.json").write_text("{}")
    mirror = Mirror(sweep.runs, sweep.name, uri)
    mirror.sync()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("depth")
    assert experiment.artifact_location == (tmp_path / "mlruns" / "depth").as_uri()
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    of_rows = [f"var d{d} s0 · {n} images · {c} FLOPs" for d, n, c in (
        (2, 900, "4.3e7"), (2, "2k", "9.6e7"), (3, 900, "1.5e8"), (3, "2k", "3.2e8")
    )]  # fmt: skip
    assert sorted(runs) == sorted(["depth 000", "var-d2-s0-02aa", "var-d3-s0-03aa", *of_rows])
    row = runs["var d3 s0 · 2k images · 3.2e8 FLOPs"]
    assert row.data.tags["mlflow.parentRunId"] == runs["var-d3-s0-03aa"].info.run_id
    assert row.data.params == {"family": "var", "depth": "3", "seed": "0", "images": "2000", "FLOPs": "3.2e8"}
    assert row.data.metrics["budget/loss_var"] == 3.5
    assert row.data.metrics["budget/N_params"] == 27_000
    assert row.data.metrics["budget/C_train_flops"] == 2000 * 6_000 * 27
    assert row.data.metrics["budget/log10_D"] == pytest.approx(3.30103)
    assert "| var d3 s0 | 27k | 2k | 3.2e8 | 3.5000 | 0.7500 |" in experiment.tags["mlflow.note.content"]
    assert "| var d3 s0 | 27k | 2k |" in runs["depth 000"].data.tags["mlflow.note.content"]
    assert "d2 s0" not in runs["var-d3-s0-03aa"].data.tags["mlflow.note.content"]
    child, parent = runs["var-d3-s0-03aa"], runs["depth 000"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {"family": "var", "depth": "3", "seed": "0"}
    assert {child.data.tags[t] for t in ("trial", "cell", "family", "code")} == {"03aa", "cell-03aa", "var", "abc"}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    assert [f.path for f in client.list_artifacts(parent.info.run_id, "laws")] == ["laws/laws.json"]
    grids = client.list_artifacts(child.info.run_id, "samples")
    assert [g.path for g in grids] == ["samples/000000000900", "samples/000000002000"]
    assert read_ui_address(sweep.runs, sweep.name, uri) == ui_address(uri, experiment.experiment_id)


def test_a_failed_trial_and_a_deleted_run_are_seen(sweep, uri, tmp_path):
    from mlflow.tracking import MlflowClient

    journal = sweep.journal("02aa")
    sweep.train(journal, "trunk", 0, 300)
    sweep.durable(journal, "trunk", 300)
    store.write_json(sweep.trial("02aa") / "attempts" / "000" / "end.json", {"cause": "diverged", "time": 1.0})
    Mirror(sweep.runs, sweep.name, uri).sync()
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("depth").experiment_id], "tags.trial = '02aa'")
    assert run.info.status == "FAILED"
    second = sweep.journal("02aa", attempt=1)
    sweep.train(second, "trunk", 300, 400)
    mirror = Mirror(sweep.runs, sweep.name, uri)
    mirror.sync()
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    store.write_json(sweep.trial("02aa") / "attempts" / "001" / "end.json", {"cause": "stopped", "time": 1.0})
    mirror.sync()
    assert client.get_run(run.info.run_id).info.status == "KILLED"
    client.delete_run(run.info.run_id)
    sweep.train(journal, "trunk", 300, 500)
    sweep.durable(journal, "trunk", 500)
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert stored_points(tmp_path / "mlflow.db", "02aa") == effective_points(sweep, "02aa", {"trunk": 500})


@pytest.mark.parametrize("same_experiment_id", [True, False])
def test_a_store_that_was_emptied_gets_everything_again(sweep, uri, tmp_path, empty_store, same_experiment_id):
    journal = sweep.journal("02aa")
    sweep.train(journal, "trunk", 0, 300)
    sweep.durable(journal, "trunk", 300)
    Mirror(sweep.runs, sweep.name, uri).sync()
    (tmp_path / "emptied.db").write_bytes(empty_store.read_bytes())
    emptied = f"sqlite:///{tmp_path / 'emptied.db'}"
    # What the mirror remembers of the old store, as if it were of this one (one process cannot swap an open file).
    folder = sweep.folder
    state_path(folder, uri).rename(state_path(folder, emptied))
    if not same_experiment_id:
        prepare(emptied, "something else")
    Mirror(sweep.runs, sweep.name, emptied).sync()
    assert stored_points(tmp_path / "emptied.db", "02aa") == effective_points(sweep, "02aa", {"trunk": 300})


def test_the_address_of_the_page_that_shows_curves():
    assert ui_address("http://10.0.0.5:5000/", "7") == (
        "http://10.0.0.5:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=var-scaling"
        "&compareRunsMode=CHART"
    )
    assert ui_address("sqlite:///mlflow.db", "7").startswith("http://127.0.0.1:5000/#/experiments/7/")


def test_two_mirrors_at_once_and_a_sweep_that_is_not_there(sweep, uri, capsys):
    holder = store.take(_made(sweep.folder / "mirror"))
    assert main([str(sweep.runs), sweep.name, "--once"]) == 0
    assert "another mirror of depth is at work" in capsys.readouterr().err
    holder.end("finished")
    assert main([str(sweep.runs), "nosuch", "--once"]) == 2


def _made(folder):
    folder.mkdir(parents=True)
    return folder


def test_a_mirror_whose_launcher_was_killed_before_it_could_look_makes_its_last_round(sweep, uri, tmp_path):
    journal = sweep.journal("02aa")
    sweep.train(journal, "trunk", 0, 300)
    sweep.durable(journal, "trunk", 300)
    command = [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(sweep.runs), sweep.name, "--follow"]
    gone = subprocess.Popen(["true"])
    gone.wait()
    subprocess.run(command, env=os.environ | {"VAR_SCALING_LAUNCHER": str(gone.pid)}, timeout=120, check=True)
    assert stored_points(tmp_path / "mlflow.db", "02aa") == effective_points(sweep, "02aa", {"trunk": 300})


def test_a_server_that_dies_in_mid_run_and_comes_back_has_lost_nothing(sweep, uri, tmp_path, monkeypatch):
    database, port = tmp_path / "mlflow.db", free_port()
    server = Server(database, port)
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        command = [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(sweep.runs), sweep.name]
        mirror = subprocess.Popen([*command, "--follow"], stderr=open(tmp_path / "mirror.log", "wb"))  # noqa: SIM115
        journals = {trial: sweep.journal(trial) for trial in sweep.trials}
        for trial, journal in journals.items():
            sweep.train(journal, "trunk", 0, 700)
            sweep.durable(journal, "trunk", 700)
            _until(lambda t=trial: len(_stored(database, t)) == 14, "the first points arrive")
        server.kill()
        for trial, journal in journals.items():
            sweep.train(journal, "trunk", 700, 1600)
            sweep.durable(journal, "trunk", 1600)
            sweep.row(trial, 900, branch=700)
            sweep.evaluation(trial, 900, fid=4.0)
        _until(lambda: b"not sent, will be" in (tmp_path / "mirror.log").read_bytes(), "the outage is noticed")
        assert mirror.poll() is None, "the mirror outlives its tracker"
        assert all(len(_stored(database, t)) == 14 for t in sweep.trials), "the premise: nothing could be sent"
        server = Server(database, port)
        mirror.send_signal(signal.SIGTERM)
        code = mirror.wait(60)
        if code != 0:  # its last try fell into the outage: then `sync` does the rest
            assert subprocess.run([*command, "--once"], stderr=subprocess.DEVNULL).returncode == 0
        for trial in sweep.trials:
            stored = stored_points(database, trial)
            assert curves(stored) == effective_points(sweep, trial, {"trunk": 1600, "anneal_900": 900})
            assert stored["val/loss_var", 900][0] == 3.5
            assert stored["fid/classifier-train-2000-g1.5", 900][0] == 4.0
        assert run_count(database) == 3 + 2, "a launch, two trials, a row of each"
    finally:
        mirror.kill()
        mirror.wait()
        server.kill()


def _stored(database, trial):
    try:
        return stored_points(database, trial)
    except AssertionError:
        return {}


def _until(true, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_trials_that_write_at_once_lose_nothing_and_leave_no_ghost(uri, tmp_path):
    """The small one of benchmarks/mirror_concurrent.py."""
    sweep = Sweep(tmp_path, depths=range(2, 8))
    found = mirrored(sweep, uri, tmp_path / "mlflow.db", lines=60, pause=0.01, env=dict(os.environ))
    assert found.points == 6 * 60 * 3
    assert (found.lost, found.wrong) == (0, 0)
    assert found.runs == 6 + 1, "one for each trial and one for the launch"


def test_a_tracker_that_is_down_costs_one_try_and_says_so(sweep, uri, monkeypatch, capsys):
    sweep.train(sweep.journal("02aa"), "trunk", 0, 300)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    start = time.monotonic()
    assert main([str(sweep.runs), sweep.name, "--once"]) == 1
    assert time.monotonic() - start < 30
    assert capsys.readouterr().err.count("not sent, will be") == 3


def test_a_store_whose_creation_is_killed_is_made_by_the_next(tmp_path):
    database = tmp_path / "killed.db"
    uri = f"sqlite:///{database}"
    command = [sys.executable, "-c", f"from var_scaling.tracking import connect as m; m.prepare({uri!r}, 'x')"]
    kills = 0
    for delay in (0.05, 0.4, 1.0):
        process = subprocess.Popen(command, cwd=tmp_path)
        before = set(tmp_path.iterdir())
        while process.poll() is None and not (set(tmp_path.iterdir()) - before):
            time.sleep(0.005)
        time.sleep(delay)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 2, "the premise: it was at work"
    subprocess.run(command, cwd=tmp_path, check=True)
    assert prepare(uri, "x") == "1"
