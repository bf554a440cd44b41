"""On a SLURM of its own: daemons killed, copies that sleep and wake, launches killed while they submit, code edited."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FAKE_STUDY, ROOT
from tests.support import commands, engine
from tests.support.commands import until
from tests.support.storm import PROFILE
from var_scaling.launch.slurm.arrays import read_arrays
from var_scaling.launch.status import TrialStatus, read_status
from var_scaling.runs import frozen, holders, store
from var_scaling.runs.journal import read_effective

pytestmark = pytest.mark.xdist_group("own-slurm")
LAUNCH = ("--launcher", "slurm", "--profile", PROFILE, "--yes")
ONE_TRIAL = FAKE_STUDY.replace("[2, 3]", "[2]").replace("[0, 1]", "[0]").replace("3_000, 7_000", "3_000, 60_000")


def trials(runs: Path) -> tuple[TrialStatus, ...]:
    return read_status(runs, "fake").trials if (runs / "sweeps" / "fake" / "study.json").exists() else ()


def the_trial(runs: Path) -> TrialStatus:
    (trial,) = trials(runs)
    return trial


def finished(runs: Path) -> bool:
    now = trials(runs)
    return bool(now) and all(t.state == "finished" for t in now)


def one_at_work(study: Path, runs: Path, step: str) -> holders.Holder:
    """Launch a study of one trial; returns the holder once it has got somewhere."""
    study.write_text(ONE_TRIAL)
    runs.mkdir()
    (runs / "step_seconds").write_text(step)
    commands.run("launch", study, *LAUNCH, runs=runs)
    until(lambda: the_trial(runs).state == "running" and the_trial(runs).record.done >= 5_000, "it is at work")
    holder = the_trial(runs).record.holder
    assert holder
    return holder


def queued_works(cluster: Any, runs: Path) -> list[str]:
    """The work of every task that SLURM has ever been given and still knows."""
    told = cluster.call("squeue", "-h", "-r", "-t", "all", "-o", "%j|%i").stdout.split()
    lists = {array.name: array for array in read_arrays(runs)}
    pairs = [line.split("|") for line in told]
    return [lists[name].folders[int(task.partition("_")[2])] for name, task in pairs if name in lists]


def test_slurmd_dies_and_its_trial_sleeps_past_every_timeout_while_a_rival_finishes(
    fake_study: Path, runs: Path, own_cluster: Any
) -> None:
    holder = one_at_work(fake_study, runs, step="0.2")
    folder = runs / the_trial(runs).folder
    node = own_cluster.call("squeue", "-h", "-t", "R", "-o", "%N").stdout.strip()
    pid = own_cluster.pid(f"slurmd-{node}")
    assert pid, "the premise: there is a daemon to be killed"
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        (runs / "step_seconds").write_text("0.01")
        until(lambda: store.attempt_numbers(folder) == [0, 1], "SLURM gave the node up and began again elsewhere", 120)
        assert Path(f"/proc/{holder.pid}").exists(), "the premise: the first copy is still there"
        end = folder / "attempts" / "001" / "end.json"
        until(lambda: finished(runs) and end.exists(), "the rival is done", 60)
        until(lambda: not read_status(runs, "fake").busy, "and has left", 60)
        before = (engine.tree_hash(folder / "budgets"), engine.tree_hash(folder / "attempts" / "001"))
        effective = read_effective(folder)
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    until(lambda: holders.life(holder) == "dead", "the loser has left")
    assert "was taken over by attempt 1" in (folder / "attempts" / "000" / "log.txt").read_text()
    assert (engine.tree_hash(folder / "budgets"), engine.tree_hash(folder / "attempts" / "001")) == before
    assert read_effective(folder) == effective
    engine.check_rows(runs, read_status(runs, "fake"))
    own_cluster.start_node(node)


def test_slurmd_killed_and_back_at_once_costs_nothing(fake_study: Path, runs: Path, own_cluster: Any) -> None:
    one_at_work(fake_study, runs, step="0.1")
    node = own_cluster.call("squeue", "-h", "-t", "R", "-o", "%N").stdout.strip()
    os.kill(own_cluster.pid(f"slurmd-{node}"), signal.SIGKILL)
    until(lambda: own_cluster.pid(f"slurmd-{node}") is None, "the daemon is dead")
    own_cluster.start_node(node)
    (runs / "step_seconds").write_text("0.01")
    until(lambda: finished(runs), "the trial is done", 90)
    assert the_trial(runs).record.attempts == 1
    engine.check_rows(runs, read_status(runs, "fake"))


def test_a_dead_holder_on_another_node_is_seen_by_asking_slurm(fake_study: Path, runs: Path, own_cluster: Any) -> None:
    holder = one_at_work(fake_study, runs, step="0.1")
    path = runs / the_trial(runs).folder / "attempts" / "000" / "claim.json"
    claim = store.read_json(path)
    claim["holder"].update(host="n1", boot="of another machine")  # as on a cluster whose nodes are machines
    store.write_json(path, claim)
    assert the_trial(runs).state == "running", "SLURM says so"
    os.kill(holder.pid, signal.SIGKILL)
    until(lambda: the_trial(runs).state == "interrupted", "SLURM says that it has ended")
    (runs / "step_seconds").write_text("0.002")
    commands.run("launch", fake_study, *LAUNCH, runs=runs)
    until(lambda: finished(runs), "the next launch went on with it", 60)
    assert the_trial(runs).record.attempts == 2
    engine.check_rows(runs, read_status(runs, "fake"))


def test_launches_killed_while_they_submit_queue_nothing_twice(fake_study: Path, runs: Path, own_cluster: Any) -> None:
    fake_study.write_text(FAKE_STUDY.replace("[0, 1]", str(list(range(6)))))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.002")
    own_cluster.call("scontrol", "update", "partition=batch", "state=down")  # it takes jobs and starts none
    dice = random.Random(4)
    kills = submitting = 0
    try:
        while submitting < 3:
            assert kills < 12, "a launch is to be met while it submits"
            before = _intents(runs)
            launch = commands.start("launch", fake_study, *LAUNCH, runs=runs)
            until(lambda n=before, p=launch: _intents(runs) > n or p.poll() is not None, "it submits")
            time.sleep(dice.uniform(0.0, 0.1))
            launch.kill()
            kills += 1
            submitting += launch.wait() == -signal.SIGKILL
            if launch.returncode == 0:  # all of it is queued: begin again with what is killed earlier
                break
        commands.run("launch", fake_study, *LAUNCH, runs=runs)
        works = queued_works(own_cluster, runs)
        assert len(works) == len(set(works)) == 12 + 2, "each work is queued once"
    finally:
        own_cluster.call("scontrol", "update", "partition=batch", "state=up")
    assert submitting, "the premise: one at least was killed while it submitted"
    until(lambda: finished(runs), "all is done", 120)
    engine.check_rows(runs, read_status(runs, "fake"))
    assert {t.record.attempts for t in trials(runs)} == {1}


def _intents(runs: Path) -> int:
    return len(list(runs.glob("sweeps/fake/launches/*/slurm/*.json")))


def test_two_launches_at_once_run_each_trial_once(fake_study: Path, runs: Path, own_cluster: Any) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.02")
    both = [commands.start("launch", fake_study, *LAUNCH, runs=runs) for _ in range(2)]
    assert [launch.wait(120) for launch in both] == [0, 0], commands.said(runs)
    assert len(list((runs / "sweeps" / "fake" / "launches").iterdir())) == 2
    until(lambda: finished(runs) and not read_status(runs, "fake").busy, "all is done, and the queue is empty", 120)
    engine.check_rows(runs, read_status(runs, "fake"))
    assert {t.record.attempts for t in trials(runs)} == {1}, "whoever came second left without an attempt"


def test_code_edited_while_jobs_wait_is_not_what_runs(fake_study: Path, runs: Path, own_cluster: Any) -> None:
    copy = runs.parent / "checkout"
    shutil.copytree(ROOT / "var_scaling", copy / "var_scaling", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "analysis", copy / "analysis", ignore=shutil.ignore_patterns("__pycache__"))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.002")
    old = frozen.code_hash(copy / "var_scaling")
    own_cluster.call("scontrol", "update", "partition=batch", "state=down")
    try:
        commands.run("launch", fake_study, *LAUNCH, runs=runs, PYTHONPATH=str(copy))
        with open(copy / "var_scaling" / "health.py", "a") as file:
            file.write("\nraise RuntimeError('half of an edit')\n")
    finally:
        own_cluster.call("scontrol", "update", "partition=batch", "state=up")
    until(lambda: finished(runs), "the jobs ran what was launched", 120)
    rows = [json.loads(path.read_text()) for path in runs.glob("trials/*/budgets/*/row.json")]
    assert len(rows) == 8 and {row["code"] for row in rows} == {old}
    edited = copy / "var_scaling" / "health.py"
    edited.write_text(edited.read_text().replace("raise RuntimeError('half of an edit')", "EDITED = True"))
    plan = [sys.executable, "-P", "-m", "var_scaling.cli.sweep", "plan", str(fake_study), "--runs", str(runs)]
    said = subprocess.run(plan, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=True)
    assert f"4 trials have rows of code {old}" in said.stdout and "changed since: health.py" in said.stdout
