"""The tracker hangs, is down and comes back while sweeps run: nothing waits for it, and it ends up with everything."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, ROOT
from tests.support import commands, engine, mirrored
from tests.support.commands import until
from tests.support.proxy import Door
from tests.support.storm import PROFILE
from tests.support.tracker import Server, free_port
from var_scaling.launch.status import TrialStatus, read_status

QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.fixture(scope="module")
def server_port(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real tracking server."""
    database = tmp_path_factory.mktemp("server") / "mlflow.db"
    shutil.copyfile(empty_mlflow, database)
    server = Server(database, free_port())
    yield int(server.address.rpartition(":")[2])
    server.kill()


def trials(runs: Path) -> tuple[TrialStatus, ...]:
    return read_status(runs, "fake").trials if (runs / "sweeps" / "fake" / "study.json").exists() else ()


def done(runs: Path) -> int:
    """Steps so far."""
    return sum(p.read_text().count("train/loss") for p in runs.glob("trials/*/attempts/*/journal.jsonl"))


def kill_one(runs: Path) -> None:
    """So that lines which no checkpoint covers are written again."""
    busy = until(lambda: [t for t in trials(runs) if t.state == "running" and t.record.done >= 2_000], "one at work")
    with contextlib.suppress(ProcessLookupError):
        os.kill(busy[0].record.holder.pid, signal.SIGKILL)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "on", ["this machine", pytest.param("SLURM", marks=[pytest.mark.chaos, pytest.mark.xdist_group("own-slurm")])]
)
def test_a_tracker_that_hangs_is_down_and_comes_back_gets_every_point(
    fake_study: Path, runs: Path, server_port: int, on: str, request: pytest.FixtureRequest
) -> None:
    name = f"fake-{on.split()[-1].lower()}"  # one experiment each
    fake_study.write_text(FAKE_STUDY.replace("name: fake", f"name: {name}").replace("3_000, 7_000", "3_000, 120_000"))
    runs.mkdir()
    (runs / "sweeps").mkdir()
    (runs / "sweeps" / "fake").symlink_to(runs / "sweeps" / name)
    (runs / "step_seconds").write_text("0.1")
    (runs / "checkpoint_steps").write_text("4")
    options: tuple[object, ...] = ()
    if on == "SLURM":
        request.getfixturevalue("own_cluster")
        options = ("--launcher", "slurm", "--profile", PROFILE, "--yes")
    door = Door(server_port)
    env = {"MLFLOW_TRACKING_URI": door.address, **QUICK}
    door.be("hanging")
    launch = commands.start("launch", fake_study, *options, runs=runs, **env)
    until(lambda: done(runs) >= 8, "trials run although the tracker hangs")
    (runs / "step_seconds").write_text("1")  # the sweep is to outlast what follows
    mirror = None
    if on == "SLURM":  # what `watch` and `sync` run; beside a local launch there is one anyway
        command = [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(runs), name, "--follow"]
        mirror = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stderr=subprocess.DEVNULL)
    try:
        until(lambda: door.accepted["hanging"] >= 1, "the premise: somebody waits for an answer", 120)
        kill_one(runs)
        before = done(runs)
        until(lambda: done(runs) >= before + 4, "nobody at work waits for the tracker")
        door.be("back")
        until(lambda: door.accepted["back"] >= 2, "it is told what there is", 120)
        kill_one(runs)
        door.be("down")
        before = done(runs)
        until(lambda: done(runs) >= before + 4, "nor when it is down")
        (runs / "step_seconds").write_text("0.001")
        assert launch.wait(120) == 0, commands.said(runs)
        until(lambda: not read_status(runs, name).busy, "the queue is empty", 120)
        commands.run("launch", fake_study, *options, runs=runs, **env)  # whoever was killed
        until(lambda: all(t.state == "finished" for t in trials(runs)), "all is done", 120)
        commands.run("sync", name, runs=runs, expect=0 if mirror else 3, **env)
    finally:
        if mirror:
            mirror.terminate()
            mirror.wait(60)
    door.be("back")
    commands.sync(runs, name, **env)
    assert mirrored.check(runs, name, f"http://127.0.0.1:{server_port}") == 4 * (120 + 2)
    engine.check_rows(runs, read_status(runs, name))
    assert sum(t.record.attempts for t in trials(runs)) >= 5, "the premise: one at least was killed"
    door.be("down")
