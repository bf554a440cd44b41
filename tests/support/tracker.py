"""What a mirror reads and writes: a sweep of two trials on disk, a real tracking server, what a store holds."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from var_scaling.runs import store
from var_scaling.runs.journal import Journal, read_effective


class Sweep:
    """Writes what a launch and its workers write."""

    def __init__(self, root: Path, depths: Iterable[int] = (2, 3)) -> None:
        self.runs, self.name = root / "runs", "depth"
        self.folder = self.runs / "sweeps" / self.name
        self.trials = {f"{depth:02d}aa": f"var-d{depth}-s0-{depth:02d}aa" for depth in depths}
        budgets = [{"asked": 900, "images": 900}, {"asked": 2000, "images": 2000}]
        asked = {"budgets": budgets, "evaluations": ["fid-123.json", "fid-124.json"]}
        listed = [{"trial": t, "folder": f, **asked} for t, f in self.trials.items()]
        self._json(self.folder / "study.json", {"name": self.name, "launched": "2026-01-02", "trials": listed})
        jobs = [f"trials/{f}" for f in self.trials.values()]
        launched = "2026-01-02T03:04:05.000006+00:00"
        self._json(
            self.folder / "launches" / "000" / "launch.json", {"launched": launched, "launcher": "local", "jobs": jobs}
        )
        for trial, folder in self.trials.items():
            identity = {"kind": "trial", "seed": 0, "model": {"family": "var", "depth": int(trial[:2])}}
            self._json(self.runs / "trials" / folder / "identity.json", identity)

    def _json(self, path, value):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def trial(self, trial):
        return self.runs / "trials" / self.trials[trial]

    def journal(self, trial, attempt=0):
        return Journal(self.trial(trial) / "attempts" / f"{attempt:03d}" / "journal.jsonl")

    def train(self, journal, phase, start, stop, step=100, shift=0.0):
        """Lines at start + step .. stop; times and values follow from the images alone."""
        for images in range(start + step, stop + 1, step):
            journal.write(
                phase=phase,
                images=images,
                time=1_700_000_000.25 + images,
                **{"train/loss": 4 - images / 1e4 + shift, "train/learning_rate": images * 1e-6},
            )

    def durable(self, journal, phase, images):
        journal.write(event="checkpoint", phase=phase, images=images)

    def row(self, trial, budget, branch):
        row = {
            "trial": trial,
            "cell": f"cell-{trial}",
            "code": "abc",
            "family": "var",
            "depth": int(trial[:2]),
            "seed": 0,
            "params_total": 1_000 * int(trial[:2]) ** 3,
            "train_flops_per_image": 6_000 * int(trial[:2]) ** 3,
            "train_flops": budget * 6_000 * int(trial[:2]) ** 3,
            "images_seen": budget,
            "branch_images": branch,
            "finished": 1_700_009_000.5 + budget,
            "loss_all_scales": 3.5,
            "loss_last_scale": 3.25,
            "error_all_scales": 0.75,
            "loss_scale_1": 2.0,
            "loss_scale_2": 3.0,
        }
        self._json(self.trial(trial) / "budgets" / str(budget) / "row.json", row)

    def evaluation(self, trial, budget, fid, name="fid-123.json", **more):
        path = self.trial(trial) / "budgets" / str(budget) / "evaluations" / name
        finished = 1_700_010_000.0 + budget
        value = {
            "label": "classifier-train-2000-g1.5",
            "fid": fid + 0.5,
            "fid_corrected": fid,
            "kid": 0.01,
            "tokenizer_rfid": 3.25,
        }
        self._json(path, {**value, "finished": finished, **more})


def train(sweep, trial="02aa", shift=0.0, until=500):
    """A trial as a worker leaves it: claimed, journalled, durable."""
    attempt = store.take(sweep.trial(trial))
    journal = sweep.journal(trial, attempt.number)
    sweep.train(journal, "trunk", 0, until, shift=shift)
    sweep.durable(journal, "trunk", until)
    attempt.end("stopped")


def stored_points(database, trial):
    """(name, step) -> (value, timestamp) of the one run of a trial, read past MLflow; asserts there are no doubles."""
    with sqlite3.connect(database) as connection:
        runs = connection.execute("select run_uuid from tags where key = 'trial' and value = ?", (trial,)).fetchall()
        assert len(runs) == 1, f"{len(runs)} runs of trial {trial}"
        query = "select key, step, value, timestamp from metrics where run_uuid = ?"
        rows = connection.execute(query, runs[0]).fetchall()
    found = {(key, step): (value, timestamp) for key, step, value, timestamp in rows}
    assert len(found) == len(rows), "a point was stored twice"
    return found


def run_count(database):
    with sqlite3.connect(database) as connection:
        return connection.execute("select count(*) from runs").fetchone()[0]


def effective_points(sweep, trial, limits):
    """What the journal says should be there."""
    points = {}
    for line in read_effective(sweep.trial(trial)):
        phase, images = line["phase"], line["images"]
        if images > limits.get(phase, -1):
            continue
        at = int(line["time"] * 1000)
        names = (
            ("train/loss_var", "trunk/learning_rate")
            if phase == "trunk"
            else (f"{phase}/loss_var", f"{phase}/learning_rate")
        )
        for name, value in zip(names, (line["train/loss"], line["train/learning_rate"]), strict=True):
            points[name, images] = (value, at)
    return points


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real tracking server in its own process group."""

    def __init__(self, database, port):
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database}"]
        command += ["--default-artifact-root", (database.parent / "artifacts").as_uri()]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        log = open(database.parent / "server.log", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                    return
            except OSError:
                assert time.monotonic() < deadline, (database.parent / "server.log").read_text()
                time.sleep(0.1)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
