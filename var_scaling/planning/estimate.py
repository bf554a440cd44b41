"""What a trial will cost: time, memory, disk; each with its source.

A rate measured on this machine wins over an assumption. Rates come from the rows of finished trials: training FLOPs
(visible pairs) a second at the nearest size, since small models are bound by overhead and large ones by arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from var_scaling.families.registry import family_of
from var_scaling.planning import flops
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store

ASSUMED_CPU_FLOPS = 15e9  # one thread on small models (docs/log.md: 10 to 40 GFLOP/s from depth 2 to 8)
ASSUMED_MFU = 0.35  # on a GPU whose peak is known
_GPU_PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}


@dataclass(frozen=True)
class Rate:
    """Training FLOPs (visible pairs) a second that a model of some size reached, and where."""

    flops_per_image: int
    flops_per_second: float
    device: str
    trials: int = 1


@dataclass(frozen=True)
class Cost:
    """What training some images will take."""

    seconds: float  # of one device; several share them
    source: str
    parameter_bytes: int  # weights, gradients and two moments
    activation_bytes: int  # of one micro-batch
    disk_bytes: int


def measured_rates(runs: Path, limit: int = 400) -> list[Rate]:
    """Rates of the newest rows below `runs`, one per size and device (the median)."""
    found: dict[tuple[int, str], list[float]] = {}
    rows = sorted(runs.glob("trials/*/budgets/*/row.json"))[-limit:]
    for path in rows:
        row = store.read_json(path)
        if not row or not row.get("seconds"):
            continue
        size = round(row["train_flops_visible"] / row["images_seen"])
        key = (size, str(row.get("device", "?")))
        found.setdefault(key, []).append(row["train_flops_visible"] / (row["seconds"] * row.get("processes", 1)))
    return [Rate(size, sorted(v)[len(v) // 2], device, len(v)) for (size, device), v in found.items()]


def cost(config: TrialConfig, images: int, budgets: int, rates: Sequence[Rate], device: str | None = None) -> Cost:
    """The cost of training `images` images in all, over trunk and branches, with `budgets` kept results.

    Without a device, a trial placed on `cuda` is priced on an H100 and any other on this machine's CPU: rates of one
    kind of device say nothing of the other.
    """
    model = config.model
    size = flops.train_flops_visible_per_image(model)
    device = device or ("H100" if config.placement.device == "cuda" else "(CPU)")
    usable = [r for r in rates if device in r.device]
    if usable:
        nearest = min(usable, key=lambda r: abs(math.log(r.flops_per_image / size)))
        rate = nearest.flops_per_second
        same = nearest.flops_per_image == size
        source = f"measured on {nearest.device}" + ("" if same else " at the nearest size")
    elif peak := next((p for name, p in _GPU_PEAKS.items() if name in device), None):
        rate, source = peak * ASSUMED_MFU, f"assumed {ASSUMED_MFU:.0%} of a {device}'s peak"
    else:
        rate, source = ASSUMED_CPU_FLOPS, f"assumed {ASSUMED_CPU_FLOPS / 1e9:.0f} GFLOP/s a CPU thread"
    share = config.train.batch_size // config.placement.gpus
    micro = min(config.execution.micro_batch or share, share)
    params = sum(flops.params(model).values())
    kept = 2 + 2 * budgets  # two rolling trunk checkpoints, one at each branch point, weights of each budget
    return Cost(
        seconds=images * size / rate,
        source=source,
        parameter_bytes=16 * params,
        activation_bytes=micro * family_of(model).activation_bytes(model),
        disk_bytes=12 * params * (kept - budgets) + 4 * params * budgets,
    )
