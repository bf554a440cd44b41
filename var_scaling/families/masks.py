"""Which tokens or latents of a picture are kept when a part of it is drawn anew.

The rule: a cell (the square of pixels that a token or a latent stands for) is kept where none of its pixels is drawn
anew. It is asked at each scale by itself, so that a coarse token, whose square is large, is sooner drawn anew than a
fine one beneath it. What is kept therefore never stands for a pixel that the model is to invent.

Dimension key: B batch, H = W side of the image in pixels, p side of one map, L tokens of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def kept_cells(mask_B1HW: Tensor, side: int) -> Tensor:
    """The cells of one map that are kept, (B, 1, p, p) bool.

    Args:
        mask_B1HW: 1 (True) where the pixel is kept, 0 where it is drawn anew.
        side: p. Where it does not divide the image's side, cells overlap by the pixel that they share.
    """
    drawn_B1HW = (mask_B1HW <= 0).float() if mask_B1HW.is_floating_point() else (mask_B1HW == 0).float()
    return F.adaptive_max_pool2d(drawn_B1HW, side) == 0


def kept_tokens(mask_B1HW: Tensor, sides: Sequence[int]) -> Tensor:
    """The same of all maps, coarse to fine, in the order of tokens: (B, L) bool."""
    return torch.cat([kept_cells(mask_B1HW, side).flatten(1) for side in sides], dim=1)
