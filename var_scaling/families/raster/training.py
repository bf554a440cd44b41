"""The torch half of the raster family (`families.base.FamilyModel`).

Dimension key: B batch, L tokens of an image, Z latent channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Batch
from var_scaling.families.masks import kept_tokens
from var_scaling.families.raster.config import RasterConfig, RasterSampler
from var_scaling.families.raster.model import Raster, build_raster
from var_scaling.families.transformer.training import (
    blocks,
    cross_entropy,
    draws,
    groups,
    noise,
    summarise,
    sums_of_scales,
)
from var_scaling.families.transformer.training import kept_log_probability as kept_nats
from var_scaling.families.transformer.transfer import rescale, transferred_groups

__all__ = [
    "blocks",
    "build",
    "draw",
    "draws",
    "groups",
    "kept_log_probability",
    "loss",
    "noise",
    "reads",
    "rescale",
    "summarise",
    "transferred_groups",
    "validate",
]

reads = ("tokens", "codes")
build = build_raster


def loss(forward: nn.Module, config: RasterConfig, train: TrainConfig, batch: Batch) -> Tensor:
    """Cross-entropy in nats per token, teacher-forced."""
    labels_B = batch.labels.masked_fill(batch.draws["dropped"], config.num_classes)
    keep_BD = batch.draws.get("keep_path")
    before_BLZ = batch.latents["codes"][:, :-1]
    logits_BLV = forward(labels_B, before_BLZ, None if keep_BD is None else keep_BD.T)
    return cross_entropy(logits_BLV, batch.latents["tokens"], train.label_smoothing)


def validate(module: Raster, batch: Batch, positions: NDArray[np.int64]) -> dict[str, Tensor]:
    """Sums over each scale's tokens, (B, K): no label dropped, nothing drawn."""
    logits_BLV = module(batch.labels, batch.latents["codes"][:, :-1])
    return sums_of_scales(logits_BLV, batch.latents["tokens"], module.sizes)


def draw(
    module: Raster,
    labels_B: Tensor,
    tokenizer: Any,
    sampler: RasterSampler,
    noise: Mapping[str, Tensor],
    known: Mapping[str, Tensor] | None = None,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Tokens of one image for each label; of a known one those that are kept, and the rest drawn.

    A token reads what stands before it: of a picture in raster order, nothing of what is kept to the right and below.
    """
    found = module.sample_tokens(
        labels_B,
        tokenizer,
        sampler,
        noise["uniform"],
        known=None if known is None else known["tokens"],
        kept=None if mask is None else kept_tokens(mask, tokenizer.patch_nums).expand(len(labels_B), -1),
    )
    return {"tokens": found}


def kept_log_probability(
    module: Raster, labels_B: Tensor, tokenizer: Any, latents: Mapping[str, Tensor], mask: Tensor
) -> Tensor:
    """(B) nats of the tokens that were kept; see `transformer.training.kept_log_probability`."""
    kept_BL = kept_tokens(mask, tokenizer.patch_nums)
    logits_BLV = module(labels_B, tokenizer.derive("codes", latents)[:, :-1])
    return kept_nats(logits_BLV, latents["tokens"], kept_BL)
