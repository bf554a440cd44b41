"""Storms: afterwards every trial has one row a budget, the right one, and MLflow holds what the journals say.

The short storms are part of every test run; the long ones (`-m chaos`) are the figures of docs/log.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY
from tests.support import commands, mirrored
from tests.support.storm import Storm


def write_study(path: Path, runs: Path, seeds: int, budget: int, step: float) -> None:
    path.write_text(FAKE_STUDY.replace("[0, 1]", str(list(range(seeds)))).replace("3_000, 7_000", f"3_000, {budget}"))
    runs.mkdir()
    (runs / "step_seconds").write_text(str(step))
    (runs / "checkpoint_steps").write_text("3")


def check(storm: Storm, kills: int, tracker: str) -> None:
    trials = storm.trials()
    assert storm.done.total() == kills
    assert sum(t.record.attempts for t in trials) > len(trials), "the premise: work was interrupted"
    commands.sync(storm.runs, "fake", MLFLOW_TRACKING_URI=tracker)
    points = sum(len(t.budgets) + t.budgets[-1] // 1_000 for t in trials)
    assert mirrored.check(storm.runs, "fake", tracker) == points


def test_a_dozen_kills_on_this_machine(fake_study: Path, runs: Path, mlflow_store: str) -> None:
    write_study(fake_study, runs, 2, 120_000, 0.05)
    storm = Storm(fake_study, runs, 1, mlflow_store)
    storm.run(kills=12, seconds=200)
    check(storm, 12, mlflow_store)


@pytest.mark.xdist_group("own-slurm")
def test_a_few_kills_on_slurm(fake_study: Path, runs: Path, own_cluster: object, mlflow_store: str) -> None:
    write_study(fake_study, runs, 2, 120_000, 0.1)
    storm = Storm(fake_study, runs, 2, mlflow_store, cluster=own_cluster)
    storm.run(kills=6, seconds=240)
    check(storm, 6, mlflow_store)


@pytest.mark.chaos
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("on", "kills"), [("this machine", 160), ("SLURM", 60)])
def test_two_hundred_kills(
    fake_study: Path, runs: Path, on: str, kills: int, mlflow_store: str, request: pytest.FixtureRequest
) -> None:
    cluster = request.getfixturevalue("own_cluster") if on == "SLURM" else None
    write_study(fake_study, runs, 6, 60_000, 0.1)
    storm = Storm(fake_study, runs, 3, mlflow_store, cluster=cluster, mirrored=True)
    storm.run(kills=kills, seconds=2300)
    check(storm, kills, mlflow_store)
    print(storm.table())
