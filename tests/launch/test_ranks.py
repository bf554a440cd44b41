"""One trial in several tasks of a real SLURM, with torch.distributed between them: the numbers of one process."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.tiny import STUDY, Tiny, log, rows
from var_scaling.errors import RequestProblem
from var_scaling.launch.order import Order
from var_scaling.launch.slurm.arrays import read_arrays
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import Gpu, Profile, load_profile
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective
from var_scaling.runs.record import nothing_missing

pytestmark = pytest.mark.usefixtures("slurm_cluster")
PROFILE = load_profile(ROOT / "slurm" / "profiles" / "local-test.yaml")
LONG = "budgets.images=[200, 5000]"


@pytest.fixture(scope="module")
def alone(tiny_stages: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, object]]:
    """The rows of one process that computes its batches in two halves."""
    return rows(tiny_stages.copy(tmp_path_factory.mktemp("alone") / "runs").run("execution.micro_batch=5", LONG))


def submit(tiny: Tiny, profile: Profile, *overrides: str) -> Path:
    plan = tiny.plan(*overrides, LONG)
    launch = Order(plan, STUDY, Slurm(profile)).write()
    SlurmLauncher(tiny.runs, profile, "tiny").submit(launch.jobs, launch.folder)
    return tiny.runs / plan.trials[0].work.folder


def wait(folder: Path) -> None:
    deadline = time.monotonic() + 150
    while not nothing_missing(folder):
        assert time.monotonic() < deadline and "code" not in ends(folder), log(folder)
        time.sleep(0.1)


def ends(folder: Path) -> list[str | None]:
    """The cause of every attempt's end."""
    numbers = store.attempt_numbers(folder)
    return [(store.read_json(folder / "attempts" / f"{n:03d}" / "end.json") or {}).get("cause") for n in numbers]


def test_over_two_nodes(tiny: Tiny, alone: dict[int, dict[str, object]]) -> None:
    # A node of the test cluster has one GPU, which SLURM counts and no torch finds: the worker must not hear of it.
    given = ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
    python = shlex.join(["env", *(f"--unset={name}" for name in given), sys.executable])
    gpu = Gpu(name="H100", memory_gb=80, per_node=1)
    folder = submit(tiny, PROFILE.model_copy(update={"gpu": gpu, "python": python}), "placement.gpus=2")
    wait(folder)
    assert rows(folder) == alone
    assert store.read_json(folder / "attempts" / "000" / "ranks.json")["size"] == 2
    assert (folder / "attempts" / "000" / "log_rank_1.txt").exists(), "the premise: the second task took part"


def test_a_signal_to_all_ranks_is_one_requeue(tiny: Tiny, alone: dict[int, dict[str, object]]) -> None:
    folder = submit(tiny, PROFILE, "placement.gpus=2", "placement.device=cpu")
    deadline = time.monotonic() + 120
    while len(read_effective(folder)) < 5:
        assert time.monotonic() < deadline, log(folder)
        time.sleep(0.02)
    (array,) = read_arrays(tiny.runs)
    subprocess.run(["scancel", "--signal=USR1", array.task(folder.relative_to(tiny.runs).as_posix())], check=True)
    wait(folder)
    while (causes := ends(folder))[-1] is None:  # the last row appears a moment before the end is written
        assert time.monotonic() < deadline + 150
        time.sleep(0.1)
    assert causes == ["preempted", "finished"]
    assert all((folder / "attempts" / f"{n:03d}" / "log_rank_1.txt").exists() for n in (0, 1))
    assert rows(folder) == alone


def test_more_than_a_node_is_whole_nodes(tiny: Tiny) -> None:
    profile = PROFILE.model_copy(update={"gpu": Gpu(name="H100", memory_gb=80, per_node=4)})
    with pytest.raises(RequestProblem, match=r"placement.gpus = 10 .* whole nodes of 4"):
        submit(tiny, profile, "placement.gpus=10")
    assert not read_arrays(tiny.runs), "nothing is half-submitted"
