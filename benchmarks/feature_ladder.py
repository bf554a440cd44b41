"""What each feature network makes of a ladder of damages that a person can rank: the table of docs/evaluation.md.

    python -m benchmarks.feature_ladder fashion-mnist-mini
    python -m benchmarks.feature_ladder world --features shape
    python -m benchmarks.feature_ladder imagefolder --folder ~/photos --resolution 64

Trains each network by its default recipe (about a CPU minute at 32 px), then takes the corrected FID of all validation
images, damaged, against the training images. A rung is worse than the one before it to a person's eye.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from var_scaling import randomness
from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import metric_data
from var_scaling.data.images import Images, load_images
from var_scaling.evaluation.classifier import train_classifier
from var_scaling.evaluation.features import Extractor, batches, image_bytes, load_extractor, reference_features
from var_scaling.evaluation.frechet import Reference, frechet
from var_scaling.evaluation.shape import exchanged, train_shape
from var_scaling.runs import store
from var_scaling.runs.journal import Journal

Damage = Callable[[Tensor, NDArray[np.int64]], Tensor]


def _bytes(images: Tensor) -> Tensor:
    return images.clamp(0, 255).round().to(torch.uint8)


def noise(deviation: float) -> Damage:
    def damage(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        drawn = randomness.normal(0, "ladder", images[0].numel(), rows)
        return _bytes(images + deviation * torch.from_numpy(drawn).view_as(images))

    return damage


def blurred(size: int) -> Damage:
    def damage(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        padded = F.pad(images.float(), (size // 2,) * 4, mode="replicate")
        return _bytes(F.avg_pool2d(padded, size, 1))

    return damage


def shrunk(factor: int) -> Damage:
    def damage(images: Tensor, rows: NDArray[np.int64]) -> Tensor:
        small = F.interpolate(images.float(), scale_factor=1 / factor, mode="area")
        return _bytes(F.interpolate(small, images.shape[-2:], mode="bicubic", align_corners=False))

    return damage


LADDER: dict[str, Damage] = {
    "real": lambda images, rows: images,
    "noise, sd 8 of 255": noise(8),
    "noise, sd 24": noise(24),
    "half the side and back": shrunk(2),
    "3x3 blur": blurred(3),
    "quarter of the side and back": shrunk(4),
    "7x7 blur": blurred(7),
    "2x2 parts exchanged": lambda images, rows: exchanged(images, rows, 2),
    "4x4 parts exchanged": lambda images, rows: exchanged(images, rows, 4),
    "8x8 parts exchanged": lambda images, rows: exchanged(images, rows, 8),
}


def ladder(images: Images, extractor: Extractor) -> dict[str, float]:
    """Corrected FID of each rung; classes that are missing come last."""
    reference = Reference(reference_features(images, "train", extractor).gaussian)
    labels = images.validation_labels

    def fid(damage: Damage, rows: NDArray[np.int64]) -> float:
        parts = [rows[part] for part in batches(len(rows))]
        features = [extractor(damage(image_bytes(images, "validation", part), part))[0] for part in parts]
        return frechet(np.concatenate(features), reference, labels[rows]).corrected

    every = np.arange(len(labels))
    found = {name: fid(damage, every) for name, damage in LADDER.items()}
    classes = int(labels.max()) + 1
    if classes > 1:
        found["a tenth of the classes missing"] = fid(LADDER["real"], every[labels >= max(1, classes // 10)])
        found["half of the classes missing"] = fid(LADDER["real"], every[labels >= classes // 2])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--folder")
    parser.add_argument("--features", choices=("classifier", "shape"), nargs="*", default=["classifier", "shape"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = DataConfig(name=asked.data, resolution=asked.resolution)
    data = metric_data(resolve_data(config, image_folder=asked.folder))
    images = load_images(data, image_folder=asked.folder)
    table: dict[str, dict[str, float]] = {}
    for features in asked.features:
        with TemporaryDirectory() as work:
            attempt = store.take(Path(work))
            attempt.journal = Journal(attempt.folder / "journal.jsonl")
            out = attempt.scratch("result")
            before = time.process_time()
            train = train_classifier if features == "classifier" else train_shape
            report = train(data, images, attempt=attempt, out=out)
            print(f"{features}: {time.process_time() - before:.0f} CPU s, {report}")
            table[features] = ladder(images, load_extractor(features, data=data, folder=out))
            attempt.end("finished")
    print(f"\n| {asked.data} | {' | '.join(table)} |\n| --- |{' --- |' * len(table)}")
    for rung in next(iter(table.values())):
        print(f"| {rung} | {' | '.join(f'{found[rung]:.2f}' for found in table.values())} |")


if __name__ == "__main__":
    main()
