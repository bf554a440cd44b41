"""Residual quantisation of a feature map over scales, all scales sharing one codebook.

Coarse to fine, what is left of the map is shrunk to p x p, each position takes its nearest code, the codes are enlarged
again and pass a small convolution (phi); the result is added to the picture so far and taken off the residual. The
tokens of a scale therefore correct all scales before it, and the picture so far is what the transformer reads.

Dimension key: B batch, Z latent channels, H = W side of the feature map (that of the last scale), p side of one scale,
l = p * p its tokens, V codes, K scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Phi(nn.Module):
    """(1 - ratio) * h + ratio * conv(h): mends what enlarging a small map loses."""

    def __init__(self, channels: int, ratio: float):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.ratio = ratio

    def forward(self, h_BZHW: Tensor) -> Tensor:
        return torch.lerp(h_BZHW, self.conv(h_BZHW).to(h_BZHW.dtype), self.ratio)  # autocast narrows conv alone


def phi_of_scale(scales: int, phis: int) -> tuple[int, ...]:
    """Which phi each scale uses: the one whose tick lies nearest to the scale's place between 0 and 1.

    Ticks are evenly spaced with a margin of 1 / (2 phis), or 1 / (3 phis) for four (a published peculiarity). Two of
    the published ten scales lie halfway between two of the four ticks. What rounding makes of that is part of the
    published weights (0 0 1 1 1 2 2 3 3 3), so the arithmetic is numpy's, as theirs.
    """
    margin = 1 / 3 / phis if phis == 4 else 1 / 2 / phis
    ticks = np.linspace(margin, 1 - margin, phis)
    return tuple(int(np.abs(ticks - k / max(scales - 1, 1)).argmin()) for k in range(scales))


@dataclass
class Quantised:
    """What quantising a batch gives.

    picture_BZHW: the sum over scales, with the straight-through gradient to the features.
    loss: commitment and codebook terms on the picture after each scale, averaged over scales.
    tokens: one (B, l) map a scale.
    residuals: one (B, l, Z) a scale: the vectors that the codes stand for, detached.
    """

    picture_BZHW: Tensor
    loss: Tensor
    tokens: list[Tensor]
    residuals: list[Tensor]


class MultiScaleQuantizer(nn.Module):
    """See the head of this file.

    Args:
        patch_nums: side of each scale, coarse to fine; the last is the side of the feature map.
        vocab_size: codes V.
        latent_dim: channels Z.
        phi_count: phi convolutions, shared among neighbouring scales where there are fewer than scales.
        phi_ratio: share of the convolution in phi.
        commitment: weight of the pull of the features towards the codes (beta).
    """

    def __init__(
        self,
        patch_nums: tuple[int, ...],
        vocab_size: int,
        latent_dim: int,
        phi_count: int = 4,
        phi_ratio: float = 0.5,
        commitment: float = 0.25,
    ):
        super().__init__()
        self.patch_nums, self.commitment = tuple(patch_nums), commitment
        self.embedding = nn.Embedding(vocab_size, latent_dim)
        self.phis = nn.ModuleList(Phi(latent_dim, phi_ratio) for _ in range(phi_count))
        self.phi_of_scale = phi_of_scale(len(patch_nums), phi_count)

    def nearest(self, z_BlZ: Tensor) -> Tensor:
        """Index of the nearest code by Euclidean distance, (B, l, Z) to (B, l)."""
        codes_VZ = self.embedding.weight
        # |z - e|^2 without |z|^2, which no choice of code changes.
        distance_nV = torch.addmm(codes_VZ.square().sum(1), z_BlZ.reshape(-1, z_BlZ.shape[-1]), codes_VZ.T, alpha=-2)
        return distance_nV.argmin(-1).view(z_BlZ.shape[:-1])

    def shrink(self, map_BZHW: Tensor, scale: int) -> Tensor:
        """The map as scale `scale` sees it, (B, l, Z)."""
        side = self.patch_nums[scale]
        if side != map_BZHW.shape[-1]:
            map_BZHW = F.interpolate(map_BZHW, size=(side, side), mode="area")
        return map_BZHW.flatten(2).transpose(1, 2)

    def enlarge(self, codes_BlZ: Tensor, scale: int) -> Tensor:
        """What scale `scale` adds to the picture, (B, Z, H, W)."""
        side, full = self.patch_nums[scale], self.patch_nums[-1]
        map_BZpp = codes_BlZ.transpose(1, 2).unflatten(2, (side, side))
        if side != full:
            map_BZpp = F.interpolate(map_BZpp, size=(full, full), mode="bicubic")
        return self.phis[self.phi_of_scale[scale]](map_BZpp)

    def forward(self, features_BZHW: Tensor) -> Quantised:
        """Quantises for training: gradients reach features, codes and phis (see `Quantised`)."""
        target_BZHW = features_BZHW.detach()
        residual_BZHW, picture_BZHW = target_BZHW, torch.zeros_like(target_BZHW)
        losses, tokens, residuals = [], [], []
        for k in range(len(self.patch_nums)):
            z_BlZ = self.shrink(residual_BZHW, k)
            with torch.no_grad():
                tokens.append(self.nearest(z_BlZ))
            residuals.append(z_BlZ)
            added_BZHW = self.enlarge(self.embedding(tokens[-1]), k)
            picture_BZHW = picture_BZHW + added_BZHW
            residual_BZHW = residual_BZHW - added_BZHW.detach()
            losses.append(
                F.mse_loss(picture_BZHW, target_BZHW)
                + self.commitment * F.mse_loss(features_BZHW, picture_BZHW.detach())
            )
        straight_through_BZHW = features_BZHW + (picture_BZHW - features_BZHW).detach()
        return Quantised(straight_through_BZHW, torch.stack(losses).mean(), tokens, residuals)

    @torch.no_grad()
    def encode(self, features_BZHW: Tensor) -> list[Tensor]:
        """Tokens of a feature map: one (B, l) int64 a scale."""
        residual_BZHW, tokens = features_BZHW, []
        for k in range(len(self.patch_nums)):
            tokens.append(self.nearest(self.shrink(residual_BZHW, k)))
            residual_BZHW = residual_BZHW - self.enlarge(self.embedding(tokens[-1]), k)
        return tokens

    def pictures(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """The picture after each of the scales given (a coarse prefix is enough), each (B, Z, H, W)."""
        added = [self.enlarge(self.embedding(map_Bl), k) for k, map_Bl in enumerate(tokens)]
        return list(torch.stack(added).cumsum(0)) if added else []
