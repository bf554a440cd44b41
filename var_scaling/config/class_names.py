"""What the classes of a set are called, where anybody here knows. Torch-free."""

from __future__ import annotations

import contextlib

from var_scaling.config.data import DataConfig, folder_path
from var_scaling.config.image_folder import walk
from var_scaling.errors import EnvironmentProblem

GARMENTS = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# The world's classes are every thing in every material (`var_scaling.data.world`), so ordered that the first few, which
# a grid of samples shows, differ in both.
WORLD_THINGS = (
    "ball",
    "cube",
    "pyramid",
    "drum",
    "ring",
    "star",
    "heart",
    "house",
    "tree",
    "mushroom",
    "mug",
    "bottle",
    "car",
    "boat",
    "fish",
    "key",
    "chair",
    "lamp",
    "rocket",
    "umbrella",
)
WORLD_MATERIALS = ("plastic", "dotted", "wood", "brick", "metal")
WORLD_CLASSES = tuple((thing, (thing + turn) % 5) for turn in range(5) for thing in range(20))  # thing, material
NAMES: dict[str, tuple[str, ...]] = {
    "fashion-mnist-mini": GARMENTS,
    "fashion-mnist": GARMENTS,
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "world": tuple(f"{WORLD_MATERIALS[material]} {WORLD_THINGS[thing]}" for thing, material in WORLD_CLASSES),
}


def class_names(config: DataConfig, image_folder: str | None = None) -> tuple[str, ...]:
    """The names in the order of the labels: those of a folder's classes, or their numbers where it is not here.

    Args:
        config: resolved.
        image_folder: placement of an image folder.
    """
    count = config.classes or 0
    names = NAMES.get(config.name, ())
    if not names and config.name == "imagefolder":
        with contextlib.suppress(OSError, ValueError, EnvironmentProblem):  # not on this machine
            names = tuple(walk(folder_path(config, image_folder), stamps=False).splits["train"])
    return names if len(names) == count else tuple(map(str, range(count)))
