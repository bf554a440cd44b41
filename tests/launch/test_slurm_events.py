"""What a cluster does to jobs, on a real SLURM: requeue, preemption, time limit, scancel, bad nodes, a lost stage."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER
from tests.support import engine
from tests.support.slurm import PROFILE, call, profile, submit, wait
from var_scaling.launch.follow import follow
from var_scaling.launch.order import Order
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.status import TrialStatus, read_status
from var_scaling.runs import store

pytestmark = pytest.mark.usefixtures("slurm_cluster")
ONE_TRIAL = FAKE_STUDY.replace("[2, 3]", "[2]").replace("[0, 1]", "[0]").replace("3_000, 7_000", "60_000")


@pytest.fixture
def slow_trial(fake_study: Path, runs: Path) -> Path:
    """One trial of sixty steps that takes its time."""
    fake_study.write_text(ONE_TRIAL)
    runs.mkdir()
    (runs / "step_seconds").write_text("0.2")
    return fake_study


def working(trial: TrialStatus) -> bool:
    return trial.state == "running" and trial.record.done >= 3_000


def finished(trial: TrialStatus) -> bool:
    return trial.state == "finished"


def causes(runs: Path, trial: TrialStatus) -> list[str]:
    folder = runs / trial.folder / "attempts"
    ends = [store.read_json(folder / f"{n:03d}" / "end.json") for n in store.attempt_numbers(runs / trial.folder)]
    return [end["cause"] if end else "killed" for end in ends]


def steps(runs: Path) -> int:
    return sum(p.read_text().count("train/loss") for p in runs.glob("trials/*/attempts/*/journal.jsonl"))


def test_a_requeue_goes_on_where_it_stopped_and_only_that_task_goes_back(slow_trial: Path, runs: Path) -> None:
    submit(slow_trial, runs)
    trial = wait(runs, working)
    assert trial.queued and trial.queued.job
    call("scontrol", "requeue", trial.queued.job)
    (runs / "step_seconds").write_text("0.01")
    trial = wait(runs, finished)
    assert causes(runs, trial) == ["preempted", "finished"]
    engine.check_rows(runs, read_status(runs, "fake"))
    assert steps(runs) == 60, "no step is done twice"
    assert "Restarts=1" in call("scontrol", "show", "job", "-o", str(trial.queued.job if trial.queued else ""))


def test_a_time_limit_is_met_with_a_checkpoint_and_a_requeue(slow_trial: Path, runs: Path) -> None:
    (runs / "step_seconds").write_text("1.5")
    submit(slow_trial, runs, profile(hours=1 / 60, least_minutes=1, signal_seconds=30))
    wait(runs, lambda t: t.record.attempts == 1 and t.state == "stopped", seconds=100)
    (runs / "step_seconds").write_text("0.01")
    trial = wait(runs, finished)
    assert "time-limit" in causes(runs, trial)
    assert steps(runs) == 60


@pytest.mark.slow
def test_a_preempting_job_costs_nothing_but_time(slow_trial: Path, runs: Path) -> None:
    submit(slow_trial, runs, profile(partition="low"))
    wait(runs, working)
    rival = call("sbatch", "--parsable", "-p", "high", "-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 4")
    wait(runs, lambda t: t.state == "stopped")
    (runs / "step_seconds").write_text("0.01")
    trial = wait(runs, finished)
    call("scancel", rival.strip())
    assert causes(runs, trial) == ["preempted", "finished"]
    assert steps(runs) == 60


def test_scancel_is_a_wish_that_stays(slow_trial: Path, runs: Path) -> None:
    launcher = submit(slow_trial, runs)
    trial = wait(runs, working)
    assert trial.queued and trial.queued.job
    call("scancel", trial.queued.job)
    trial = wait(runs, lambda t: t.queued is not None and t.queued.queue == "gone")
    time.sleep(1)
    assert set(launcher.states().values()) == {"gone"}, "the worker did not ask to run again"
    assert read_status(runs, "fake").trials[0].state in ("stopped", "interrupted")


@pytest.mark.slow
def test_a_node_that_goes_down_costs_one_attempt(slow_trial: Path, runs: Path) -> None:
    submit(slow_trial, runs)
    trial = wait(runs, working)
    assert trial.queued and trial.queued.job
    node = call("squeue", "-h", "-j", trial.queued.job, "-o", "%N").strip()
    try:
        call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        (runs / "step_seconds").write_text("0.01")
        trial = wait(runs, finished)
    finally:
        call("scontrol", "update", f"nodename={node}", "state=resume")
    assert len(causes(runs, trial)) == 2
    engine.check_rows(runs, read_status(runs, "fake"))


def test_a_stage_that_is_not_there_blocks_and_fails_nothing(slow_trial: Path, runs: Path) -> None:
    from dataclasses import replace

    launch = Order(engine.plan(slow_trial, runs), slow_trial.read_text(), Slurm(profile)).write()
    trials = [replace(job, after=()) for job in launch.jobs if job.work.kind == "trial"]  # a forgotten dependency
    launcher = SlurmLauncher(runs, PROFILE, "fake", worker=FAKE_WORKER)
    launcher.submit(trials, launch.folder)
    follow(launch, launcher, lambda view: None, poll_seconds=0.3)
    assert [t.state for t in read_status(runs, "fake").trials] == ["new"]
    (log,) = (launch.folder / "slurm").glob("*log.out")
    assert "not built yet" in log.read_text()


@pytest.mark.slow
def test_a_node_that_kills_what_it_is_given_is_left(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[0, 1]", "[0, 1, 2, 3, 4, 5]"))
    runs.mkdir()
    (runs / "bad_node").write_text("n1")
    (runs / "step_seconds").write_text("0.2")
    submit(fake_study, runs)
    deadline = time.monotonic() + 60
    while read_status(runs, "fake").busy:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    status = read_status(runs, "fake")
    states = [t.state for t in status.trials]
    assert 2 <= states.count("failed") <= 4, "two or more died on n1 before anybody could know"
    assert states.count("finished") == 12 - states.count("failed"), "the rest ran elsewhere"
    (runs / "bad_node").unlink()
    (runs / "step_seconds").write_text("0.01")
    submit(fake_study, runs)  # the two are started again unasked: their node was to blame
    while read_status(runs, "fake").busy:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    engine.check_rows(runs, read_status(runs, "fake"))
