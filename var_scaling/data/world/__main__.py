"""A picture of the world's 100 classes: a column for each thing, a row for each material.

Usage: python -m var_scaling.data.world docs/figures/world.png
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from var_scaling.config.class_names import WORLD_CLASSES, WORLD_MATERIALS, WORLD_THINGS
from var_scaling.data.world import draw

if __name__ == "__main__":
    things, materials, side = len(WORLD_THINGS), len(WORLD_MATERIALS), 64
    images = np.empty((things, materials, side, side, 3), np.uint8)
    for place, image in zip(WORLD_CLASSES, draw("train", np.arange(things * materials), side), strict=True):
        images[place] = image
    sheet = images.transpose(1, 2, 0, 3, 4).reshape(materials * side, things * side, 3)
    Image.fromarray(sheet).save(sys.argv[1], optimize=True)
