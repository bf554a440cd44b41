"""What a user points at, a picture and a part of it, as what a model takes: a square of its size and a mask.

- The part is said in pixels of the picture as a viewer shows it (`pictures`): a box, a mask, or margins to add.
- A picture that is not square is cut to its middle square; one of another size is scaled as image folders are
  (Lanczos). Before that, the part is filled with the nearest kept pixels, so that nothing of it bleeds into the rest.
- A pixel of the model's size is drawn anew where any part of it is: the mask is never scaled to less than it was.

Dimension key: C channels, H, W sides of the picture, S side of the model's images in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from var_scaling import pictures

WHITE = 128  # a mask's value from which on a pixel is white


@dataclass(frozen=True)
class Canvas:
    """A picture as a model takes it."""

    image_CSS: NDArray[np.uint8]
    mask_SS: NDArray[np.bool_]  # True where it is drawn anew
    notes: tuple[str, ...]  # what was done to the picture besides, in sentences


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: left and top are in it, right and bottom are not."""

    x0: int
    y0: int
    x1: int
    y1: int

    def on(self, image: Image.Image) -> tuple[Image.Image, NDArray[np.bool_]]:
        width, height = image.size
        if not (0 <= self.x0 < self.x1 <= width and 0 <= self.y0 < self.y1 <= height):
            raise ValueError(
                f"the box {self.x0},{self.y0},{self.x1},{self.y1} is not within the picture of {width}x{height} "
                "pixels; give left,top,right,bottom with left < right <= width and top < bottom <= height"
            )
        mask = np.zeros((height, width), bool)
        mask[self.y0 : self.y1, self.x0 : self.x1] = True
        return image, mask


@dataclass(frozen=True)
class Mask:
    """A picture of the same size: white is drawn anew, black is kept; grey is white from 128 on, so is nothing at all.

    `path`: a file, or a folder that holds one for each picture, of the picture's name.
    """

    path: Path

    def of(self, picture: Path) -> Mask:
        """The one of a picture."""
        if not self.path.is_dir():
            return self
        found = sorted(p for p in self.path.iterdir() if p.stem == picture.stem and p.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"there is no mask {picture.stem}.png in {self.path}")
        return Mask(found[0])

    def on(self, image: Image.Image) -> tuple[Image.Image, NDArray[np.bool_]]:
        mask = pictures.read_alone(self.path, 1)
        if mask.size != image.size:
            raise ValueError(
                f"the mask {self.path.name} has {mask.width}x{mask.height} pixels and the picture "
                f"{image.width}x{image.height}; a mask has the size of its picture"
            )
        return image, np.asarray(mask) >= WHITE


@dataclass(frozen=True)
class Margins:
    """Pixels that are added on each side and drawn."""

    left: int
    top: int
    right: int
    bottom: int

    def on(self, image: Image.Image) -> tuple[Image.Image, NDArray[np.bool_]]:
        if min(self.left, self.top, self.right, self.bottom) < 0:
            raise ValueError("margins are 0 or more pixels: left,top,right,bottom")
        width, height = image.width + self.left + self.right, image.height + self.top + self.bottom
        if width != height:
            raise ValueError(
                f"with these margins {image.width}x{image.height} pixels become {width}x{height}; models draw squares, "
                "so choose margins that make width and height equal"
            )
        canvas = Image.new(image.mode, (width, height))
        canvas.paste(image, (self.left, self.top))
        mask = np.ones((height, width), bool)
        mask[self.top : self.top + image.height, self.left : self.left + image.width] = False
        return canvas, mask


Part = Box | Mask | Margins
SUFFIXES = pictures.SUFFIXES


def canvas(path: Path, part: Part, side: int, channels: int) -> Canvas:
    """A picture file and the part of it that is to be drawn, as a model of `side` pixels and `channels` takes them.

    Raises:
        pictures.Unreadable: no picture.
        ValueError: a part that does not fit it, is empty, or is all of it; the sentence says so.
    """
    part = part.of(path) if isinstance(part, Mask) else part
    image, mask_HW = part.on(pictures.read_alone(path, channels))
    notes = []
    if image.width != image.height:
        square = min(image.size)
        left, top = (image.width - square) // 2, (image.height - square) // 2
        notes.append(f"its middle {square}x{square} of {image.width}x{image.height} pixels is used")
        image = image.crop((left, top, left + square, top + square))
        mask_HW = mask_HW[top : top + square, left : left + square]
    where = " in the picture's middle square" if notes else ""
    if not mask_HW.any():
        raise ValueError(f"nothing{where} is to be drawn anew: the mask has no white there (white is drawn anew)")
    if mask_HW.all():
        raise ValueError(
            f"all{where} is to be drawn anew: the mask is white everywhere, so that nothing of the picture is kept; "
            "that is a sample: `var-scaling sample TRIAL --class NAME`"
        )
    if image.width != side:
        notes.append(f"{image.width} pixels a side were {'reduced' if image.width > side else 'enlarged'} to {side}")
        image = Image.fromarray(_from_nearest(np.asarray(image), mask_HW))
        image = image.resize((side, side), Image.Resampling.LANCZOS)
        touched = F.adaptive_max_pool2d(torch.from_numpy(mask_HW)[None, None].float(), side)
        mask_HW = touched[0, 0].numpy() > 0
        if mask_HW.all():
            raise ValueError(f"at the model's {side} pixels a side no pixel is free of the mask; mask less of it")
    pixels = np.asarray(image, np.uint8).reshape(side, side, -1)
    return Canvas(np.ascontiguousarray(pixels.transpose(2, 0, 1)), mask_HW, tuple(notes))


def _from_nearest(pixels: NDArray[np.uint8], mask_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The nearest kept pixel wherever the mask is True."""
    from scipy.ndimage import distance_transform_edt

    ys, xs = distance_transform_edt(mask_HW, return_distances=False, return_indices=True)
    return pixels[ys, xs]
