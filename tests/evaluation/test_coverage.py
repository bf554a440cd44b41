"""On real features the corrected interval covers, and the raw one does not."""

import numpy as np
import pytest

from benchmarks.fid_coverage import coverage
from var_scaling.evaluation.frechet import Gaussian, Reference, frechet, kernel_distance


@pytest.mark.parametrize("damage", ["blurred (3x3 mean)", "shrunk to 8x8 and back"])
@pytest.mark.parametrize(("samples", "repeats"), [(320, 1_600), (160, 1_600)])
def test_the_corrected_interval_covers_on_real_features(populations, images, damage, samples, repeats):
    reference = Reference(Gaussian.of(populations["real (validation)"]))
    found = coverage(populations[damage], images.train_labels[:6_000], reference, samples, repeats)
    assert found["truth"] > 0.1, "the premise: a damage that shows"
    assert 0.92 <= found["covers"] <= 0.985, found  # 1,600 repeats know it to half a point
    assert abs(found["bias"]) < 0.35 * found["spread"], found
    assert found["error"] == pytest.approx(found["spread"], rel=0.2), found


def test_it_bites_the_raw_interval_does_not_cover(populations, images):
    real = populations["real (validation)"]
    reference = Reference(Gaussian(real.mean(0), np.cov(real, rowvar=False, ddof=0), len(real)))
    found = coverage(real, images.train_labels[:6_000], reference, 320, 200)
    assert abs(found["truth"]) < 1e-6, "the premise: the set against itself"
    assert found["covers raw"] < 0.2, found
    assert found["covers"] > 0.9, found
    assert found["bias raw"] > 3 * abs(found["bias"])


@pytest.mark.parametrize("shares", [(900, *[20] * 9), (401, 21, 19), (90, 3, 2, 1, 1, 1)])
def test_real_images_of_unequal_classes_hold_zero(shares):
    """Draws at the reference's shares, in rank order as a folder's images lie, the large class alone at the end."""
    rng, size = np.random.default_rng(1), 4
    centres = rng.normal(size=(len(shares), size)) * 3
    labels = np.repeat(np.arange(len(shares)), shares)
    rank = np.concatenate([np.arange(n) for n in shares])
    labels = labels[np.lexsort((labels, rank))]
    many = np.repeat(np.arange(len(shares)), np.multiply(shares, 400))
    reference = Reference(Gaussian.of(centres[many] + rng.normal(size=(len(many), size))))
    held, corrected = [], []
    for _ in range(300):
        found = frechet(centres[labels] + rng.normal(size=(len(labels), size)), reference, labels)
        held.append(found.low <= 0 <= found.high)
        corrected.append(found.corrected)
    assert np.mean(held) >= 0.9, np.mean(held)
    assert abs(np.mean(corrected)) < 0.5 * np.std(corrected)


def test_a_perfect_models_kernel_distance_holds_zero(populations, images):
    real, labels = populations["real (validation)"], images.train_labels[:6_000]
    rng, held, plain = np.random.default_rng(0), [], []
    by_class = [np.flatnonzero(labels == c) for c in range(10)]
    for _ in range(100):
        rows = np.stack([rng.choice(rows, 40) for rows in by_class], axis=1).reshape(-1)
        others = np.stack([rng.choice(rows, 60) for rows in by_class], axis=1).reshape(-1)
        kid = kernel_distance(real[rows], real[others], labels[rows], labels[others])
        held.append(kid.low <= 0 <= kid.high)
        plain.append(kernel_distance(real[rows], real[others]).value)
    assert np.mean(held) >= 0.9
    assert np.mean(plain) < -3 * np.std(plain) / 10, (
        "without the classes it is biased below zero: the reason for strata"
    )
