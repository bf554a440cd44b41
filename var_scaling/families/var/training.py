"""The torch half of the VAR family: how a model is built, learns, is judged and draws (`families.base.FamilyModel`).

Dimension key: B batch, L tokens of an image, K scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Batch
from var_scaling.families.masks import kept_tokens
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
from var_scaling.families.var.config import VARConfig, VARSampler
from var_scaling.families.var.model import VAR, build_var

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

reads = ("tokens", "features")
build = build_var


def loss(forward: nn.Module, config: VARConfig, train: TrainConfig, batch: Batch) -> Tensor:
    """Cross-entropy in nats per token, teacher-forced."""
    labels_B = batch.labels.masked_fill(batch.draws["dropped"], config.num_classes)
    keep_BD = batch.draws.get("keep_path")
    logits_BLV = forward(labels_B, batch.latents["features"], None if keep_BD is None else keep_BD.T)
    return cross_entropy(logits_BLV, batch.latents["tokens"], train.label_smoothing)


def validate(module: VAR, batch: Batch, positions: NDArray[np.int64]) -> dict[str, Tensor]:
    """Sums over each scale's tokens, (B, K): no label dropped, nothing drawn."""
    logits_BLV = module(batch.labels, batch.latents["features"])
    return sums_of_scales(logits_BLV, batch.latents["tokens"], module.sizes)


def draw(
    module: VAR,
    labels_B: Tensor,
    tokenizer: Any,
    sampler: VARSampler,
    noise: Mapping[str, Tensor],
    known: Mapping[str, Tensor] | None = None,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Tokens of one image for each label; of a known one those that are kept at each scale, and the rest drawn."""
    tokens = module.sample_tokens(
        labels_B,
        tokenizer,
        sampler.guidance,
        sampler.top_k,
        sampler.top_p,
        uniform_BL=noise["uniform"],
        known=None if known is None else known["tokens"],
        kept=None if mask is None else kept_tokens(mask, tokenizer.patch_nums).expand(len(labels_B), -1),
    )
    return {"tokens": torch.cat(tokens, dim=1)}


def kept_log_probability(
    module: VAR, labels_B: Tensor, tokenizer: Any, latents: Mapping[str, Tensor], mask: Tensor
) -> Tensor:
    """(B) nats of the tokens that were kept; see `transformer.training.kept_log_probability`."""
    kept_BL = kept_tokens(mask, tokenizer.patch_nums)
    logits_BLV = module(labels_B, tokenizer.derive("features", latents))
    return kept_nats(logits_BLV, latents["tokens"], kept_BL)
