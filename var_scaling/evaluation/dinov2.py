"""DINOv2 features from a weights file, for machines without a network (torch-fidelity reads no local file of it).

A plain pre-norm vision transformer with layer scale; parameter names are the published checkpoint's. The input goes the
way torch-fidelity's own DINOv2 extractor sends it, so that the numbers are comparable: 224 pixels by TensorFlow 1's
bilinear rule, ImageNet normalisation, the class token after the last norm.

Dimension key: B batch, L tokens (class token and patches), C width, H heads, P patches a side.

Source: Oquab et al. 2023 (arXiv:2304.07193) for the architecture. Checked against a written-out attention and for
shapes; not yet against published weights, which could not be had offline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

NAME = "var-scaling-dinov2"
INPUT_SIDE, PATCH = 224, 14
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HEAD_SIZE = 64  # of every published size


class Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // _HEAD_SIZE
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        batch, length, width = x_BLC.shape
        q, k, v = self.qkv(x_BLC).view(batch, length, 3, self.heads, _HEAD_SIZE).permute(2, 0, 3, 1, 4)
        out_BHLK = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out_BHLK.transpose(1, 2).reshape(batch, length, width))


class LayerScale(nn.Module):
    """A learned gain for each channel of a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BLC: Tensor) -> Tensor:
        return x_BLC * self.gamma


class Mlp(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BLC)))


class Block(nn.Module):
    """Attention, then feed-forward, each pre-normed and scaled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(width, eps=1e-6), Attention(width), LayerScale(width)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(width, eps=1e-6), Mlp(width), LayerScale(width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        x_BLC = x_BLC + self.ls1(self.attn(self.norm1(x_BLC)))
        return x_BLC + self.ls2(self.mlp(self.norm2(x_BLC)))


class PatchEmbed(nn.Module):
    """Patches to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)


class VisionTransformer(nn.Module):
    """The DINOv2 backbone without registers.

    Args:
        width: channels, a multiple of 64.
        depth: blocks.
        trained_side: patches a side of the position embedding in the checkpoint (37 for 518 pixels).
    """

    def __init__(self, width: int, depth: int, trained_side: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trained_side**2, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in the checkpoint, of no use here
        self.patch_embed = PatchEmbed(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.trained_side = trained_side

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """The class token (B, C) of normalised images."""
        patches_BCPP = self.patch_embed.proj(images_B3HW)
        side = patches_BCPP.shape[-1]
        class_B1C = self.cls_token.expand(len(images_B3HW), -1, -1)
        x_BLC = torch.cat([class_B1C, patches_BCPP.flatten(2).transpose(1, 2)], 1) + self._positions(side)
        for block in self.blocks:
            x_BLC = block(x_BLC)
        return self.norm(x_BLC)[:, 0]

    def _positions(self, side: int) -> Tensor:
        if side == self.trained_side:
            return self.pos_embed
        width = self.pos_embed.shape[-1]
        grid = self.pos_embed[:, 1:].view(1, self.trained_side, self.trained_side, width).permute(0, 3, 1, 2)
        # The published code scales by (side + 0.1) / trained side and lets that factor set the sampling positions.
        factor = (side + 0.1) / self.trained_side
        grid = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic", antialias=False)
        assert grid.shape[-1] == side
        return torch.cat([self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side * side, width)], 1)


def load_backbone(path: Path) -> VisionTransformer:
    """A backbone from a published state dict; sizes from the shapes.

    Raises:
        ValueError: it is not a DINOv2 checkpoint without registers.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        width, tokens = state["cls_token"].shape[-1], state["pos_embed"].shape[1]
        depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("not a DINOv2 state dict: cls_token, pos_embed and blocks.<n> are expected") from None
    model = VisionTransformer(width, depth, round((tokens - 1) ** 0.5))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"not a DINOv2 state dict without registers: {error}") from None
    return model


class DinoExtractor(FeatureExtractorBase):
    """torch-fidelity's interface over a backbone on disk."""

    def __init__(self, path: Path | str, features_list: tuple[str, ...] = ("dinov2",), **_: Any) -> None:
        super().__init__(NAME, list(features_list))
        self.model = load_backbone(Path(path))
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1) * 255, persistent=False)
        self.requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("dinov2",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "dinov2"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """(B, C) features of uint8 images."""
        large = interpolate_bilinear_2d_like_tensorflow1x(
            images_BCHW.float(), size=(INPUT_SIDE, INPUT_SIDE), align_corners=False
        )
        return (self.model((large - self.mean) / self.std),)


if NAME not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor(NAME, DinoExtractor)
