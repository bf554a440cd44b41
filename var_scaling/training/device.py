"""The device that this process computes on: which one, how exactly, and what to do when its memory ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from var_scaling.errors import EnvironmentProblem, NodeProblem
from var_scaling.families.base import Recomputing
from var_scaling.families.registry import family_of
from var_scaling.planning import estimate
from var_scaling.planning.trial import TrialConfig

# What says that a scheduler gave this process a GPU, and the values by which each says that it gave none.
_GIVEN: dict[str, tuple[str, ...]] = {
    "SLURM_STEP_GPUS": (),
    "SLURM_JOB_GPUS": (),
    "SLURM_GPUS_ON_NODE": ("0",),
    "CUDA_VISIBLE_DEVICES": ("-1", "NoDevFiles"),
}


def choose_device(wanted: str, number: int = 0) -> torch.device:
    """The device of a process, set as torch's current one.

    Convolutions and matrix products are float32 where they say so (`set_precision` alone changes that): tokens that a
    GPU encodes are a CPU's up to rounding. Attention is torch's own kernels, one choice for every card, and none of
    cuDNN's, which plans anew for each of a pyramid's shapes.

    Args:
        wanted: placement.device.
        number: of this process among those on its node; where each sees one GPU alone, that one is its own.

    Raises:
        NodeProblem: no GPU that works where one was asked for or given, or fewer of them than processes.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)
    if wanted == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        given = [
            f"{name}={value}" for name, none in _GIVEN.items() if (value := os.environ.get(name)) and value not in none
        ]
        if wanted == "cuda" or given:
            why = "placement.device is cuda" if wanted == "cuda" else f"this process was given a GPU ({given[0]})"
            raise NodeProblem(
                f"{why}, but torch finds none that works here (driver, container, a torch without CUDA?); mend that, "
                "or use placement.device=cpu"
            )
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if number >= count > 1:
        raise NodeProblem(f"process {number + 1} of this node has no GPU of its own: torch finds {count} here")
    device = torch.device("cuda", number if count > 1 else 0)
    torch.cuda.set_device(device)
    return device


def gpu_name(device: torch.device) -> str:
    """What tells one GPU from every other."""
    return f"{os.uname().nodename} {torch.cuda.get_device_properties(device).uuid}"


def set_precision(device: torch.device, precision: str) -> None:
    """Let matrix products of float32 numbers use TF32's tensor cores, or not.

    Raises:
        EnvironmentProblem: tf32 on a device that has none.
    """
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
        raise EnvironmentProblem(
            f"train.precision is tf32, which {where} does not have (NVIDIA cards have it since the A100); use another "
            "GPU, or float32, which is another trial"
        )
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def with_micro_batch(config: TrialConfig, device: torch.device) -> TrialConfig:
    """The config with the images that this device computes at once, where none were given: the most that fit it."""
    if config.execution.micro_batch or device.type != "cuda":
        return config
    card = torch.cuda.get_device_properties(device).total_memory
    micro, share = estimate.micro_batch(config, card), config.train.batch_size // config.placement.gpus
    print(f"micro-batch {micro} of {share}: the most that is expected to fit {card / 2**30:.0f} GiB", flush=True)
    return config.model_copy(update={"execution": config.execution.model_copy(update={"micro_batch": micro})})


def memory_advice(config: TrialConfig, device: torch.device) -> str:
    """What a trial took and was expected to take when its device's memory ended, and the micro-batch that would fit."""
    state, micro = estimate.state_bytes(config), estimate.micro_batch(config)
    predicted = state + estimate.activation_bytes(config, micro)
    if device.type != "cuda":  # what explains a failure must not fail itself
        return f"predicted {predicted / 2**30:.1f} GiB at micro-batch {micro}"
    measured = torch.cuda.max_memory_allocated(device)
    card = torch.cuda.get_device_properties(device).total_memory
    error = max(1.0, measured / predicted)  # of the prediction, as far as it got
    fit = [m for m in estimate.fitting(config, card, error) if m < micro]
    if fit:
        way_out = f"`var-sweep retry --cause out-of-gpu-memory --set execution.micro_batch={max(fit)}` fits"
    elif config.execution.recompute == "off" and isinstance(family_of(config.model), Recomputing):
        way_out = "no micro-batch fits this card; try --set execution.recompute=blocks"
    else:
        way_out = "no micro-batch fits this card"
    sizes = [f"{size / 2**30:.1f} GiB" for size in (measured, predicted, card)]
    return f"measured {sizes[0]}, predicted {sizes[1]} at micro-batch {micro}, the card has {sizes[2]}; {way_out}"


@contextmanager
def threads_of_torch(count: int) -> Iterator[None]:
    """Within, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
