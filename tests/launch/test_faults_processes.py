"""On this machine: the launcher killed, a worker paused while a rival takes over, a clock that goes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import FAKE_STUDY, FAKE_WORKER
from tests.support import commands, engine, faults, mirrored
from tests.support.commands import until
from var_scaling.launch.status import TrialStatus, read_status
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective, read_lines

CLOCKED = commands.RUN.partition("from var_scaling.cli")[0]


def running(runs: Path, images: int = 1_000) -> list[TrialStatus]:
    """Trials at work that have got so far."""
    if not (runs / "sweeps" / "fake" / "study.json").exists():
        return []
    trials = read_status(runs, "fake").trials
    return [t for t in trials if t.state == "running" and t.record.done >= images]


def attempts(runs: Path) -> list[int]:
    return [t.record.attempts for t in read_status(runs, "fake").trials]


def test_a_launcher_killed_at_any_moment_costs_nothing(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("3_000, 7_000", "3_000, 60_000"))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.1")
    moments = {
        "before it wrote a trial": lambda: (runs / "sweeps").exists(),
        "while stages are built": lambda: list(runs.glob("store/tokenizer/*/attempts/000")),
        "while trials run": lambda: len(running(runs)) == 2,
        "while trials of the last one run": lambda: any(len(t.budgets) > len(t.record.rows) > 0 for t in running(runs)),
    }
    for name, moment in moments.items():
        launch = commands.start("launch", fake_study, "--no-mlflow", runs=runs)
        until(lambda m=moment, p=launch: m() or p.poll() is not None, name)
        launch.kill()
        assert launch.wait() == -signal.SIGKILL, f"the premise: it was alive {name}: {commands.said(runs)}"
    orphans = {t.folder: t.record.holder for t in running(runs)}
    assert orphans, "the premise: its workers live on"
    before = read_status(runs, "fake").launched
    launch = commands.start("launch", fake_study, "--no-mlflow", runs=runs)
    until(lambda: read_status(runs, "fake").launched > before, "the next launch has begun")
    time.sleep(1.0)  # in which it looks five times; the orphans have five seconds of work left
    now = {t.folder: t.record.holder for t in running(runs)}
    assert orphans.items() <= now.items(), "the orphans keep what they hold"
    (runs / "step_seconds").write_text("0.002")
    assert launch.wait(120) == 0, commands.said(runs)
    engine.check_rows(runs, read_status(runs, "fake"))
    assert attempts(runs) == [1] * 4, "the next launch waited for the orphans and did nothing again"


def test_a_worker_that_sleeps_while_a_rival_takes_over_harms_nothing(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(FAKE_STUDY.replace("3_000, 7_000", "3_000, 30_000"))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.1")
    launch = commands.start("launch", fake_study, "--no-mlflow", runs=runs)
    sleeper = until(lambda: running(runs, 5_000), "a trial is at work, far from its next row")[0]
    pid, folder = sleeper.record.holder.pid, runs / sleeper.folder
    os.kill(pid, signal.SIGSTOP)
    path = folder / "attempts" / "000" / "claim.json"
    claim = store.read_json(path)
    claim["holder"].update(host="elsewhere", boot="other")  # a machine whose processes nobody here can see
    store.write_json(path, claim)
    assert [t.state for t in read_status(runs, "fake").trials if t.folder == sleeper.folder] == ["unknown"]
    (runs / "step_seconds").write_text("0.002")
    commands.run("launch", fake_study, "--no-mlflow", runs=runs, expect=1)  # one trial is not there, and it says so
    assert store.attempt_numbers(folder) == [0], "unknown is not dead: a plain launch left it alone"
    commands.run("retry", "fake", "--take-over", runs=runs)
    assert store.attempt_numbers(folder) == [0, 1]
    before = (engine.tree_hash(folder / "budgets"), engine.tree_hash(folder / "attempts" / "001"))
    effective = read_effective(folder)
    os.kill(pid, signal.SIGCONT)
    assert launch.wait(60) == 0, commands.said(runs)  # its own child, which has left
    assert "was taken over by attempt 1" in (folder / "attempts" / "000" / "log.txt").read_text()
    assert not (folder / "attempts" / "000" / "end.json").exists()
    assert (engine.tree_hash(folder / "budgets"), engine.tree_hash(folder / "attempts" / "001")) == before
    assert read_effective(folder) == effective, "not a line of the loser's counts"
    engine.check_rows(runs, read_status(runs, "fake"))


def times(trial: Path) -> list[float]:
    """Of the lines of the first attempt, in the order in which they were written."""
    return [line["time"] for line in read_lines(trial / "attempts" / "000" / "journal.jsonl")]


def test_a_clock_that_goes_back_loses_no_claim_and_runs_nothing_twice(
    fake_study: Path, runs: Path, mlflow_store: str
) -> None:
    fake_study.write_text(FAKE_STUDY.replace("3_000, 7_000", "3_000, 30_000"))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.1")
    (runs / "checkpoint_steps").write_text("4")
    tracker = {"MLFLOW_TRACKING_URI": mlflow_store}
    launch = commands.start("launch", fake_study, runs=runs, **{faults.CLOCK: "-3600 1.5"}, **tracker)

    def gone_back() -> list[TrialStatus]:
        found = running(runs, 2_000)
        return [t for t in found if (at := times(runs / t.folder)) and at[-1] < at[0] - 3_000]

    victim = until(gone_back, "the clock of a worker has gone back")[0]
    os.kill(victim.record.holder.pid, signal.SIGKILL)
    launch.kill()
    launch.wait()
    (runs / "step_seconds").write_text("0.01")
    commands.run("launch", fake_study, runs=runs, **{faults.CLOCK: "-7200 0"}, **tracker)
    engine.check_rows(runs, read_status(runs, "fake"))
    assert sorted(attempts(runs)) == [1, 1, 1, 2], "whoever lived was left alone, and the dead one was followed"
    claims = [store.read_json(runs / victim.folder / "attempts" / n / "claim.json")["time"] for n in ("000", "001")]
    assert claims[1] < claims[0] - 3_000, "the premise: the later attempt is the earlier one by the clock"
    commands.sync(runs, "fake", **tracker)
    assert mirrored.check(runs, "fake", mlflow_store) == 4 * (30 + 2)


def test_a_storm_of_requeues_ends_also_where_the_nodes_clock_is_behind(fake_study: Path, runs: Path) -> None:
    launch, _ = engine.start(fake_study, runs)
    stage = runs / launch.jobs[0].work.folder
    env = {**os.environ, "VAR_SCALING_LAUNCH": str(launch.folder), faults.CLOCK: "-3600 0"}
    code = "import sys; from pathlib import Path; from var_scaling.runs import store; store.take(Path(sys.argv[1]))"
    for _ in range(3):
        subprocess.run([sys.executable, "-c", CLOCKED + code, str(stage)], env=env, check=True)
    done = subprocess.run([*FAKE_WORKER, str(stage)], env=env, capture_output=True, text=True)
    assert "ended without a checkpoint" in done.stdout, (done.stdout, done.stderr)
    assert store.attempt_numbers(stage) == [0, 1, 2]
    other = {**env, "VAR_SCALING_LAUNCH": str(launch.folder.with_name("001"))}
    subprocess.run([*FAKE_WORKER, str(stage)], env=other, check=True)
    assert (stage / "result").is_dir() and store.attempt_numbers(stage) == [0, 1, 2, 3], "a new launch begins anew"
