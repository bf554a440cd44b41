"""Which device a process takes, and what is said of one that fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from var_scaling import worker
from var_scaling.errors import EnvironmentProblem, NodeProblem
from var_scaling.evaluation.generation import generate
from var_scaling.families.var.config import VARSampler
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs.health import Note, common_bug
from var_scaling.training.device import choose_device, memory_advice, set_precision
from var_scaling.training.distributed import _check_gpus

GIVEN = ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", GIVEN)
def test_a_gpu_that_was_given_and_does_not_work_is_no_reason_to_train_on_a_core(
    no_gpu: pytest.MonkeyPatch, name: str
) -> None:
    no_gpu.setenv(name, "3")
    with pytest.raises(NodeProblem, match=rf"was given a GPU \({name}=3\).*placement.device=cpu") as caught:
        choose_device("auto")
    assert worker.classify(caught.value)[0] == "node"
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    "settings",
    [{}, {"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "-1"}, {"SLURM_GPUS_ON_NODE": "0"}],
)
def test_where_none_was_given_auto_is_the_cpu(no_gpu: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        no_gpu.setenv(name, value)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(NodeProblem, match="placement.device is cuda"):
        choose_device("cuda")


def test_two_ranks_on_one_gpu_are_named() -> None:
    _check_gpus(["a 1", "a 2", "b 1"])
    with pytest.raises(NodeProblem, match=r"ranks 1 and 2 are on the same GPU \(a 2\); placement.gpus = 3"):
        _check_gpus(["a 1", "a 2", "a 2"])


def test_tf32_is_refused_on_a_cpu() -> None:
    with pytest.raises(EnvironmentProblem, match="tf32, which a CPU does not have"):
        set_precision(torch.device("cpu"), "tf32")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("CUDA error: uncorrectable ECC error encountered", "node"),
        ("CUDA driver error: unknown error", "node"),
        ("NCCL error in: ProcessGroupNCCL.cpp:77, unhandled system error", "node"),
        ("CUDA error: device-side assert triggered", "code"),
        ("shape '[2]' is invalid for input of size 3", "code"),
        ("[gloo/transport/tcp/pair.cc] Connection closed by peer [10.0.0.1]:4242", "node"),
    ],
)
def test_what_a_runtime_error_is_put_down_to(text: str, cause: str) -> None:
    assert worker.classify(RuntimeError(text))[0] == cause


def test_out_of_memory_says_what_would_fit() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
    error.add_note("measured 75.4 GiB, predicted 62.9 GiB")
    assert worker.classify(error) == (
        "out-of-gpu-memory",
        "CUDA out of memory. Tried to allocate 2 GiB.; measured 75.4 GiB, predicted 62.9 GiB",
    )


def test_advice_never_fails_itself() -> None:
    assert memory_advice(resolve(TrialConfig()), torch.device("cpu")).endswith("GiB at micro-batch 64")


def test_a_nodes_fault_holds_a_sweep_only_where_three_nodes_have_it() -> None:
    def notes(cause: str, *nodes: str) -> list[Note]:
        return [Note(f"w{i}", cause, "step.py:1 f", "", node, 999.0, float(i)) for i, node in enumerate(nodes)]

    assert common_bug(notes("code", "a", "a", "a"))
    assert not common_bug(notes("node", "a", "a", "a", "b"))
    assert common_bug(notes("node", "a", "b", "c"))


class Small(torch.nn.Module):
    """Draws from its own rows alone, so many at most at once (a `generation.Trained`)."""

    device = torch.device("cpu")

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.asked = most, list[int]()

    @property
    def module(self) -> torch.nn.Module:
        return self

    def noise(self, sampler: VARSampler, count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"uniform": torch.rand(count, 2, generator=generator)}

    def draw(self, labels_B: torch.Tensor, sampler: VARSampler, noise: dict[str, torch.Tensor]) -> torch.Tensor:
        self.asked.append(len(labels_B))
        if len(labels_B) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return (noise["uniform"].mean(1) + labels_B).view(-1, 1, 1, 1) / 20


def test_samples_that_do_not_fit_at_once_are_the_same_samples() -> None:
    labels = np.arange(130) % 10
    small, whole = Small(30), Small(100)
    ours = torch.cat([images for _, images in generate(small, labels, VARSampler())])
    all_at_once = torch.cat([images for _, images in generate(whole, labels, VARSampler())])
    assert whole.asked == [100, 30], "the premise: nothing was in its way"
    assert torch.equal(ours, all_at_once) and len(ours) == 130
    assert small.asked == [100, 50, 25, 25, 25, 25, 25, 5], "it learns once what fits"
