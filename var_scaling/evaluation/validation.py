"""Loss and token error of a model on the whole validation set: deterministic, whatever the batch size.

Dimension key: B batch, L tokens of an image, V vocabulary, K scales, M validation images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from var_scaling.data.tokens import TokenCache
from var_scaling.planning.flops import VALIDATED_AT_ONCE

if TYPE_CHECKING:
    from var_scaling.tokenizers.vq.model import Tokenizer


@torch.no_grad()
def validation_loss(
    var: nn.Module,
    cache: TokenCache,
    tokenizer: Tokenizer | None = None,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "float32",
) -> dict[str, float]:
    """Cross-entropy (nats per token) and token error rate, no label dropped, every validation image in its plain view.

    Bit-identical for any `batch_size`: that many images are fetched at a time, but each forward pass is of
    `VALIDATED_AT_ONCE` images, the last filled up with repeats that are not counted, and per-image sums are added in
    image order in float64. The mode (train or eval) of `var` is left as it was; in the meantime it is eval.

    Args:
        var: called as var(labels_B, features_BLC) -> logits_BLV.
        cache: an open token cache.
        tokenizer: used for features if the cache keeps none and was opened without one.
        batch_size: images fetched at a time; execution only.
        device: of the model.
        precision: "float32" or "bfloat16" (autocast; logits are compared in float32).

    Returns:
        loss_all_scales, loss_last_scale, loss_scale_1 ..., and error_... likewise.
    """
    if tokenizer is not None and cache.tokenizer is None:
        cache.tokenizer = tokenizer
    images = len(cache.validation_labels)
    sizes = [side * side for side in cache.patch_nums]
    loss_MK = np.empty((images, len(sizes)))
    wrong_MK = np.empty((images, len(sizes)))
    training = var.training
    var.eval()
    try:
        # The fetch is in whole forward passes, so that batch_size cannot move their borders.
        fetch = max(1, batch_size // VALIDATED_AT_ONCE) * VALIDATED_AT_ONCE
        for start in range(0, images, fetch):
            fetched = cache.validation_batch(start, min(start + fetch, images))
            for begin in range(0, len(fetched[0]), VALIDATED_AT_ONCE):
                part = [t[begin : begin + VALIDATED_AT_ONCE] for t in fetched]
                count = len(part[0])
                labels_B, tokens_BL, features_BLC = (
                    torch.cat([t, t[:1].expand(VALIDATED_AT_ONCE - count, *t.shape[1:])]).to(device) for t in part
                )
                with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                    logits_BLV = var(labels_B, features_BLC)
                logits_BLV = logits_BLV.float()
                loss_BL = F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten(), reduction="none")
                loss_BL = loss_BL.view_as(tokens_BL).double().cpu()
                wrong_BL = (logits_BLV.argmax(-1) != tokens_BL).double().cpu()
                rows = slice(start + begin, start + begin + count)
                loss_MK[rows] = torch.stack([s.sum(1) for s in loss_BL.split(sizes, 1)], 1)[:count].numpy()
                wrong_MK[rows] = torch.stack([s.sum(1) for s in wrong_BL.split(sizes, 1)], 1)[:count].numpy()
    finally:
        var.train(training)
    return {**_means("loss", loss_MK, sizes), **_means("error", wrong_MK, sizes)}


def _means(name: str, sums_MK: np.ndarray, sizes: list[int]) -> dict[str, float]:
    images = len(sums_MK)
    by_scale = [float(sums_MK[:, k].sum()) / (images * size) for k, size in enumerate(sizes)]
    return {
        f"{name}_all_scales": float(sums_MK.sum(1).sum()) / (images * sum(sizes)),
        f"{name}_last_scale": by_scale[-1],
        **{f"{name}_scale_{k + 1}": value for k, value in enumerate(by_scale)},
    }
