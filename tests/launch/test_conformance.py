"""One protocol, three launchers: the same promises, kept by each with real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.launch import engine
from var_scaling.launch.local import LocalLauncher
from var_scaling.launch.profile import load_profile
from var_scaling.launch.protocol import Launcher
from var_scaling.launch.slurm import SlurmLauncher
from var_scaling.launch.status import SweepStatus, TrialStatus, read_status
from var_scaling.launch.sweep import Launch, View, follow, prepare

Start = Callable[..., tuple[Launch, Launcher]]
PROFILE = ROOT / "slurm" / "profiles" / "local-test.yaml"


# Ray takes ten seconds to place a wave on two busy cores; what it shares with the others beyond this is marked slow.
QUICK_ON_RAY = {
    "test_each_trial_once_with_the_right_rows_and_the_next_launch_runs_nothing",
}


RAY = pytest.mark.xdist_group("ray")  # one process, so one Ray


@pytest.fixture(
    params=["local", "slurm", pytest.param("ray", marks=RAY), pytest.param("ray, all", marks=[RAY, pytest.mark.slow])]
)
def start(request: pytest.FixtureRequest, fake_study: Path, runs: Path) -> Start:
    """Writes a launch of the fake study and submits it."""
    name = request.param.removesuffix(", all")
    quick = request.node.originalname in QUICK_ON_RAY
    if name == "ray" and quick == request.param.endswith("all"):
        pytest.skip("runs with -m slow" if not quick else "runs without -m slow")
    runs.mkdir()
    if name == "slurm":
        request.getfixturevalue("slurm_cluster")
    address = request.getfixturevalue("ray_address") if name == "ray" else None

    def launcher() -> Launcher:
        if name == "local":
            return LocalLauncher(runs, 2, FAKE_WORKER)
        if name == "ray":
            from var_scaling.launch.ray import RayLauncher

            return RayLauncher(runs, address=address, worker=FAKE_WORKER)
        return SlurmLauncher(runs, load_profile(PROFILE), "fake", worker=FAKE_WORKER)

    def go(failed_too: bool = False) -> tuple[Launch, Launcher]:
        launch = prepare(engine.plan(fake_study, runs), fake_study.read_text(), name, failed_too=failed_too)
        one = launcher()
        one.submit(launch.jobs, launch.folder)
        return launch, one

    return go


def finish(start: Start, runs: Path, failed_too: bool = False) -> SweepStatus:
    launch, launcher = start(failed_too=failed_too)
    follow(launch, launcher, lambda view: None, poll_seconds=0.2)
    return read_status(runs, "fake")


def until(launch: Launch, launcher: Launcher, runs: Path, enough: Callable[[tuple[TrialStatus, ...]], bool]) -> None:
    """Follow until the trials on disk satisfy `enough`."""
    deadline = time.monotonic() + 60
    while not enough(read_status(runs, "fake").trials):
        launcher.states()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _working(trials: tuple[TrialStatus, ...]) -> bool:
    return any(t.state == "running" and t.record.done >= 2_000 for t in trials)


def test_each_trial_once_with_the_right_rows_and_the_next_launch_runs_nothing(start: Start, runs: Path) -> None:
    status = finish(start, runs)
    assert [t.state for t in status.trials] == ["finished"] * 4
    engine.check_rows(runs, status)
    assert {t.record.attempts for t in status.trials} == {1}
    launch, launcher = start()
    assert launch.jobs == ()
    assert all(state == "gone" for state in launcher.states().values())


def test_a_killed_worker_loses_nothing(start: Start, runs: Path) -> None:
    (runs / "step_seconds").write_text("0.15")
    launch, launcher = start()
    until(launch, launcher, runs, _working)
    victim = next(t for t in read_status(runs, "fake").trials if t.state == "running" and t.record.done)
    assert victim.record.holder
    os.kill(victim.record.holder.pid, signal.SIGKILL)
    follow(launch, launcher, lambda view: None, poll_seconds=0.2)
    (runs / "step_seconds").write_text("0.002")
    status = finish(start, runs)
    engine.check_rows(runs, status)
    (again,) = [t for t in status.trials if t.folder == victim.folder]
    assert again.record.attempts == 2


def test_cancel_saves_and_the_next_launch_goes_on(start: Start, runs: Path) -> None:
    (runs / "step_seconds").write_text("0.15")
    launch, launcher = start()
    until(launch, launcher, runs, _working)
    launcher.cancel([job.work.folder for job in launch.jobs])
    seen: list[View] = []
    follow(launch, launcher, seen.append, poll_seconds=0.2)
    states = [t.state for t in read_status(runs, "fake").trials]
    assert "stopped" in states and "failed" not in states and "running" not in states
    (runs / "step_seconds").write_text("0.002")
    engine.check_rows(runs, finish(start, runs))


def test_a_failure_has_a_cause_and_waits_for_retry(start: Start, runs: Path) -> None:
    (runs / "fail_var-d3-s1").write_text("once: a planted bug")
    status = finish(start, runs)
    assert [t.record.cause for t in status.trials if t.state == "failed"] == ["code"]
    assert [t.state for t in status.trials].count("finished") == 3
    engine.check_rows(runs, finish(start, runs, failed_too=True))


def test_a_bug_common_to_all_holds_the_rest(start: Start, runs: Path, fake_study: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[0, 1]", str(list(range(12)))))
    (runs / "fail_var-").write_text("a bug common to all")
    status = finish(start, runs)
    states = [t.state for t in status.trials]
    assert 3 <= states.count("failed") <= 3 + 8  # what ran beside the third had started already
    assert states.count("new") == len(states) - states.count("failed") > 0


def test_workers_import_the_code_that_was_launched(start: Start, runs: Path) -> None:
    (runs / "step_seconds").write_text("0.1")
    launch, launcher = start()
    until(launch, launcher, runs, _working)
    holder = next(t.record.holder for t in read_status(runs, "fake").trials if t.state == "running")
    assert holder
    environ = Path(f"/proc/{holder.pid}/environ").read_bytes().split(b"\0")
    (code,) = [e.partition(b"=")[2].decode() for e in environ if e.startswith(b"VAR_SCALING_CODE=")]
    assert Path(code).parent == (runs / "store" / "code").resolve()
    maps = [e for e in environ if e.startswith(b"PYTHONPATH=")]
    assert maps[0].partition(b"=")[2].decode().startswith(code)
    (runs / "step_seconds").write_text("0.002")
    follow(launch, launcher, lambda view: None, poll_seconds=0.2)
