"""A sweep of two trials on disk, an empty MLflow store, and what a store holds."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from var_scaling.runs.journal import Journal
from var_scaling.tracking.connect import connect

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


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


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Making the schema takes seconds: once a session, then copied."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_store, tmp_path, monkeypatch):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


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
