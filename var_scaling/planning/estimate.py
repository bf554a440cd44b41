"""What a trial will cost: time, memory, disk; each with its source.

A rate measured on this machine wins over an assumption. Rates come from the rows of finished trials: training FLOPs
(visible pairs) a second at the nearest size, since small models are bound by overhead and large ones by arithmetic.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from var_scaling.families.registry import family_of
from var_scaling.planning import devices, flops
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store

ASSUMED_CPU_FLOPS = 15e9  # one thread on small models (docs/log.md: 10 to 40 GFLOP/s from depth 2 to 8)
ASSUMED_MFU = 0.35  # on a GPU whose peak is known


@dataclass(frozen=True)
class Rate:
    """Training FLOPs (visible pairs) a second that a model of some size reached, and where."""

    flops_per_image: int
    flops_per_second: float
    device: str
    precision: str
    trials: int = 1


@dataclass(frozen=True)
class Cost:
    """What training some images will take."""

    seconds: float  # of one device; several share them
    source: str
    state_bytes: int  # of one device between two steps: weights, gradients, two moments, the average
    activation_bytes: int  # of one micro-batch
    sampling_bytes: int  # of one device that draws samples: weights, keys and values, logits
    disk_bytes: int

    @property
    def memory_bytes(self) -> int:
        """The peak over a trial's life: it samples when it no longer trains."""
        return max(self.state_bytes + self.activation_bytes, self.sampling_bytes)


def measured_rates(runs: Path, limit: int = 400) -> list[Rate]:
    """Rates of the newest rows below `runs`, one per size, device and precision (the median)."""
    found: dict[tuple[int, str, str], list[float]] = {}
    for path in heapq.nlargest(limit, runs.glob("trials/*/budgets/*/row.json"), key=lambda p: p.stat().st_mtime):
        row = store.read_json(path)
        if not row or not row.get("seconds"):
            continue
        size = round(row["train_flops_visible"] / row["images_seen"])
        key = (size, str(row.get("device", "?")), row.get("precision", "float32"))
        found.setdefault(key, []).append(row["train_flops_visible"] / (row["seconds"] * row.get("processes", 1)))
    return [
        Rate(size, sorted(v)[len(v) // 2], device, precision, len(v)) for (size, device, precision), v in found.items()
    ]


def cost(config: TrialConfig, images: int, budgets: int, rates: Sequence[Rate], device: str | None = None) -> Cost:
    """The cost of training `images` images in all, over trunk and branches, with `budgets` kept results.

    Without a device, a trial placed on `cuda` is priced on an H100 and any other on this machine's CPU: rates of one
    kind of device or at one precision say nothing of another.
    """
    model, precision = config.model, config.train.precision
    size = flops.train_flops_visible_per_image(model)
    device = device or ("H100" if config.placement.device == "cuda" else "(CPU)")
    usable = [r for r in rates if device in r.device and r.precision == precision]
    if usable:
        nearest = min(usable, key=lambda r: abs(math.log(r.flops_per_image / size)))
        rate = nearest.flops_per_second
        same = nearest.flops_per_image == size
        source = f"measured on {nearest.device}" + ("" if same else " at the nearest size")
    elif peak := devices.peak(device, precision):
        rate, source = peak * ASSUMED_MFU, f"assumed {ASSUMED_MFU:.0%} of a {device}'s {precision} peak"
    else:
        rate, source = ASSUMED_CPU_FLOPS, f"assumed {ASSUMED_CPU_FLOPS / 1e9:.0f} GFLOP/s a CPU thread"
    params, family = flops.params_total(model), family_of(model)
    at_once = flops.SAMPLES_AT_ONCE if device == "(CPU)" else 1  # a GPU draws as many as fit beside the weights
    kept = 2 + 2 * budgets  # two rolling trunk checkpoints, one at each branch point, weights of each budget
    return Cost(
        seconds=images * size / rate,
        source=source,
        state_bytes=state_bytes(config),
        activation_bytes=activation_bytes(config, micro_batch(config)),
        sampling_bytes=4 * params + at_once * family.sample_bytes(model, family.sampler()),
        disk_bytes=12 * params * (kept - budgets) + 4 * params * budgets,
    )


def micro_batch(config: TrialConfig) -> int:
    """Images that one device computes at once."""
    share = config.train.batch_size // config.placement.gpus
    return min(config.execution.micro_batch or share, share)


def state_bytes(config: TrialConfig) -> int:
    """What a device holds between two steps: float32 weights, gradients, AdamW's moments, and the average."""
    copies = 4 if config.train.ema_half_life_images == "off" else 5
    return copies * flops.parameter_bytes(config.model)


def activation_bytes(config: TrialConfig, images: int) -> int:
    """What a step over so many images holds besides: activations, and autocast's copies of the weights."""
    number = 2 if config.train.precision == "bfloat16" else 4
    copies = flops.parameter_bytes(config.model) // 2 if number == 2 else 0
    return copies + images * family_of(config.model).activation_bytes(config.model, number)
