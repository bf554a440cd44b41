"""The mirror as the last small job of a launch on a real SLURM."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import FAKE_WORKER, ROOT
from tests.support import engine
from tests.support.tracker import run_count, stored_points
from var_scaling.launch.order import Order
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import load_profile
from var_scaling.launch.status import read_status
from var_scaling.runs.journal import read_effective

PROFILE = load_profile(ROOT / "slurm" / "profiles" / "local-test.yaml").model_copy(update={"mirror": True})


def test_the_last_job_of_a_launch_brings_mlflow_up_to_date(
    fake_study: Path, runs: Path, slurm_cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")  # relative: the job must find the same file
    runs.mkdir()
    (runs / "fail_var-d3-s1").write_text("a planted bug")  # the mirror comes whatever the trials come to
    launch = Order(engine.plan(fake_study, runs), fake_study.read_text(), Slurm(PROFILE)).write()
    launcher = SlurmLauncher(runs, PROFILE, "fake", worker=FAKE_WORKER)
    launcher.submit(launch.jobs, launch.folder)
    mirror = launcher.submitted.mirror
    assert mirror and mirror.job
    deadline = time.monotonic() + 150
    while scheduler.ask_queue([mirror.job]).of(f"{mirror.job}_0") != "gone":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    states = {t.folder: t.state for t in read_status(runs, "fake").trials}
    assert sorted(states.values()) == ["failed", "finished", "finished", "finished"]
    (log,) = (launch.folder / "slurm").glob(f"{mirror.job}_*log.out")
    assert run_count(tmp_path / "mlflow.db") == 1 + 4, log.read_text()
    for folder, state in states.items():
        stored = stored_points(tmp_path / "mlflow.db", folder.rpartition("-")[2])
        lines = read_effective(runs / folder)
        assert len(lines) == (0 if state == "failed" else 7), "the premise"
        assert all(stored["train/loss_var", line["images"]][0] == line["train/loss"] for line in lines)
