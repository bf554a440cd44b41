"""No first stage: the pixels of tiny images, in [-1, 1], are the latents.

Dimension key: B batch, 3 image channels (or 1), H = W image side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

LATENTS = "latents"


class PixelTokenizer(nn.Module):
    """A tokenizer without weights.

    Args:
        resolution: side of the images in pixels.
        image_channels: 1 or 3.
    """

    def __init__(self, resolution: int, image_channels: int):
        super().__init__()
        self.image_size, self.image_channels, self.latent_channels, self.downsampling = (
            resolution,
            image_channels,
            image_channels,
            1,
        )

    @property
    def shape(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Dtype and shape of each array that an image becomes, by name."""
        return {LATENTS: ("float32", (self.image_channels, self.image_size, self.image_size))}

    derived: Mapping[str, tuple[str, tuple[int, ...]]] = {}  # nothing follows from the latents that a family reads

    def latents(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The images, in [-1, 1]."""
        expected = (self.image_channels, self.image_size, self.image_size)
        if tuple(images_B3HW.shape[1:]) != expected:
            raise ValueError(
                f"images of shape {tuple(images_B3HW.shape)} do not fit this tokenizer; "
                f"give (batch, {', '.join(map(str, expected))})"
            )
        return {LATENTS: images_B3HW.float()}

    def derive(self, name: str, latents: Mapping[str, Tensor]) -> Tensor:
        """There is no array that follows from others."""
        raise KeyError(name)

    def pictures(self, latents: Mapping[str, Tensor]) -> Tensor:
        """The images, clamped to [-1, 1]."""
        return latents[LATENTS].clamp(-1, 1)
