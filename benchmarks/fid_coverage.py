"""Does the 95 % interval of the corrected FID cover? Resampling on real features of the trained classifier.

    python -m benchmarks.fid_coverage CLASSIFIER_FOLDER      # runs/store/classifier/<id>/result; about 3 CPU minutes

A population is the features of all 20,000 training images after a known damage; its own FID against the untouched
images is the truth. Samples of n are drawn from it as a model's are (the same number of every class, with replacement),
and the share of intervals that hold the truth is counted, for the raw value and for the corrected one. With `--iid`
classes are drawn at random and the standard error is the unstratified one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import metric_data
from var_scaling.data.images import load_images
from var_scaling.evaluation.features import Extractor, batches, image_bytes, load_extractor
from var_scaling.evaluation.frechet import Gaussian, Reference, frechet
from var_scaling.evaluation.reconstruction import known_images


def population(images, extractor: Extractor, make) -> np.ndarray:
    """Features of every training image after `make`."""
    parts = [extractor(make(image_bytes(images, "train", rows), rows))[0] for rows in batches(images.count("train"))]
    return np.concatenate(parts).astype(np.float64)


def truth(features_nD: np.ndarray, reference: Reference) -> float:
    """The distance of the population itself: its covariance is divided by n, for it is drawn from with replacement."""
    covariance = np.cov(features_nD, rowvar=False, ddof=0)
    return reference.distance(Gaussian(features_nD.mean(0), covariance, len(features_nD)))


def coverage(features_nD, labels, reference: Reference, samples: int, repeats: int, iid: bool = False) -> dict:
    """Shares of intervals that hold the truth, biases, and the standard error against the true spread."""
    rng, classes = np.random.default_rng(0), int(labels.max()) + 1
    by_class = [np.flatnonzero(labels == c) for c in range(classes)]
    true, held, held_raw, corrected, raw, errors = truth(features_nD, reference), 0, 0, [], [], []
    for _ in range(repeats):
        if iid:
            rows, strata = rng.integers(0, len(labels), samples), None
        else:  # rank by rank, as `labels_by_share` asks for them
            rows = np.stack([rng.choice(rows, samples // classes) for rows in by_class], axis=1).reshape(-1)
            strata = labels[rows]
        found = frechet(features_nD[rows], reference, strata)
        half_width = (found.high - found.low) / 2
        held += found.low <= true <= found.high
        held_raw += abs(found.raw - true) <= half_width
        corrected.append(found.corrected)
        raw.append(found.raw)
        errors.append(half_width / 1.96)
    return {
        "n": samples,
        "n/d": samples / features_nD.shape[1],
        "truth": true,
        "bias raw": float(np.mean(raw)) - true,
        "bias": float(np.mean(corrected)) - true,
        "error": float(np.mean(errors)),
        "spread": float(np.std(corrected)),
        "covers raw": held_raw / repeats,
        "covers": held / repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifier", type=Path)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--iid", action="store_true")
    asked = parser.parse_args()
    data = metric_data(resolve_data(DataConfig()))
    images = load_images(data)
    extractor = load_extractor("classifier", data=data, folder=asked.classifier)
    made = known_images(None, "cpu")
    real = population(images, extractor, made.pop("real (validation)"))
    reference = Reference(Gaussian.of(real))
    for name, make in made.items():
        features = population(images, extractor, make)
        for samples in (160, 320, 640, 2_000, 5_000):
            try:
                found = coverage(features, images.train_labels, reference, samples, asked.repeats, asked.iid)
            except ValueError as refused:
                print(f"{name:24} {refused}")
                continue
            print(f"{name:24}", "  ".join(f"{k} {v:.4g}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
