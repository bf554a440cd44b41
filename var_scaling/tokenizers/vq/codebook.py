"""The codebook's own way of learning: a start at data, moving averages, a second life for dead codes, and its health.

The codes of all scales are one list, so a code is alive if any scale uses it. Low use at the coarsest scales alone is
normal: a few dozen codes cover what a 1x1 map can say.

Dimension key: B batch, l tokens of one scale, n = all vectors of a batch at all scales, V codes, Z latent channels,
K scales, U codes of the start that one scale supplies.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from var_scaling import randomness
from var_scaling.tokenizers.vq.config import CodebookConfig
from var_scaling.tokenizers.vq.quantizer import MultiScaleQuantizer, Quantised

EMA_FLOOR = 1e-3  # keeps the mean of a code that nothing chose finite


class Codebook:
    """Keeps the running statistics that a quantiser's codes are updated from.

    Args:
        quantiser: its embedding is changed in place.
        config: the rules.
        seed: of the choices of vectors, which are addressed by (seed, images seen).
    """

    def __init__(self, quantiser: MultiScaleQuantizer, config: CodebookConfig, seed: int) -> None:
        self.quantiser, self.config, self.seed = quantiser, config, seed
        codes_VZ = quantiser.embedding.weight
        codes_VZ.requires_grad_(config.update == "gradient")
        self.uses_V = torch.ones(len(codes_VZ), device=codes_VZ.device)  # mean hits a batch, relative to a mean code
        self.sum_VZ = codes_VZ.detach().clone()
        self.fresh = True  # no batch has been seen: averages start at the first

    @torch.no_grad()
    def start_at_data(self, features_BZHW: Tensor) -> None:
        """Makes the codes vectors of real residuals, scale after scale, each quantised with what came before."""
        codes_VZ, scales = self.quantiser.embedding.weight, len(self.quantiser.patch_nums)
        residual_BZHW, filled = features_BZHW.detach().float(), 0
        for k in range(scales):
            z_nZ = self.quantiser.shrink(residual_BZHW, k).flatten(0, 1)
            wanted = (len(codes_VZ) - filled) // (scales - k)
            rows_U = self._choose(len(z_nZ), wanted, "codebook-start", k)
            codes_VZ[filled : filled + len(rows_U)] = z_nZ[rows_U]
            filled += len(rows_U)
            distance_nV = torch.cdist(z_nZ, codes_VZ[:filled])
            tokens_Bl = distance_nV.argmin(1).view(len(residual_BZHW), -1)
            residual_BZHW = residual_BZHW - self.quantiser.enlarge(codes_VZ[tokens_Bl], k)
        if filled < len(codes_VZ):  # a small batch: the rest stay near zero, where fine residuals are
            codes_VZ[filled:] *= features_BZHW.std()
        self.sum_VZ.copy_(codes_VZ)

    @torch.no_grad()
    def update(self, quantised: Quantised, images: int, batch: int) -> None:
        """Takes in one batch, after the optimizer's step.

        Args:
            quantised: what the quantiser gave.
            images: images seen, this batch included; the address of random choices.
            batch: images of this batch.
        """
        codes_VZ = self.quantiser.embedding.weight
        tokens_n = torch.cat([map_Bl.flatten() for map_Bl in quantised.tokens])
        z_nZ = torch.cat([vectors_BlZ.flatten(0, 1) for vectors_BlZ in quantised.residuals])
        mean_hits = len(tokens_n) / len(codes_VZ)
        # Not torch.bincount, which waits for the device to learn the largest token.
        hits_V = torch.zeros_like(self.uses_V).index_add_(0, tokens_n, z_nZ.new_ones(len(tokens_n))) / mean_hits
        sum_VZ = torch.zeros_like(self.sum_VZ).index_add_(0, tokens_n, z_nZ) / mean_hits
        keep = 0.0 if self.fresh else self.config.ema_decay
        unused_V1 = (hits_V == 0)[:, None] & self.fresh  # the first batch's misses keep their place
        self.sum_VZ = torch.where(unused_V1, self.sum_VZ * EMA_FLOOR, torch.lerp(sum_VZ, self.sum_VZ, keep))
        self.uses_V = torch.lerp(hits_V, self.uses_V, keep)
        if self.fresh:
            self.uses_V.clamp_min_(EMA_FLOOR)
        self.fresh = False
        every = self.config.restart_every
        if self.config.restart_below and images // every > (images - batch) // every:
            self._restart(z_nZ, images)
        if self.config.update == "ema":
            codes_VZ.copy_(self.sum_VZ / self.uses_V.clamp_min(1e-12)[:, None])

    def _restart(self, z_nZ: Tensor, images: int) -> None:
        """Dead codes take the place of vectors of this batch, and count as average codes for a while."""
        dead_U = (self.uses_V < self.config.restart_below).nonzero().flatten()
        rows_U = self._choose(len(z_nZ), len(dead_U), "codebook-restart", images)
        dead_U = dead_U[: len(rows_U)]
        self.quantiser.embedding.weight[dead_U] = z_nZ[rows_U]
        self.uses_V[dead_U] = 0.5
        self.sum_VZ[dead_U] = 0.5 * z_nZ[rows_U]

    def _choose(self, size: int, count: int, stream: str, address: int) -> Tensor:
        """`count` different rows of `size`, or all of them."""
        keys = randomness.bits(self.seed, stream, address, np.arange(size))
        return torch.from_numpy(np.argsort(keys, kind="stable")[:count].copy())

    def state_dict(self) -> dict[str, Tensor | bool]:
        return {"uses": self.uses_V, "sum": self.sum_VZ, "fresh": self.fresh}

    def load_state_dict(self, state: dict[str, Tensor | bool]) -> None:
        device = self.uses_V.device
        self.uses_V, self.sum_VZ = state["uses"].to(device), state["sum"].to(device)
        self.fresh = state["fresh"]


class Hits:
    """How often each scale chose each code; what usage and perplexity are read from."""

    def __init__(self, scales: int, codes: int, device: torch.device) -> None:
        self.hits_KV = torch.zeros(scales, codes, dtype=torch.int64, device=device)

    def add(self, tokens: list[Tensor]) -> None:
        for k, map_Bl in enumerate(tokens):
            tokens_n = map_Bl.flatten()
            self.hits_KV[k].index_add_(0, tokens_n, torch.ones_like(tokens_n))

    def usage(self) -> float:
        """Share of the codes that any scale chose."""
        return float((self.hits_KV.sum(0) > 0).double().mean())

    def usage_per_scale(self) -> list[float]:
        """Share of the codes that each scale chose."""
        return (self.hits_KV > 0).double().mean(1).tolist()

    def perplexity_per_scale(self) -> list[float]:
        """The exponential of the entropy of each scale's choices: the number of codes if all were chosen alike."""
        share_KV = self.hits_KV.double() / self.hits_KV.sum(1, keepdim=True).clamp_min(1)
        return torch.special.entr(share_KV).sum(1).exp().tolist()
