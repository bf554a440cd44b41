"""The critic of the adversarial loss: patches, not images, judged by strided convolutions under spectral norm.

Spectral norm bounds the critic's slope, so neither its learning rate nor the start step is delicate. Its power
iteration keeps its vectors in the state, so a resumed run goes on with the same numbers.

Dimension key: B batch, 3 image channels (or 1), H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchCritic(nn.Module):
    """Scores overlapping patches of an image.

    Args:
        image_channels: 1 or 3.
        channels: width of the first layer; doubled by each further one, up to eight times.
        layers: strided layers.
    """

    def __init__(self, image_channels: int, channels: int, layers: int):
        super().__init__()
        widths = [image_channels] + [channels * min(2**i, 8) for i in range(layers)]
        body: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            body += [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(0.2)]
        body += [spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)), nn.LeakyReLU(0.2)]
        body += [spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1))]
        self.body = nn.Sequential(*body)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to a map of scores (B, 1, h, w)."""
        return self.body(images_B3HW)


def build_critic(image_channels: int, channels: int, layers: int, seed: int) -> PatchCritic:
    """A fresh critic, a function of its sizes and the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchCritic(image_channels, channels, layers)
