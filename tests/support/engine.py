"""A launch of fake work, as a test drives it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from tests.conftest import FAKE_WORKER
from tests.support.fake_worker import expected_value
from var_scaling.launch.follow import View, follow
from var_scaling.launch.local import Local, LocalLauncher
from var_scaling.launch.order import Launch, Order
from var_scaling.launch.status import SweepStatus, read_status
from var_scaling.planning.plan import Plan, make_plan
from var_scaling.planning.study import load_study


def plan(study: Path, runs: Path) -> Plan:
    return make_plan(*load_study(study), runs)


def start(study: Path, runs: Path, cores: int = 2, failed_too: bool = False) -> tuple[Launch, LocalLauncher]:
    """Write a launch and queue its jobs; nothing runs before the launcher is asked for states."""
    launch = Order(plan(study, runs), study.read_text(), Local(), failed_too=failed_too).write()
    launcher = LocalLauncher(runs, cores, FAKE_WORKER)
    launcher.submit(launch.jobs, launch.folder)
    return launch, launcher


def run(study: Path, runs: Path, cores: int = 2, failed_too: bool = False, poll_seconds: float = 0.02) -> SweepStatus:
    """A whole launch."""
    launch, launcher = start(study, runs, cores, failed_too)
    follow(launch, launcher, lambda view: None, poll_seconds)
    return read_status(runs, launch.plan.study.name)


def run_until(study: Path, runs: Path, enough: Callable[[View], bool]) -> tuple[Launch, LocalLauncher]:
    """A launch that is left alone as soon as a view satisfies `enough`."""
    launch, launcher = start(study, runs)

    class Enough(Exception):
        pass

    def look(view: View) -> None:
        if enough(view):
            raise Enough

    try:
        follow(launch, launcher, look, poll_seconds=0.005)
    except Enough:
        return launch, launcher
    raise AssertionError("the launch ended before it had got that far")


def check_rows(runs: Path, status: SweepStatus) -> None:
    """Every trial has exactly one row a budget, and each says what an undisturbed run would say."""
    assert status.trials
    for trial in status.trials:
        folder = runs / trial.folder / "budgets"
        assert sorted(int(p.name) for p in folder.iterdir()) == sorted(trial.budgets)
        for budget in trial.budgets:
            row = json.loads((folder / str(budget) / "row.json").read_text())
            assert row["loss_all_scales"] == expected_value(budget)


def tree_hash(folder: Path) -> str:
    """A hash of every path and content below a folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()
