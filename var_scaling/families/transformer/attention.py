"""Attention of a next-scale transformer: causal between scales, full within one, computed without a mask.

The tokens of scale k see every token of scales 1..k. So the queries of scale k against the first `end_k` keys, with
plain unmasked attention, are the whole of it: one call a scale, and the masked part of the scores is never computed.
`masked_attention` is the published dense form: slower, equal by test, and what `train_flops` counts.

Dimension key: B batch, L tokens of an image (or of one scale, when sampling), C width = H * D, H heads, D head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_LOG_TEMPERATURE = math.log(100)  # the learned temperature of a head is capped here (published value)

Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]


class _Prefixes(torch.autograd.Function):
    """The first `end` tokens of x_BLHD for each end, as views; gradients of overlapping prefixes add up in place.

    Autograd on plain slices would pad every gradient to full length with zeros before adding it.
    """

    @staticmethod
    def forward(ctx, x_BLHD: Tensor, ends: tuple[int, ...]) -> tuple[Tensor, ...]:
        ctx.ends = ends
        return tuple(x_BLHD[:, :end] for end in ends)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        total_BLHD = grads[-1].clone()
        for end, grad in zip(ctx.ends[:-1], grads[:-1], strict=True):
            total_BLHD[:, :end] += grad
        return total_BLHD, None


def attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, scale: float, mask_LL: Tensor | None = None) -> Tensor:
    """Every query against every key that the mask leaves; (B, L, H, D), the layout in which torch's kernels write."""
    q_BHLD, k_BHLD, v_BHLD = q_BLHD.transpose(1, 2), k_BLHD.transpose(1, 2), v_BLHD.transpose(1, 2)
    return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, attn_mask=mask_LL, scale=scale).transpose(1, 2)


def block_causal_attention(sizes: Sequence[int]) -> Attend:
    """Attention over scales of `sizes` tokens each, one unmasked call a scale.

    Args:
        sizes: tokens of each scale, coarse to fine.

    Returns:
        A function (q_BLHD, k_BLHD, v_BLHD, scale) -> (B, L, H, D).
    """
    sizes, ends = tuple(sizes), tuple(accumulate(sizes))

    def attend(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, scale: float) -> Tensor:
        queries, keys, values = q_BLHD.split(sizes, dim=1), _Prefixes.apply(k_BLHD, ends), _Prefixes.apply(v_BLHD, ends)
        return torch.cat([attention(*qkv, scale) for qkv in zip(queries, keys, values, strict=True)], dim=1)

    return attend


def levels(sizes: Sequence[int]) -> list[int]:
    """The scale of each token; a list, so that a model can be built where no tensor has values (meta)."""
    return [level for level, size in enumerate(sizes) for _ in range(size)]


def causal_attention(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, scale: float) -> Tensor:
    """Every query against the keys up to its own: next-token prediction."""
    q_BHLD, k_BHLD, v_BHLD = q_BLHD.transpose(1, 2), k_BLHD.transpose(1, 2), v_BLHD.transpose(1, 2)
    return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, is_causal=True, scale=scale).transpose(1, 2)


def masked_attention(sizes: Sequence[int]) -> Attend:
    """The same function in the published form: one dense L x L product and a block-causal mask."""
    level_L = torch.tensor(levels(sizes), device="cpu")
    visible_LL = level_L[:, None] >= level_L[None, :]

    def attend(q_BLHD: Tensor, k_BLHD: Tensor, v_BLHD: Tensor, scale: float) -> Tensor:
        return attention(q_BLHD, k_BLHD, v_BLHD, scale, visible_LL.to(q_BLHD.device))

    return attend


class KeyValueCache:
    """Keys and values of one block, allocated once for a whole image and filled scale by scale."""

    def __init__(self, batch: int, tokens: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device):
        self.keys_BLHD, self.values_BLHD = torch.empty(2, batch, tokens, heads, head_dim, dtype=dtype, device=device)
        self.filled = 0

    def append(self, k_BLHD: Tensor, v_BLHD: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the tokens of one scale; returns all keys and values so far (views)."""
        begin, self.filled = self.filled, self.filled + k_BLHD.shape[1]
        self.keys_BLHD[:, begin : self.filled] = k_BLHD
        self.values_BLHD[:, begin : self.filled] = v_BLHD
        return self.keys_BLHD[:, : self.filled], self.values_BLHD[:, : self.filled]


class SelfAttention(nn.Module):
    """Multi-head attention with unit-length queries and keys and a learned temperature for each head.

    With `l2_norm=False` it is plain attention at a softmax scale of 0.25 / sqrt(D), a quarter of the usual one
    (published value). Keys have no bias: it would shift all scores of a query alike.
    """

    def __init__(self, width: int, heads: int, l2_norm: bool, attend: Attend):
        super().__init__()
        assert width % heads == 0, f"width {width} is not a multiple of heads {heads}"
        self.heads, self.head_dim, self.l2_norm, self.attend = heads, width // heads, l2_norm, attend
        if l2_norm:
            self.scale_mul_1H11 = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4.0)))
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLC: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """(B, L, C) to (B, L, C). With a cache, x is the next scale alone and sees all that the cache holds."""
        batch, tokens, width = x_BLC.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv_BLC = F.linear(x_BLC, self.mat_qkv.weight, bias)
        qk_BLC, v_BLC = qkv_BLC.split((2 * width, width), dim=-1)
        qk_BLHD = qk_BLC.view(batch, tokens, 2 * self.heads, self.head_dim)  # queries' heads, then keys' heads
        if self.l2_norm:
            scale, qk_BLHD = 1.0, self._normalise(qk_BLHD)
        else:
            scale = 0.25 / math.sqrt(self.head_dim)
        q_BLHD, k_BLHD = qk_BLHD.split(self.heads, dim=2)
        v_BLHD = v_BLC.view(batch, tokens, self.heads, self.head_dim)
        if cache is None:
            out_BLHD = self.attend(q_BLHD, k_BLHD, v_BLHD, scale)
        else:
            out_BLHD = attention(q_BLHD, *cache.append(k_BLHD, v_BLHD), scale)
        return self.proj(out_BLHD.reshape(batch, tokens, width))

    def _normalise(self, qk_BLHD: Tensor) -> Tensor:
        """Unit length for both halves, times the temperature for the queries: one pass over memory for all of it."""
        temperature_H = self.scale_mul_1H11.view(-1).clamp_max(MAX_LOG_TEMPERATURE).exp()
        factor_H = torch.cat((temperature_H, torch.ones_like(temperature_H)))
        length2_BLH = qk_BLHD.float().square().sum(-1)  # float32: the sum overflows in half precision
        factor_BLH = length2_BLH.clamp_min(1e-24).rsqrt() * factor_H
        return qk_BLHD * factor_BLH.unsqueeze(-1).to(qk_BLHD.dtype)
