"""One protocol, three launchers: the same promises, kept by each with real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.support import engine
from var_scaling.launch.follow import View, follow
from var_scaling.launch.local import Local, LocalLauncher
from var_scaling.launch.order import Launch, Order, smallest_and_largest
from var_scaling.launch.protocol import Launcher, Place
from var_scaling.launch.ray.launcher import RayLauncher
from var_scaling.launch.ray.place import Ray
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import load_profile
from var_scaling.launch.status import SweepStatus, TrialStatus, read_status
from var_scaling.runs import pilot

Start = Callable[..., tuple[Launch, Launcher]]
PROFILE = ROOT / "slurm" / "profiles" / "local-test.yaml"


@pytest.fixture(params=["local", "slurm", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))])
def start(request: pytest.FixtureRequest, fake_study: Path, runs: Path) -> Start:
    """Writes a launch of the fake study and submits it."""
    name = request.param
    runs.mkdir()
    if name == "slurm":
        request.getfixturevalue("slurm_cluster")
    address = request.getfixturevalue("ray_address") if name == "ray" else None

    places: dict[str, Place] = {"local": Local(), "ray": Ray(), "slurm": Slurm(load_profile(PROFILE))}

    def launcher() -> Launcher:
        if name == "local":
            return LocalLauncher(runs, 2, FAKE_WORKER)
        if name == "ray":
            return RayLauncher(runs, address=address, worker=FAKE_WORKER)
        return SlurmLauncher(runs, load_profile(PROFILE), "fake", worker=FAKE_WORKER)

    def go(**asked: Any) -> tuple[Launch, Launcher]:
        launch = Order(engine.plan(fake_study, runs), fake_study.read_text(), places[name], **asked).write()
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


def test_the_rest_of_a_pilot_goes_by_itself_once_both_have_a_checkpoint(
    start: Start, runs: Path, fake_study: Path
) -> None:
    (runs / "step_seconds").write_text("0.3")
    pilots = smallest_and_largest(engine.plan(fake_study, runs))
    launch, launcher = start(pilots=pilots)
    gate = pilot.read_gate(launch.folder)
    assert gate and set(gate.trials) == pilots and len(pilots) == 2
    rest = [job.work.folder for job in launch.jobs if job.held]
    assert len(rest) == 2
    waited = 0
    deadline = time.monotonic() + 90
    while not gate.open(runs):
        launcher.states()  # a launcher that stays starts what waits while it answers; one that left changes nothing
        waited += any(t.record.attempts for t in read_status(runs, "fake").trials if t.folder in pilots)
        begun = [folder for folder in rest if (runs / folder / "attempts").exists()]
        assert not begun or gate.open(runs), f"{begun} did not wait"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert waited, "the premise: a pilot was seen at work while the rest was held"
    (runs / "step_seconds").write_text("0.002")
    follow(launch, launcher, lambda view: None, poll_seconds=0.2)
    engine.check_rows(runs, read_status(runs, "fake"))
    assert all("images in" in line and "predicted" in line for line in gate.lines(runs))


def test_a_pilot_that_fails_keeps_the_rest_and_its_retry_lets_it_go(start: Start, runs: Path, fake_study: Path) -> None:
    pilots = smallest_and_largest(engine.plan(fake_study, runs))
    (runs / "fail_var-d3-s1").write_text("once: a planted bug")
    launch, launcher = start(pilots=pilots)
    gate = pilot.read_gate(launch.folder)
    rest = [job.work.folder for job in launch.jobs if job.held]
    assert gate and rest
    until(launch, launcher, runs, lambda trials: sorted(t.state for t in trials if t.folder in pilots) == ENDED)
    for _ in range(10):  # time enough for a launcher that would let the rest go
        states = launcher.states()
        time.sleep(0.1)
    assert all(states[folder] in ("waiting", "gone") for folder in rest)
    assert not gate.open(runs) and any("a planted bug" in line for line in gate.lines(runs))
    assert [t.state for t in read_status(runs, "fake").trials if t.folder in rest] == ["new", "new"]
    failed = next(t.folder for t in read_status(runs, "fake").trials if t.state == "failed")
    again, second = start(failed_too=True, only=lambda trial: trial.work.folder == failed)
    follow(again, second, lambda view: None, poll_seconds=0.2)
    assert gate.open(runs)
    if "waiting" in states.values():  # queued on hold, and released by the retried pilot's worker
        follow(launch, launcher, lambda view: None, poll_seconds=0.2)
        engine.check_rows(runs, read_status(runs, "fake"))
    else:
        engine.check_rows(runs, finish(start, runs))


ENDED = ["failed", "finished"]
