"""Whether a model draws its training images again.

A sample is a copy where it lies less than half as far from its nearest training image as from the nearest of any other
training image (the nearest-neighbour distance ratio of Lowe, IJCV 2004, section 7.1). Distances are between pixels, and
the training images are taken through the tokenizer first: a model of tokens can draw no sharper one. Measured on 1,250
garments behind the `tiny` tokenizer: of the training images themselves, so shown, 100 % have a ratio below 1/2, of
validation images 0.3 %; against the files instead of their reconstructions 3 and 0 %, and in the features of the
classifier 0.5 and 0.5 %, so that neither would tell.

Dimension key: B batch, m training images, K views, C channels, H height, W width, P pixels of all channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_scaling.config.data import DataConfig
from var_scaling.data.images import Images, Split
from var_scaling.evaluation.features import batches, to_bytes

if TYPE_CHECKING:
    from var_scaling.tokenizers.base import Tokenizer

MOST_IMAGES = 10_000  # images times views: larger sets are seen too seldom to be learnt by heart, and cost minutes here
BELOW = 0.5  # of the ratio
COMPARED = 500  # validation images that tell what the ratio is without any copying


class TrainingImages:
    """The training images of a model as its tokenizer shows them, in all their views."""

    def __init__(self, images: Images, tokenizer: Tokenizer, device: torch.device | str = "cpu") -> None:
        """Take all training images through the tokenizer.

        Args:
            images: what the model learnt from: its own `unique_images` and views, no more than `MOST_IMAGES` in all.
            tokenizer: the model's.
            device: where distances are taken.
        """
        assert images.config.views is not None
        self.tokenizer, self.device, self.views = tokenizer, device, images.config.views
        self.shown_mKP = self._shown(images, "train", images.count("train"), self.views)
        held_out = self._shown(images, "validation", min(COMPARED, images.count("validation")), 1)
        self.by_chance = float((self._ratios(held_out) < BELOW).mean())  # of images that nobody has learnt

    def ratios(self, images_BCHW: Tensor) -> NDArray[np.float32]:
        """(B,) distance to the nearest training image over that to the nearest other one; images uint8."""
        return self._ratios(images_BCHW.flatten(1))

    @torch.no_grad()
    def _shown(self, images: Images, split: Split, count: int, views: int) -> Tensor:
        """uint8 (m * K, P), the views of an image beside each other."""
        parts = []
        for part in batches(count * views):
            batch = images.batch(part // views, part % views, split).to(self.device)
            back = self.tokenizer.pictures(self.tokenizer.latents(batch))
            parts.append(to_bytes((back + 1) / 2).cpu().flatten(1))
        return torch.cat(parts)

    def _ratios(self, pixels_BP: Tensor) -> NDArray[np.float32]:
        wanted = pixels_BP.float().to(self.device)
        nearest_Bm = []
        rows = max(1, 500 // self.views) * self.views
        for start in range(0, len(self.shown_mKP), rows):
            shown = self.shown_mKP[start : start + rows].float().to(self.device)
            nearest_Bm.append(torch.cdist(wanted, shown).view(len(wanted), -1, self.views).amin(2))
        two = torch.cat(nearest_Bm, 1).topk(2, largest=False).values
        return (two[:, 0] / two[:, 1].clamp_min(1e-6)).cpu().numpy()


def can_be_told(data: DataConfig) -> bool:
    """Whether a (resolved) training set is small enough to be learnt by heart, and has two images."""
    assert data.unique_images is not None and data.views is not None
    return data.unique_images >= 2 and data.unique_images * data.views <= MOST_IMAGES
