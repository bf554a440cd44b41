"""What each image of the world shows: known factors, a pure function of (split, class, number within the class)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from var_scaling import randomness
from var_scaling.config.class_names import WORLD_CLASSES, WORLD_MATERIALS
from var_scaling.data.world.integers import Ints

CLASSES = len(WORLD_CLASSES)
ALPHABET = "ABCDEFHJLPRTUXY123456789"  # what three by five dots can tell apart
FRAME = 1024  # units along a side of the frame
GROUNDS = ("plain", "tiles", "planks")
WALLS = ("plain", "stripes", "hills")
_SEEDS = {"train": 0, "validation": 1}


@dataclass(frozen=True)
class Factors:
    """One number an image for each factor: (N,) int32. Lengths are in units of 1/1024 of the frame's side."""

    thing: Ints  # the shape, an index of WORLD_THINGS
    material: Ints  # of WORLD_MATERIALS; both follow from the class (WORLD_CLASSES)
    hue: Ints  # of the thing, 0 .. 1535; wood, brick and metal use a part of it
    second_hue: Ints  # of dots, stripes and grain
    size: Ints  # of the thing's square
    stretch: Ints  # its height over its width, in 1/256
    turn: Ints  # degrees, clockwise
    mirrored: Ints  # 1: left and right of the thing are exchanged
    x: Ints  # where the middle of its base stands
    y: Ints
    pattern_scale: Ints  # of the material's pattern, in 1/16
    pattern_x: Ints
    pattern_y: Ints
    light_x: Ints  # where the light comes from, in 1/128: -80 from the left .. 80 from the right
    light_y: Ints  # below 0: from above
    light: Ints  # strength, in 1/256
    warmth: Ints  # -24 bluish .. 24 yellowish
    horizon: Ints  # height at which the wall meets the ground
    wall: Ints  # of WALLS
    wall_hue: Ints
    wall_value: Ints
    ground: Ints  # of GROUNDS
    ground_hue: Ints
    ground_value: Ints
    text: Ints  # 1: the image bears two letters
    first: Ints  # of ALPHABET
    second: Ints
    text_right: Ints  # 1: in the upper right corner, else in the upper left
    text_x: Ints  # dots from the corner
    text_y: Ints
    text_dark: Ints  # 1: dark letters on a bright plate

    def __len__(self) -> int:
        return len(self.thing)

    def of(self, chosen: NDArray[np.integer] | slice) -> Factors:
        """Those of some images."""
        return Factors(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})


# Least and largest value of every factor that is drawn (those of the class are given).
RANGES: dict[str, tuple[int, int]] = {
    "hue": (0, 1535),
    "second_hue": (0, 1535),
    "size": (560, 820),
    "stretch": (224, 280),
    "turn": (-10, 10),
    "mirrored": (0, 1),
    "x": (400, 624),
    "y": (820, 930),
    "pattern_scale": (13, 20),
    "pattern_x": (0, 255),
    "pattern_y": (0, 255),
    "light_x": (-80, 80),
    "light_y": (-88, -40),
    "light": (190, 256),
    "warmth": (-24, 24),
    "horizon": (520, 760),
    "wall": (0, len(WALLS) - 1),
    "wall_hue": (0, 1535),
    "wall_value": (120, 235),
    "ground": (0, len(GROUNDS) - 1),
    "ground_hue": (0, 1535),
    "ground_value": (110, 215),
    "text": (0, 1),
    "first": (0, len(ALPHABET) - 1),
    "second": (0, len(ALPHABET) - 1),
    "text_right": (0, 1),
    "text_x": (1, 4),
    "text_y": (1, 3),
    "text_dark": (0, 1),
}


def factors(split: Literal["train", "validation"], rows: NDArray[np.integer]) -> Factors:
    """What the images of some rows show.

    Args:
        split: the two have nothing in common but the world.
        rows: row i is number i // 100 of class i % 100, so that every hundred rows hold each class once. There is no
            last row.
    """
    of_row: NDArray[np.int64] = np.asarray(rows, np.int64)
    thing, material = np.array(WORLD_CLASSES, np.int64)[of_row % CLASSES].T
    combination, numbers = thing * len(WORLD_MATERIALS) + material, of_row // CLASSES
    drawn = {}
    for name, (least, most) in RANGES.items():
        high_bits = randomness.bits(_SEEDS[split], f"world-{name}", combination, numbers) >> np.uint64(32)
        drawn[name] = (least + ((high_bits * np.uint64(most - least + 1)) >> np.uint64(32)).astype(np.int64)).astype(
            np.int32
        )
    return Factors(thing=thing.astype(np.int32), material=material.astype(np.int32), **drawn)
