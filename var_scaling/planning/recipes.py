"""Hyper-parameters per depth, each with where it comes from.

`paper`: the README commands of the reference implementation (FoundationVision/VAR, commit 78b9539), which exist for
depths 16, 20, 24, 30 and 36 only; a depth between takes the values of the nearest published depth below it, and depths
below 16 those of 16. `small-ladder`: a rule measured on Fashion-MNIST at depths 2 and 6 (docs/log.md); its learning
rate is a working guess at other sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RecipeName = Literal["paper", "small-ladder"]


@dataclass(frozen=True)
class Recipe:
    """Values that vary with depth, and their source."""

    learning_rate: float  # the peak, at the batch size asked for
    weight_decay: float
    final_weight_decay: float
    gamma_init: float
    final_learning_rate: float  # share of the peak where a horizon's schedule ends
    source: str


# depth: learning rate per 256 images, gamma_init, final learning-rate share, final weight decay
_PAPER = {
    16: (1e-4, 1e-3, 0.1, 0.05),
    20: (1e-4, 1e-3, 0.1, 0.05),
    24: (8e-5, 1e-4, 0.01, 0.05),
    30: (8e-5, 1e-5, 0.01, 0.08),
    36: (8e-5, 5e-6, 0.01, 0.08),
}


def recipe(name: RecipeName, depth: int, batch_size: int) -> Recipe:
    """The recipe of one depth. The paper's learning rate is linear in the batch; the ladder's holds for 64 images."""
    if name == "paper":
        published = max((d for d in _PAPER if d <= depth), default=16)
        rate, gamma, final_rate, final_decay = _PAPER[published]
        source = f"VAR README, depth {published}"
        if published != depth:
            source += f" (nothing is published for depth {depth})"
        return Recipe(rate * batch_size / 256, 0.05, final_decay, gamma, final_rate, source)
    return Recipe(
        0.036 / depth, 0.05, 0.05, 1e-3, 0.0, "rule lr = 0.036 / depth at batch 64, checked at depths 2 and 6"
    )


def warmup_images(name: RecipeName, batch_size: int, horizon_images: int | None) -> int:
    """Images of linear warm-up: the reference's one fiftieth of the horizon, or a constant where there is none."""
    if horizon_images is not None:
        return horizon_images // 50
    return (
        2_000 if name == "small-ladder" else 1_000 * batch_size
    )  # 1,000 steps: our choice for a trunk without horizon
