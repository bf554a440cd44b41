"""From logits to tokens: top-k and top-p as VAR applies them, and a draw that uses one uniform number a token.

Dimension key: B batch, l tokens of one scale, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def filter_logits(logits_BlV: Tensor, top_k: int = 0, top_p: float = 0.0) -> Tensor:
    """Sets the logits that may not be drawn to minus infinity.

    Top-k drops what lies strictly below the k-th largest (ties stay). Top-p then walks up from the least likely and
    drops while the cumulative probability is at most 1 - p; the likeliest always stays.

    Args:
        logits_BlV: (..., V).
        top_k: 0 or at least V turns it off.
        top_p: 0 (or 1) turns it off.

    Source: the published sampler.
    """
    vocabulary = logits_BlV.shape[-1]
    if 0 < top_k < vocabulary:
        kth_Bl1 = logits_BlV.topk(top_k, dim=-1).values[..., -1:]
        logits_BlV = logits_BlV.masked_fill(logits_BlV < kth_Bl1, -torch.inf)
    if 0 < top_p < 1:
        ascending_BlV, order_BlV = logits_BlV.sort(dim=-1)
        drop_BlV = ascending_BlV.softmax(-1).cumsum(-1) <= 1 - top_p
        drop_BlV[..., -1] = False
        logits_BlV = logits_BlV.masked_fill(drop_BlV.scatter(-1, order_BlV, drop_BlV), -torch.inf)
    return logits_BlV


def draw(logits_BlV: Tensor, uniform_Bl: Tensor) -> Tensor:
    """One token a position by inverting the cumulative distribution.

    One number a token, so that a sample can be a function of its own address alone (seed and image, not the batch).

    Args:
        logits_BlV: (..., V); minus infinity is never drawn.
        uniform_Bl: (...) numbers in [0, 1).

    Returns:
        (...) int64.
    """
    cumulative_BlV = logits_BlV.float().softmax(-1).cumsum(-1)
    total_Bl1 = cumulative_BlV[..., -1:]
    # Rounding may lift u * total onto total, past the last token that has any probability.
    below_total_Bl1 = torch.nextafter(total_Bl1, torch.zeros_like(total_Bl1))
    target_Bl1 = torch.minimum(uniform_Bl.unsqueeze(-1) * total_Bl1, below_total_Bl1)
    return torch.searchsorted(cumulative_BlV, target_Bl1, right=True).squeeze(-1)
