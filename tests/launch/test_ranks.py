"""One trial in several tasks of a real SLURM, with torch.distributed between them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny import STUDY, Tiny, log, rows
from var_scaling import store
from var_scaling.launch.profile import load_profile
from var_scaling.launch.slurm import SlurmLauncher
from var_scaling.launch.sweep import prepare
from var_scaling.planning.record import nothing_missing

PROFILE = load_profile(ROOT / "slurm" / "profiles" / "local-test.yaml")
TWO = ("placement.gpus=2", "placement.device=cpu")


def submit(tiny: Tiny, profile: object, *overrides: str) -> Path:
    plan = tiny.plan(*overrides)
    launch = prepare(plan, STUDY, "slurm")
    launcher = SlurmLauncher(tiny.runs, profile, "tiny")  # type: ignore[arg-type]
    launcher.submit(launch.jobs, launch.folder)
    return tiny.runs / plan.trials[0].work.folder


def wait(folder: Path) -> None:
    deadline = time.monotonic() + 150
    while not nothing_missing(folder):
        ends = [store.read_json(p) for p in folder.glob("attempts/*/end.json")]
        assert time.monotonic() < deadline and not any(e["cause"] == "code" for e in ends if e), log(folder)
        time.sleep(0.2)


@pytest.mark.parametrize("nodes", [1, 2])
def test_slurm_starts_the_ranks_and_the_numbers_are_those_of_one_process(
    tiny: Tiny, slurm_cluster: object, tmp_path: Path, nodes: int
) -> None:
    alone = rows(tiny.copy(tmp_path / "alone").run("execution.micro_batch=5"))
    profile = PROFILE
    overrides = TWO
    if nodes == 2:  # a node of the test cluster has one GPU, which no torch finds
        gpu = {"name": "H100", "memory_gb": 80, "per_node": 1}
        profile = PROFILE.model_copy(update={"gpu": type(PROFILE).model_validate({"name": "x", "gpu": gpu}).gpu})
        overrides = ("placement.gpus=2",)
    folder = submit(tiny, profile, *overrides)
    wait(folder)
    assert rows(folder) == alone
    attempt = folder / "attempts" / "000"
    assert (attempt / "log_rank_1.txt").exists(), "the premise: SLURM's second task took part"
    assert store.read_json(attempt / "ranks.json")["size"] == 2
