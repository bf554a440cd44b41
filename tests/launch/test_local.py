"""The sweep engine with real processes around fake work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.support import engine
from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.follow import View, follow
from var_scaling.launch.local import Local, LocalLauncher
from var_scaling.launch.order import Order
from var_scaling.launch.status import read_status, select
from var_scaling.runs import store
from var_scaling.runs.record import read_record


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_sweep_runs_each_trial_once_and_the_next_launch_runs_nothing(fake_study: Path, runs: Path) -> None:
    status = engine.run(fake_study, runs)
    assert [t.state for t in status.trials] == ["finished"] * 4
    engine.check_rows(runs, status)
    assert all(t.record.attempts == 1 for t in status.trials)
    launch, _ = engine.start(fake_study, runs)
    assert launch.jobs == ()
    assert len(launch.skipped) == 4


def test_a_budget_added_later_is_all_that_runs(fake_study: Path, runs: Path) -> None:
    engine.run(fake_study, runs)
    fake_study.write_text(FAKE_STUDY.replace("[3_000, 7_000]", "[3_000, 7_000, 9_000]"))
    planned = engine.plan(fake_study, runs)
    assert {t.reason for t in planned.trials} == {"resume: 2 of 3 budgets trained"}
    before = {p: p.stat().st_mtime_ns for p in runs.glob("trials/*/budgets/*/row.json")}
    assert len(before) == 8
    status = engine.run(fake_study, runs)
    engine.check_rows(runs, status)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()), "a row never changes"


def _journal(runs: Path) -> int:
    return sum(p.read_text().count("train/loss") for p in runs.glob("trials/*/attempts/*/journal.jsonl"))


def test_killed_workers_lose_nothing(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.05")
    _, launcher = engine.run_until(fake_study, runs, lambda view: _journal(runs) >= 3)
    assert launcher.running
    launcher.kill()
    for _, process in launcher.running.values():
        process.wait()
    interrupted = [t for t in read_status(runs, "fake").trials if t.state == "interrupted"]
    assert interrupted, "the premise: somebody was killed at work"
    status = engine.run(fake_study, runs)
    engine.check_rows(runs, status)
    assert max(t.record.attempts for t in status.trials) == 2


def test_a_cancelled_launch_saves_and_the_next_goes_on(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.05")
    launch, launcher = engine.run_until(fake_study, runs, lambda view: _journal(runs) >= 3)
    launcher.cancel([job.work.folder for job in launch.jobs])
    follow(launch, launcher, lambda view: None, poll_seconds=0.01)
    states = [t.state for t in read_status(runs, "fake").trials]
    assert "stopped" in states
    assert "failed" not in states
    lines = _journal(runs)
    engine.check_rows(runs, engine.run(fake_study, runs))
    assert _journal(runs) == 4 * 7, f"no step is done twice after a clean stop at {lines} lines"


def test_a_failure_has_cause_and_place_and_waits_for_retry(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    (runs / "fail_var-d3-s1").write_text("once: a planted bug")
    status = engine.run(fake_study, runs)
    (failed,) = select(status.trials, ["state=failed"])
    assert (failed.depth, failed.seed, failed.record.cause) == (3, 1, "code")
    assert "a planted bug" in (failed.record.message or "")
    assert [len(group) for group in status.failures.values()] == [1]
    assert engine.plan(fake_study, runs).counts == {"finished": 3, "failed": 1}
    again = engine.run(fake_study, runs)
    assert select(again.trials, ["state=failed"]), "a plain launch leaves a failed trial alone"
    engine.check_rows(runs, engine.run(fake_study, runs, failed_too=True))


def test_three_equal_failures_before_any_progress_hold_the_rest(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[0, 1]", "[0, 1, 2, 3, 4]"))
    runs.mkdir()
    (runs / "fail_var-").write_text("a bug common to all")
    launch, launcher = engine.start(fake_study, runs, cores=1)
    follow(launch, launcher, lambda view: None, poll_seconds=0.01)
    assert launcher.held_because is not None
    assert "a bug common to all" in launcher.held_because
    states = [t.state for t in read_status(runs, "fake").trials]
    assert states.count("failed") == 3
    assert states.count("new") == 7


def test_what_stands_on_a_failed_stage_is_not_started(fake_study: Path, runs: Path) -> None:
    tokens = next(s for s, _ in engine.plan(fake_study, runs).stages if s.kind == "tokens")
    runs.mkdir()
    (runs / f"fail_{tokens.id}").write_text("no tokens")
    status = engine.run(fake_study, runs)
    assert status.stages[tokens.folder].state == "failed"
    assert [t.record.attempts for t in status.trials] == [0] * 4


def test_a_trial_killed_three_times_without_progress_is_failed(runs: Path) -> None:
    folder = runs / "trials" / "var-d2-s0-abc"
    folder.mkdir(parents=True)
    code = "import sys; from pathlib import Path; from var_scaling.runs import store; store.take(Path(sys.argv[1]))"
    for attempt in range(3):
        record = read_record(runs, "trials/var-d2-s0-abc", [5])
        assert record.state == ("new" if attempt == 0 else "interrupted")
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    record = read_record(runs, "trials/var-d2-s0-abc", [5])
    assert (record.state, record.cause) == ("failed", "killed without progress")


def test_two_studies_share_a_trial(fake_study: Path, runs: Path, tmp_path: Path) -> None:
    engine.run(fake_study, runs)
    other = tmp_path / "other.yaml"
    other.write_text(FAKE_STUDY.replace("name: fake", "name: other").replace("[2, 3]", "[3, 5]"))
    assert engine.plan(other, runs).counts == {"finished": 2, "new": 2}
    engine.check_rows(runs, engine.run(other, runs))
    assert len(list((runs / "trials").iterdir())) == 6


LAUNCH = """
import sys, time
from pathlib import Path
from tests.support import engine
study, runs, gate = map(Path, sys.argv[1:])
while not gate.exists():
    time.sleep(0.001)
engine.run(study, runs, cores=1, poll_seconds=0.3)
"""


def test_eight_launches_at_once_run_forty_trials_once_each(fake_study: Path, runs: Path, tmp_path: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[0, 1]", str(list(range(20)))).replace("[3_000, 7_000]", "[3_000]"))
    gate = tmp_path / "gate"
    command = [sys.executable, "-c", LAUNCH, str(fake_study), str(runs), str(gate)]
    launches = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(8)]
    time.sleep(1.0)
    gate.touch()
    for launch in launches:
        _, stderr = launch.communicate(timeout=200)
        assert launch.returncode == 0, stderr.decode()
    status = read_status(runs, "fake")
    assert len(status.trials) == 40
    engine.check_rows(runs, status)
    assert {t.record.attempts for t in status.trials} == {1}, "each trial was claimed once"
    assert len(list((runs / "sweeps" / "fake" / "launches").iterdir())) == 8


def test_status_and_plan_write_nothing(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.03")
    _, launcher = engine.run_until(fake_study, runs, lambda view: _journal(runs) >= 2)
    launcher.kill()
    for _, process in launcher.running.values():
        process.wait()
    before = engine.tree_hash(runs)
    for command in (
        ["status", "fake"],
        ["status", "fake", "state=interrupted", "--json"],
        ["plan", str(fake_study)],
        ["plan", str(fake_study), "--json"],
        ["watch", "fake"],
        ["explain", "var-d3-s0"],
        ["diff", "var-d3-s0", "var-d2-s0"],
        ["logs", "var-d3-s0"],
        ["cancel", "fake"],
        ["clean"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "var_scaling.cli.sweep", *command, "--runs", str(runs)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert "Traceback" not in done.stderr
    assert engine.tree_hash(runs) == before


def test_ctrl_c_stops_cleanly_and_the_next_launch_goes_on(fake_study: Path, runs: Path, fake_work: None) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.1")
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "launch", str(fake_study), "--runs", str(runs)]
    launch = subprocess.Popen([*command, "--no-mlflow"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while _journal(runs) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    launch.send_signal(signal.SIGINT)
    _, stderr = launch.communicate(timeout=30)
    assert launch.returncode == 130, stderr
    assert "goes on from here" in stderr
    assert not [t for t in read_status(runs, "fake").trials if t.state in ("running", "interrupted", "failed")]
    (runs / "step_seconds").write_text("0.001")
    engine.check_rows(runs, engine.run(fake_study, runs))


def test_a_read_only_runs_folder_is_a_sentence(fake_study: Path, tmp_path: Path) -> None:
    from var_scaling.errors import EnvironmentProblem

    blocked = tmp_path / "runs"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Order(engine.plan(fake_study, blocked), "", Local()).write()


def test_a_second_launch_waits_for_what_the_first_one_runs(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.05")
    _, first = engine.run_until(fake_study, runs, lambda view: _journal(runs) >= 2)
    (runs / "step_seconds").write_text("0.001")
    status = engine.run(fake_study, runs)  # orphans of the first go on; the second takes what is left and waits
    engine.check_rows(runs, status)
    assert {t.record.attempts for t in status.trials} == {1}
    for _, process in first.running.values():
        process.wait()


def _elsewhere(folder: Path) -> None:
    """Make a claim look like that of a machine that nobody here can ask."""
    store.take(folder)
    path = folder / "attempts" / "000" / "claim.json"
    claim = json.loads(path.read_text())
    claim["holder"].update(host="elsewhere", boot="other", pid=os.getpid())
    path.write_text(json.dumps(claim))


def test_a_holder_that_cannot_be_asked_is_left_alone(
    fake_study: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, _ = engine.start(fake_study, runs)
    trial = next(j.work for j in launch.jobs if j.work.kind == "trial")
    _elsewhere(runs / trial.folder)
    status = engine.run(fake_study, runs)  # ends, and leaves it
    states = {t.folder: t.state for t in status.trials}
    assert states.pop(trial.folder) == "unknown"
    assert set(states.values()) == {"finished"}
    monkeypatch.setenv("VAR_SCALING_TAKE_OVER", "1")
    status = engine.run(fake_study, runs, failed_too=True)
    engine.check_rows(runs, status)


def test_a_stage_held_elsewhere_is_not_waited_for(fake_study: Path, runs: Path) -> None:
    launch, _ = engine.start(fake_study, runs)
    _elsewhere(runs / next(j.work.folder for j in launch.jobs if j.work.kind == "tokenizer"))
    status = engine.run(fake_study, runs)
    assert {t.state for t in status.trials} == {"new"}


def test_views_are_drawn(fake_study: Path, runs: Path) -> None:
    seen: list[View] = []
    launch, launcher = engine.start(fake_study, runs)
    follow(launch, launcher, seen.append, poll_seconds=0.01)
    assert {"running", "gone"} <= set(seen[-1].queue.values()) | {q for v in seen for q in v.queue.values()}
    assert isinstance(launcher, LocalLauncher)


def test_each_job_has_its_gpus_to_itself(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("grid:", "  placement: {gpus: 2}\ngrid:"))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.02")
    launch = Order(engine.plan(fake_study, runs), fake_study.read_text(), Local()).write()
    launcher = LocalLauncher(runs, 16, FAKE_WORKER, gpus=("3", "5"))
    launcher.submit(launch.jobs, launch.folder)
    seen: set[tuple[str, ...]] = set()
    while any(state != "gone" for state in launcher.states().values()):
        taken = [gpu for gpus in launcher.taken.values() for gpu in gpus]
        assert len(taken) == len(set(taken)) and set(taken) <= {"3", "5"}
        for job, process in launcher.running.values():
            try:
                environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            mine = launcher.taken[job.work.folder]
            if any(e.startswith(b"VAR_SCALING_CODE") for e in environ):  # it has been executed
                assert f"CUDA_VISIBLE_DEVICES={','.join(mine)}".encode() in environ
                seen.add(mine)
        time.sleep(0.01)
    assert any(len(gpus) == 2 for gpus in seen) and any(len(gpus) == 1 for gpus in seen)
    engine.check_rows(runs, read_status(runs, "fake"))


def test_more_gpus_than_there_are_is_said_before_anything_starts(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("grid:", "  placement: {gpus: 4}\ngrid:"))
    launch = Order(engine.plan(fake_study, runs), fake_study.read_text(), Local()).write()
    launcher = LocalLauncher(runs, 2, FAKE_WORKER, gpus=("0",))
    with pytest.raises(EnvironmentProblem, match=r"placement.gpus = 4, but this machine has 1"):
        launcher.submit(launch.jobs, launch.folder)
    assert not launcher.states()
