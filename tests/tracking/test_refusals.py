"""What a tracker refuses is said, stops nothing else, and is told from one that is silent; no password is shown."""

import http.server
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from tests.conftest import ROOT
from tests.support.tracker import Server, effective_points, free_port, stored_points, train
from var_scaling.runs import store
from var_scaling.tracking import address
from var_scaling.tracking.mirror import Mirror, NotTaken
from var_scaling.tracking.mlflow_mirror import main


def finish(sweep, trial):
    train(sweep, trial)
    for budget in (900, 2000):
        sweep.row(trial, budget, branch=400)
        (sweep.trial(trial) / "budgets" / str(budget) / "samples.png").write_bytes(b"png")


def words_of(client):
    experiment = client.get_experiment_by_name("depth").experiment_id
    return {r.info.run_name: r.info.status for r in client.search_runs([experiment])}


def test_an_artifact_place_that_cannot_be_written_stops_no_curve(sweep, uri, tmp_path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.create_experiment("depth", artifact_location="file:///proc/home/mlruns/depth")
    for trial in sweep.trials:
        finish(sweep, trial)
    mirror = Mirror(sweep.runs, sweep.name, uri)
    with pytest.raises(NotTaken, match=r"files of .* and 2 more: FileNotFoundError"):
        mirror.sync()
    for trial in sweep.trials:
        stored = stored_points(tmp_path / "mlflow.db", trial)
        assert effective_points(sweep, trial, {"trunk": 400}).items() <= stored.items()
        assert stored["compute/train_flops", 400][0] == 400 * 6_000 * int(trial[:2]) ** 3
        assert stored["val/loss_var", 2000][0] == 3.5
    assert set(words_of(client).values()) == {"FINISHED"}


def test_a_folder_that_was_moved_is_not_made_anew_where_it_was(sweep, uri, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    home = tmp_path / "project"
    home.mkdir()
    monkeypatch.chdir(home)
    finish(sweep, "02aa")
    Mirror(sweep.runs, sweep.name, uri).sync()
    home.rename(tmp_path / "moved")
    finish(sweep, "03aa")
    with pytest.raises(NotTaken, match=r"was it moved\? make a link of that name .*ln -s NEW .*/project"):
        Mirror(sweep.runs, sweep.name, uri).sync()
    assert not home.exists()
    home.symlink_to(tmp_path / "moved")
    Mirror(sweep.runs, sweep.name, uri).sync()
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("depth").experiment_id], "tags.trial = '03aa'")
    assert len(client.list_artifacts(run.info.run_id, "samples")) == 2


@pytest.mark.parametrize(
    ("ends", "word"),
    [(["finished", "diverged"], "FAILED"), (["finished", "stopped"], "KILLED"), (["finished", None], "KILLED"),
     (["finished", "alive"], "RUNNING"), (["finished", "finished"], "FINISHED")],
)  # fmt: skip
def test_a_launch_ends_as_its_trials_ended(sweep, uri, ends, word):
    from mlflow.tracking import MlflowClient

    for trial, end in zip(sweep.trials, ends, strict=True):
        if end == "finished":
            finish(sweep, trial)
        elif end is not None:
            attempt = store.take(sweep.trial(trial))
            sweep.train(sweep.journal(trial), "trunk", 0, 300)
            if end != "alive":
                attempt.end(end)
    Mirror(sweep.runs, sweep.name, uri).sync()
    assert words_of(MlflowClient(tracking_uri=uri))["depth 000"] == word
    Mirror(sweep.runs, sweep.name, uri, live=True).sync()
    launched = "FINISHED" if word == "FINISHED" else "RUNNING"
    assert words_of(MlflowClient(tracking_uri=uri))["depth 000"] == launched, "while a launcher is at it"


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server that wants a login, as a proxy before MLflow does; it answers 200 to the right one on /health."""

    def do_GET(self):
        import base64

        fine = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:s3c/ret").decode()
        self.send_response(200 if fine and self.path == "/health" else 401)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def refusing():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_no_is_said_once_and_told_from_silence(sweep, refusing, monkeypatch, capsys):
    train(sweep)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:wr0ng@{refusing}")
    assert main([str(sweep.runs), sweep.name, "--once"]) == 3
    said = capsys.readouterr().err
    assert said.count("refused: ") == 1
    assert "401" in said
    assert "wr0ng" not in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite://relative.db")
    assert main([str(sweep.runs), sweep.name, "--once"]) == 3
    assert "refused: " in capsys.readouterr().err


def test_a_server_behind_a_login_is_asked_with_it(refusing, monkeypatch):
    assert address.answer(f"http://user:s3c%2Fret@{refusing}") == "200"
    assert "401" in address.answer(f"http://user:other@{refusing}")
    assert "401" in address.answer(f"http://{refusing}")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3c/ret")
    assert address.answer(f"http://{refusing}") == "200"


def test_an_address_is_shown_without_its_password_and_kept_for_its_owner(tmp_path, monkeypatch):
    uri = "https://user:s3cret@track.example.org/mlf"
    assert (
        address.shown(f"API request to {uri}/x failed") == "API request to https://***@track.example.org/mlf/x failed"
    )
    assert address.ui_address(uri, "7").startswith("https://track.example.org/mlf/#/experiments/7/")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    address.write_uri(tmp_path / "tracker")
    assert stat.S_IMODE((tmp_path / "tracker").stat().st_mode) == 0o600
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///~/m.db")
    assert address.tracking_uri() == f"sqlite:///{os.path.expanduser('~')}/m.db"
    monkeypatch.setenv(address.URI_FILE, str(tmp_path / "tracker"))
    assert address.tracking_uri() == uri


def test_sync_json_is_one_document_and_shows_no_password(sweep, empty_store, tmp_path):
    finish(sweep, "02aa")
    database = tmp_path / "server.db"
    database.write_bytes(empty_store.read_bytes())
    server = Server(database, free_port())
    try:
        uri = server.address.replace("http://", "http://user:s3cret@")
        command = [sys.executable, "-m", "var_scaling.cli.sweep", "sync", "depth", "--json", "--runs", str(sweep.runs)]
        env = os.environ | {"MLFLOW_TRACKING_URI": uri, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, encoding="utf-8")
    finally:
        server.kill()
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tracker"] == server.address.replace("http://", "http://***@")
    assert told["page"].startswith(f"{server.address}/#/experiments/")
    assert "s3cret" not in done.stdout + done.stderr
    assert stored_points(database, "02aa")["val/loss_var", 900][0] == 3.5


def test_a_runs_folder_that_takes_no_note_of_what_was_sent_is_a_sentence(sweep, uri, capsys):
    train(sweep)
    (sweep.folder / "mirror").write_text("in the way")
    assert main([str(sweep.runs), sweep.name, "--once"]) == 3
    assert f"in {sweep.folder}: a mirror remembers there" in capsys.readouterr().err
