"""A tokenizer of one size on images of another: enlarged or shrunk for it, and brought back to be compared.

Dimension key: B batch, C image channels, H = W side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from var_scaling.config.data import DataConfig


def fitted(tokenizer: Any, data: DataConfig) -> tuple[Any, str]:
    """A tokenizer that takes images of a data set, and what is done to them for it; "" where they fit.

    Args:
        tokenizer: built; has `image_size` and `image_channels`.
        data: resolved.
    """
    assert data.resolution is not None and data.channels is not None, "resolve the data config first"
    if (tokenizer.image_size, tokenizer.image_channels) == (data.resolution, data.channels):
        return tokenizer, ""
    said = (
        f"{data.resolution} px and {_channels(data.channels)} to {tokenizer.image_size} px and "
        f"{_channels(tokenizer.image_channels)}, and back"
    )
    return Resized(tokenizer, data.resolution, data.channels), said


def _channels(count: int) -> str:
    return "grey" if count == 1 else "colour"


class Resized:
    """A `tokenizers.base.Tokenizer` whose images have another size or other channels than those of the one inside.

    What it measures is both: the tokenizer, and what resizing alone loses (nothing to speak of where it enlarges).
    """

    def __init__(self, tokenizer: Any, resolution: int, channels: int) -> None:
        self.inside, self.resolution, self.channels = tokenizer, resolution, channels

    def __getattr__(self, name: str) -> Any:  # shape, maps, vocab_size, parameters, ...: those of the one inside
        return getattr(self.inside, name)

    def to(self, device: Any) -> Resized:
        self.inside.to(device)
        return self

    def eval(self) -> Resized:
        self.inside.eval()
        return self

    def latents(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """The arrays of images in [-1, 1] of the data's size."""
        found: dict[str, Tensor] = self.inside.latents(
            _as(images_BCHW, self.inside.image_size, self.inside.image_channels)
        )
        return found

    def pictures(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Images in [-1, 1] of the data's size."""
        return _as(self.inside.pictures(latents), self.resolution, self.channels)


def _as(images_BCHW: Tensor, side: int, channels: int) -> Tensor:
    """Images of another size (bicubic, antialiased where it shrinks) and with other channels, in [-1, 1]."""
    if images_BCHW.shape[-1] != side:
        images_BCHW = F.interpolate(images_BCHW, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    if images_BCHW.shape[1] == channels:
        return images_BCHW
    return images_BCHW.expand(-1, channels, -1, -1) if channels > 1 else images_BCHW.mean(1, keepdim=True)
