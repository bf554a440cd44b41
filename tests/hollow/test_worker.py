"""The worker from end to end on a GPU that computes nothing: causes, advice, and every rank on its own card."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.hollow.library import ROOT, environment
from tests.support.tiny import Tiny, log
from var_scaling.runs import store

ON_GPU = ("placement.device=cuda", "budgets.images=[200]")


def run(folder: Path, **settings: object) -> int:
    command = [sys.executable, "-m", "var_scaling.worker", str(folder)]
    return subprocess.run(command, env=environment(HOLLOW_D2H_ZERO=0, **settings), cwd=ROOT, timeout=200).returncode


def end(folder: Path) -> dict[str, str]:
    return dict(store.read_json(folder / "attempts" / "000" / "end.json"))


def test_two_ranks_have_a_card_each(tiny: Tiny) -> None:
    folder = tiny.prepare(*ON_GPU, "placement.gpus=2")
    assert run(folder, HOLLOW_GPUS=2) == 0, log(folder)
    row = store.read_json(folder / "budgets" / "200" / "row.json")
    assert (row["device"], row["processes"]) == ("NVIDIA H100 80GB HBM3", 2)


def test_two_ranks_on_one_card_are_refused(tiny: Tiny) -> None:
    folder = tiny.prepare(*ON_GPU, "placement.gpus=2")
    assert run(folder, HOLLOW_GPUS=1) == 1
    assert end(folder)["cause"] == "node" and "ranks 0 and 1 are on the same GPU" in end(folder)["message"]


def test_out_of_memory_names_the_micro_batch_that_fits(tiny: Tiny) -> None:
    folder = tiny.prepare(*ON_GPU, "train.batch_size=640", "budgets.images=[3200]", "train.warmup_images=640")
    assert run(folder, HOLLOW_BYTES=60 * 2**20) == 1
    said = end(folder)
    assert said["cause"] == "out-of-gpu-memory"
    assert "predicted" in said["message"] and "--set execution.micro_batch=" in said["message"], said
