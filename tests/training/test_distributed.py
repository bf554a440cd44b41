"""Several processes for one trial: the same draws, the same numbers, and nobody left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.tiny import Tiny, log, rows
from tests.training.test_trial import effective
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective

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
