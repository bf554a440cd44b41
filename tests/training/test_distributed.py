"""Several processes for one trial: the same draws, the same numbers, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.tiny import ROOT, Tiny, effective, log, rows
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective
from var_scaling.runs.slurm_task import TASK

TWO = ("placement.gpus=2", "placement.device=cpu")


def wait_for_lines(folder: Path, lines: int) -> None:
    deadline = time.monotonic() + 60
    while len(read_effective(folder)) < lines:
        assert time.monotonic() < deadline, log(folder)
        time.sleep(0.005)


def lenders(folder: Path) -> list[int]:
    """Living processes that work on this folder under a rank."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environ = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command and b"VAR_SCALING_RANK=1" in environ:
            found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def halves(tiny_stages: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trial in one process, its batches computed in two halves."""
    one = tiny_stages.copy(tmp_path_factory.mktemp("halves") / "runs")
    return one.run("execution.micro_batch=5", "model.drop_path=0.2")


def test_two_ranks_are_two_micro_batches_to_the_bit(tiny: Tiny, halves: Path) -> None:
    folder = tiny.run(*TWO, "model.drop_path=0.2")
    assert (folder / "attempts" / "000" / "log_rank_1.txt").exists(), "the premise: a second process took part"
    assert rows(folder) == rows(halves)
    assert effective(folder) == effective(halves)
    assert not lenders(folder)


def test_it_goes_on_with_another_number_of_ranks(tiny: Tiny, halves: Path) -> None:
    folder = tiny.prepare("execution.micro_batch=5", "model.drop_path=0.2")
    process = tiny.worker(folder)
    wait_for_lines(folder, 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 20, log(folder)
    before = len(read_effective(folder))
    tiny.prepare(*TWO, "model.drop_path=0.2")
    assert tiny.worker(folder).wait(120) == 0, log(folder)
    assert before < len(read_effective(folder)), "the premise: two ranks did a part of it"
    assert (folder / "attempts" / "001" / "ranks.json").exists()
    assert rows(folder) == rows(halves)


def test_rank_0_killed_takes_the_others_along_and_loses_nothing(tiny: Tiny, halves: Path) -> None:
    folder = tiny.prepare(*TWO, "model.drop_path=0.2")
    process = tiny.worker(folder)
    wait_for_lines(folder, 4)
    assert lenders(folder), "the premise"
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while lenders(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tiny.worker(folder).wait(120) == 0, log(folder)
    assert rows(folder) == rows(halves)


def test_a_killed_rank_ends_the_attempt_with_a_cause(tiny: Tiny, halves: Path) -> None:
    folder = tiny.prepare(*TWO, "model.drop_path=0.2")
    process = tiny.worker(folder)
    wait_for_lines(folder, 4)
    (lender,) = lenders(folder)
    os.kill(lender, signal.SIGKILL)
    assert process.wait(60) == 1
    assert store.read_json(folder / "attempts" / "000" / "end.json")["cause"] == "node"
    assert tiny.worker(folder).wait(120) == 0, log(folder)
    assert rows(folder) == rows(halves)


def test_a_signal_stops_all_ranks(tiny: Tiny) -> None:
    folder = tiny.prepare(*TWO)
    process = tiny.worker(folder)
    wait_for_lines(folder, 3)
    for pid in (process.pid, *lenders(folder)):  # SLURM signals every task of the step
        os.kill(pid, signal.SIGUSR1)
    assert process.wait(60) == 20
    assert not lenders(folder)


def test_averaged_weights_are_those_of_one_process(tiny: Tiny) -> None:
    options = ("train.ema_half_life_images=100", "budgets.images=[200]")
    alone = rows(tiny.run("execution.micro_batch=5", *options))
    other = tiny.copy(tiny.runs.parent / "other")
    assert rows(other.run(*TWO, *options)) == alone


def as_tasks(command: tuple[str, ...], folder: Path) -> list[subprocess.Popen[bytes]]:
    """The two processes that srun starts for a trial of two ranks."""
    job = {
        "SLURM_JOB_ID": "7",
        TASK: "array:7",
        "SLURMD_NODENAME": os.uname().nodename,
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_JOB_END_TIME": str(int(time.time()) + 9_000),
    }
    return [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=dict(os.environ, OMP_NUM_THREADS="1", SLURM_PROCID=str(r), SLURM_LOCALID=str(r), **job),
        )
        for r in (0, 1)
    ]


def codes(tasks: list[subprocess.Popen[bytes]], seconds: float) -> list[int]:
    """Their exit codes; nobody may wait for a collective that another has left (torch gives up after 300 s)."""
    deadline = time.monotonic() + seconds
    try:
        return [task.wait(max(0.1, deadline - time.monotonic())) for task in tasks]
    finally:
        for task in tasks:
            task.kill()


def end(folder: Path, attempt: int) -> dict[str, str]:
    return store.read_json(folder / "attempts" / f"{attempt:03d}" / "end.json")


def test_an_attempt_with_only_evaluations_left_keeps_no_rank_waiting(tiny: Tiny) -> None:
    folder = tiny.run(*TWO, "budgets.images=[200]")
    tiny.prepare(*TWO, "budgets.images=[200]", "evaluate.samples_grid=2")
    assert codes(as_tasks(("-m", "var_scaling.worker", str(folder)), folder), 60) == [0, 0]
    assert end(folder, 1)["cause"] == "finished"
    assert (folder / "budgets" / "200" / "samples.png").exists()


def test_a_budget_asked_for_while_it_runs_is_trained_by_all_ranks(tiny: Tiny) -> None:
    folder = tiny.prepare(*TWO, "budgets.images=[200]")
    tasks = as_tasks(("-m", "var_scaling.worker", str(folder)), folder)
    wait_for_lines(folder, 1)
    tiny.prepare(*TWO)
    assert codes(tasks, 120) == [0, 0], log(folder)
    assert set(rows(folder)) == {200, 400}
    assert store.attempt_numbers(folder) == [0], "the premise: one attempt has done both"


@pytest.mark.parametrize(
    ("scheduler", "rank", "kind", "cause", "message"),
    [
        (True, 0, "memory", "out-of-gpu-memory", "CUDA out of memory"),
        (True, 1, "memory", "out-of-gpu-memory", "rank 1: CUDA out of memory"),
        (False, 0, "code", "code", "ValueError: planted"),
    ],
)
def test_a_fault_on_any_rank_ends_all_at_once_and_keeps_its_cause(
    tiny: Tiny, scheduler: bool, rank: int, kind: str, cause: str, message: str
) -> None:
    folder = tiny.prepare(*TWO)
    command = ("-m", "tests.support.faulty_worker", str(folder), str(rank), "5", kind)
    if scheduler:
        tasks = as_tasks(command, folder)
    else:
        tasks = [subprocess.Popen([sys.executable, *command], cwd=ROOT, env=dict(os.environ, OMP_NUM_THREADS="1"))]
    assert codes(tasks, 60)[0] == 1
    said = end(folder, 0)
    assert said["cause"] == cause and said["message"].startswith(message), said
    deadline = time.monotonic() + 15
    while lenders(folder):
        assert time.monotonic() < deadline
        time.sleep(0.1)
