"""Random kills of workers, launchers, tasks and a node's daemon: afterwards every row is there once, and is the same.

The short run is part of every test run; the long one (`-m chaos`) is the figure of docs/log.md.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.launch import engine
from var_scaling.launch.local import LocalLauncher
from var_scaling.launch.profile import load_profile
from var_scaling.launch.slurm import SlurmLauncher
from var_scaling.launch.status import read_status
from var_scaling.launch.sweep import prepare

PROFILE = ROOT / "slurm" / "profiles" / "local-test.yaml"


def storm(study: Path, runs: Path, on: str, kills: int, seed: int, seconds: float) -> dict[str, int]:
    """Launch, kill at random, launch again, until so many kills were done; then let it finish.

    Returns:
        How often each thing was done.
    """
    dice = random.Random(seed)
    done = {
        "SIGKILL of a worker": 0,
        "SIGKILL of a launcher": 0,
        "scontrol requeue": 0,
        "SIGTERM of a worker": 0,
        "launches": 0,
    }
    launcher: LocalLauncher | SlurmLauncher | None = None
    rows: dict[Path, bytes] = {}
    deadline = time.monotonic() + seconds

    def launch() -> LocalLauncher | SlurmLauncher:
        plan = engine.plan(study, runs)
        started = prepare(plan, study.read_text(), on, failed_too=True)
        one = (
            LocalLauncher(runs, 2, FAKE_WORKER)
            if on == "local"
            else SlurmLauncher(runs, load_profile(PROFILE), "fake", worker=FAKE_WORKER)
        )
        one.submit(started.jobs, started.folder)
        done["launches"] += 1
        return one

    while time.monotonic() < deadline:
        for path in runs.glob("trials/*/budgets/*/row.json"):
            assert rows.setdefault(path, path.read_bytes()) == path.read_bytes(), "a row never changes"
        killed = sum(n for what, n in done.items() if what != "launches")
        if killed == kills:
            (runs / "step_seconds").write_text("0.001")
        idle = launcher is None or all(state == "gone" for state in launcher.states().values())
        if idle and done["launches"] and all(t.state == "finished" for t in read_status(runs, "fake").trials):
            break
        if idle:
            launcher = launch()
        time.sleep(dice.uniform(0.0, 0.15))
        if killed < kills:
            assert launcher
            what = _strike(runs, on, dice, launcher)
            if what:
                done[what] += 1
                if what == "SIGKILL of a launcher":
                    launcher = None
    status = read_status(runs, "fake")
    assert killed == kills, f"only {killed} kills in time"
    engine.check_rows(runs, status)
    assert all(path.read_bytes() == content for path, content in rows.items())
    done["attempts"] = sum(t.record.attempts for t in status.trials)
    done["rows"] = sum(len(t.budgets) for t in status.trials)
    return done


def _strike(runs: Path, on: str, dice: random.Random, launcher: LocalLauncher | SlurmLauncher) -> str | None:
    """Do one bad thing to something that lives; None where nothing does."""
    busy = [t for t in read_status(runs, "fake").trials if t.state == "running" and t.record.holder]
    if not busy:
        return None
    victim = dice.choice(busy)
    assert victim.record.holder
    choice = dice.random()
    if on == "slurm" and choice < 0.1 and victim.queued and victim.queued.job:
        subprocess.run(["scontrol", "requeue", victim.queued.job], capture_output=True)
        return "scontrol requeue"
    if on == "local" and choice < 0.1:
        return "SIGKILL of a launcher"  # it is forgotten with its workers alive, as they are when it dies
    number = signal.SIGTERM if choice < 0.25 else signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim.record.holder.pid, number)
    return "SIGTERM of a worker" if number == signal.SIGTERM else "SIGKILL of a worker"


def _study(path: Path, runs: Path, seeds: int, budget: int, step: float) -> None:
    path.write_text(FAKE_STUDY.replace("[0, 1]", str(list(range(seeds)))).replace("3_000, 7_000", f"3_000, {budget}"))
    runs.mkdir()
    (runs / "step_seconds").write_text(str(step))


def test_a_dozen_kills_on_this_machine(fake_study: Path, runs: Path) -> None:
    _study(fake_study, runs, 2, 30_000, 0.05)
    done = storm(fake_study, runs, "local", 12, seed=1, seconds=120)
    assert done["rows"] == 8 and done["attempts"] > 4


def test_a_few_kills_on_slurm(fake_study: Path, runs: Path, slurm_cluster: object) -> None:
    _study(fake_study, runs, 2, 30_000, 0.05)
    done = storm(fake_study, runs, "slurm", 5, seed=2, seconds=150)
    assert done["rows"] == 8 and done["attempts"] > 4


@pytest.mark.chaos
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("on", "kills"), [("local", 140), ("slurm", 60)])
def test_two_hundred_kills(fake_study: Path, runs: Path, on: str, kills: int, request: pytest.FixtureRequest) -> None:
    if on == "slurm":
        request.getfixturevalue("slurm_cluster")
    _study(fake_study, runs, 6, 60_000, 0.1)
    done = storm(fake_study, runs, on, kills, seed=3, seconds=1400)
    print("\n".join(f"| {on} | {what} | {n} |" for what, n in done.items()))
