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

from var_scaling.families.base import Recomputing
from var_scaling.families.registry import family_of
from var_scaling.planning import devices, flops
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import layout, store

CPU = "(CPU)"  # a part of every CPU's name in rows
ASSUMED_CPU_FLOPS = 15e9  # one thread on small models (docs/log.md: 10 to 40 GFLOP/s from depth 2 to 8)
ASSUMED_MFU = 0.35  # on a GPU whose peak is known
ASSUMED_CARD = "A100"  # for one that is not in the table
# Python and torch take so long to queue a step's kernels, a block and a micro-batch, whatever the GPU: measured on a
# hollow device, one x86 core (15 ms at depth 6, 38 at 16, 71 at 30).
LAUNCH_SECONDS = 2.4e-3


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
    micro_batch: int  # images that one device computes at once
    waits_below: int = 0  # images of a micro-batch below which a GPU waits for Python, where this one is; else 0

    @property
    def memory_bytes(self) -> int:
        """The peak over a trial's life: it samples when it no longer trains."""
        return max(self.state_bytes + self.activation_bytes, self.sampling_bytes)


def measured_rates(runs: Path, limit: int = 400) -> list[Rate]:
    """Rates of the newest rows below `runs`, one per size, device and precision (the median)."""
    found: dict[tuple[int, str, str], list[float]] = {}
    for path in heapq.nlargest(limit, layout.rows_of_all(runs), key=lambda p: p.stat().st_mtime):
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
    device = device or ("H100" if config.placement.device == "cuda" else CPU)
    card = None if device == CPU else devices.memory_bytes(device)
    micro = micro_batch(config, card)
    usable = [r for r in rates if _same(device, r.device) and r.precision == precision]
    waits_below = 0
    if usable:
        nearest = min(usable, key=lambda r: abs(math.log(r.flops_per_image / size)))
        rate = nearest.flops_per_second
        same = nearest.flops_per_image == size
        source = f"measured on {nearest.device}" + ("" if same else " at the nearest size")
    elif device == CPU:
        rate, source = ASSUMED_CPU_FLOPS, f"assumed {ASSUMED_CPU_FLOPS / 1e9:.0f} GFLOP/s a CPU thread"
    else:
        found = devices.known(device)
        name = found[0] if found else ASSUMED_CARD
        peak = devices.peak(name, precision)
        assert peak is not None
        rate, source = peak * ASSUMED_MFU, f"assumed {ASSUMED_MFU:.0%} of the {precision} peak of {name}"
        source += "" if found else f", for no peak of {device} is known"
        again = 0.75 if config.execution.recompute == "blocks" else 1.0  # four passes of arithmetic for three
        rate *= again
        queue, compute = LAUNCH_SECONDS * model.depth, micro * size / rate
        if queue > compute:
            rate *= compute / queue
            waits_below = math.ceil(micro * queue / compute)
    params, family = flops.params_total(model), family_of(model)
    at_once = flops.SAMPLES_AT_ONCE if device == CPU else 1  # a GPU draws as many as fit beside the weights
    return Cost(
        seconds=images * size / rate,
        source=source,
        state_bytes=state_bytes(config),
        activation_bytes=activation_bytes(config, micro),
        sampling_bytes=4 * params + at_once * family.sample_bytes(model, family.sampler()),
        disk_bytes=kept_bytes(config, budgets, config.execution.keep),
        micro_batch=micro,
        waits_below=waits_below,
    )


def kept_bytes(config: TrialConfig, budgets: int, keep: str) -> int:
    """What lies on disk when a trial of so many budgets has ended: weights of each, and checkpoints of its trunk.

    Those are the two rolling ones and one at each branch point, or the last, or none, with weights and both moments.
    """
    weights = flops.parameter_bytes(config.model)
    return weights * budgets + 3 * weights * {"all": 2 + budgets, "last": 3, "none": 0}[keep]


def _same(device: str, measured: str) -> bool:
    """Whether a rate was measured on such a device: a card of one entry of the table, or a part of its name."""
    known = devices.known(device)
    return device in measured or (known is not None and known == devices.known(measured))


def micro_batch(config: TrialConfig, card: int | None = None) -> int:
    """Images that one device computes at once: what execution says, else the most that fit.

    Args:
        config: resolved.
        card: bytes of the device's memory; None where they are not known (a CPU): a whole share of the batch.
    """
    share = config.train.batch_size // config.placement.gpus
    if config.execution.micro_batch or card is None:
        return min(config.execution.micro_batch or share, share)
    return max(fitting(config, card), default=1)


def fitting(config: TrialConfig, card: int, error: float = 1.0) -> list[int]:
    """Micro-batches, divisors of a device's share of the batch, whose step fits a card of so many bytes.

    Args:
        config: resolved.
        card: bytes of the device's memory.
        error: how far the prediction was off, where that is known.
    """
    share = config.train.batch_size // config.placement.gpus
    room = devices.USABLE * card / error - state_bytes(config)
    return [m for m in range(1, share + 1) if share % m == 0 and activation_bytes(config, m) < room]


def state_bytes(config: TrialConfig) -> int:
    """What a device holds between two steps: float32 weights, gradients, AdamW's moments, and the average."""
    copies = 4 if config.train.ema_half_life_images == "off" else 5
    return copies * flops.parameter_bytes(config.model)


def activation_bytes(config: TrialConfig, images: int) -> int:
    """What a step over so many images holds besides: activations, and autocast's copies of the weights."""
    number, family = (2 if config.train.precision == "bfloat16" else 4), family_of(config.model)
    if config.execution.recompute == "blocks":  # copies end with the forward pass, before there are gradients
        assert isinstance(family, Recomputing), "resolve the config first"
        return images * family.recompute_bytes(config.model, number)
    copies = flops.parameter_bytes(config.model) // 2 if number == 2 else 0
    return copies + images * family.activation_bytes(config.model, number)
