"""The convolutional encoder and decoder around the quantiser (the VQGAN kind), with channel widths of any size.

Levels are counted from full resolution: level 0 is the finest in the encoder and in the decoder. Attention, where asked
for, stands in the deepest level and in the middle, or in the middle only. A strided stem (not in the published model)
starts at half or a quarter of the resolution and lets the decoder end in a pixel shuffle: the finest level of a small
autoencoder is what costs most.

Parameter names are the published checkpoint's.

Dimension key: B batch, C channels, H height, W width, N = H * W positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attention = bool | Literal["middle"]
Module = TypeVar("Module", bound=nn.Module)


def group_norm(channels: int, most_groups: int) -> nn.GroupNorm:
    """GroupNorm with `most_groups` groups (32 is published), or the largest number below that divides the width."""
    groups = next(groups for groups in range(min(most_groups, channels), 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution that keeps the size.

    Without gradients, small deep maps on a CPU are computed as one matrix product: oneDNN's direct kernel sums a
    thousand and more products in a single chain, and its rounding alone used up the 2e-5 that the published vectors
    allow (maximum error of a decoded image against float64: 2.6e-5, this way 1.0e-5). It is up to twice slower there,
    so training does not take it.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        batch, channels, height, width = x_BCHW.shape
        if torch.is_grad_enabled() or x_BCHW.is_cuda or channels * 9 < 1_000 or height > 8:
            return super().forward(x_BCHW)
        columns_BKN = F.unfold(x_BCHW, 3, padding=1)
        return (self.weight.flatten(1) @ columns_BKN + self.bias[:, None]).view(batch, -1, height, width)


class ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, groups: int):
        super().__init__()
        self.norm1 = group_norm(channels_in, groups)
        self.conv1 = Conv3x3(channels_in, channels_out)
        self.norm2 = group_norm(channels_out, groups)
        self.conv2 = Conv3x3(channels_out, channels_out)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)
        else:
            self.nin_shortcut = nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv1(F.silu(self.norm1(x_BCHW), inplace=True))
        h_BCHW = self.conv2(F.silu(self.norm2(h_BCHW), inplace=True))
        return self.nin_shortcut(x_BCHW) + h_BCHW


class SpatialAttention(nn.Module):
    """Single-head attention over all positions of a map."""

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        q_BNC, k_BNC, v_BNC = self.qkv(self.norm(x_BCHW)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        h_BNC = F.scaled_dot_product_attention(q_BNC, k_BNC, v_BNC)
        return x_BCHW + self.proj_out(h_BNC.transpose(1, 2).reshape(x_BCHW.shape))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Every position twice in both directions, then a 3x3 convolution.

    Of the nine positions that the convolution reads, those that come from one position carry one value: each of the
    four results at a position is a 2x2 convolution of the map before, with the weights that meet added up. 4 products
    for 9, equal to rounding. Without gradients alone, so that no training changes; on a CPU alone, where it was
    measured; and on maps that are large for their width, or adding up weights costs more than it saves.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = Conv3x3(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        channels, height, width = x_BCHW.shape[1:]
        if torch.is_grad_enabled() or x_BCHW.is_cuda or height * width < 2 * channels:
            return self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))
        wide_BCHyWx = x_BCHW.new_empty(len(x_BCHW), self.conv.out_channels, height, 2, width, 2)
        for y in (0, 1):
            for x in (0, 1):
                weight = _meeting(_meeting(self.conv.weight, y, 2), x, 3)
                padded_BCHW = F.pad(x_BCHW, (1 - x, x, 1 - y, y))
                wide_BCHyWx[:, :, :, y, :, x] = F.conv2d(padded_BCHW, weight, self.conv.bias)
        return wide_BCHyWx.view(len(x_BCHW), -1, 2 * height, 2 * width)


def _meeting(weight: Tensor, second: int, axis: int) -> Tensor:
    """Three weights along an axis as the two of the first or second of a doubled position."""
    one, two, three = weight.unbind(axis)
    return torch.stack((one + two, three) if second else (one, two + three), axis)


class Level(nn.Module):
    """The blocks of one resolution, each followed by attention where there is any."""

    def __init__(self, widths: list[int], attention: bool, groups: int):
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(a, b, groups) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.attn = nn.ModuleList(SpatialAttention(width, groups) for width in widths[1:] if attention)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x_BCHW = block(x_BCHW)
            if self.attn:
                x_BCHW = self.attn[i](x_BCHW)
        return x_BCHW


class Middle(nn.Module):
    def __init__(self, channels: int, attention: bool, groups: int):
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = SpatialAttention(channels, groups) if attention else nn.Identity()
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BCHW)))


class Encoder(nn.Module):
    """Images to a feature map of `latent_dim` channels, smaller by stem_stride * 2 ** (levels - 1).

    Args:
        image_channels: 1 or 3.
        channels: width of the first level.
        multipliers: width of each level as a multiple of `channels`, finest first.
        blocks: residual blocks a level.
        middle: two more blocks at the deepest level (published). Small networks learn faster without.
        attention: in the deepest level and in the middle (VAR's); "middle": there only (latent diffusion's).
        stem_stride: 1 (published), 2 or 4.
        norm_groups: groups of every GroupNorm, at most (32 is published). As many groups as channels remove each
            channel's mean, which is what the coarsest token map has to carry.
        latent_dim: channels of the result.
    """

    def __init__(
        self,
        image_channels: int,
        channels: int,
        multipliers: tuple[int, ...],
        blocks: int,
        middle: bool,
        attention: Attention,
        stem_stride: int,
        norm_groups: int,
        latent_dim: int,
    ):
        super().__init__()
        if stem_stride == 1:
            self.conv_in = Conv3x3(image_channels, channels)
        else:
            self.conv_in = nn.Conv2d(image_channels, channels, 2 * stem_stride, stem_stride, padding=stem_stride // 2)
        self.down = nn.ModuleList()
        width, deepest = channels, len(multipliers) - 1
        for level, multiplier in enumerate(multipliers):
            self.down.append(
                Level([width] + [channels * multiplier] * blocks, attention is True and level == deepest, norm_groups)
            )
            width = channels * multiplier
            if level != deepest:
                self.down[-1].downsample = Downsample(width)
        self.mid = Middle(width, bool(attention), norm_groups) if middle else nn.Identity()
        self.norm_out = group_norm(width, norm_groups)
        self.conv_out = Conv3x3(width, latent_dim)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x_BCHW = self.conv_in(images_BCHW)
        for level, stage in enumerate(self.down):
            x_BCHW = stage(x_BCHW)
            if level != len(self.down) - 1:
                x_BCHW = stage.downsample(x_BCHW)
        return self.conv_out(F.silu(self.norm_out(self.mid(x_BCHW))))


class Decoder(nn.Module):
    """The way back; one residual block more a level. Arguments as `Encoder`."""

    def __init__(
        self,
        image_channels: int,
        channels: int,
        multipliers: tuple[int, ...],
        blocks: int,
        middle: bool,
        attention: Attention,
        stem_stride: int,
        norm_groups: int,
        latent_dim: int,
    ):
        super().__init__()
        width, deepest = channels * multipliers[-1], len(multipliers) - 1
        self.conv_in = Conv3x3(latent_dim, width)
        self.mid = Middle(width, bool(attention), norm_groups) if middle else nn.Identity()
        stages = []
        for level in range(deepest, -1, -1):
            stage = Level(
                [width] + [channels * multipliers[level]] * (blocks + 1),
                attention is True and level == deepest,
                norm_groups,
            )
            width = channels * multipliers[level]
            if level != 0:
                stage.upsample = Upsample(width)
            stages.append(stage)
        self.up = nn.ModuleList(reversed(stages))
        self.norm_out = group_norm(width, norm_groups)
        self.conv_out = Conv3x3(width, image_channels * stem_stride**2)
        self.stem_stride = stem_stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.mid(self.conv_in(x_BCHW))
        for level in range(len(self.up) - 1, -1, -1):
            x_BCHW = self.up[level](x_BCHW)
            if level != 0:
                x_BCHW = self.up[level].upsample(x_BCHW)
        x_BCHW = self.conv_out(F.silu(self.norm_out(x_BCHW)))
        return F.pixel_shuffle(x_BCHW, self.stem_stride) if self.stem_stride > 1 else x_BCHW


def initialised(make: Callable[[], Module], seed: int) -> Module:
    """What `make` builds, its weights a function of the seed; every residual block starts as the identity.

    At 10,240 images that start was worth 0.4 dB.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    for part in module.modules():
        if isinstance(part, ResidualBlock):
            nn.init.zeros_(part.conv2.weight)
    return module
