"""Two measurements of the same images, compared image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def paired_difference(a: Path, b: Path) -> dict[str, float] | None:
    """Mean of a minus b over images, with 95 % (normal: there are hundreds of images).

    Args:
        a: .npy of one number an image.
        b: the same of another, in the same order.

    Returns:
        mean, low, high; None where one is not there, or is of other images.
    """
    if not (a.exists() and b.exists()):
        return None
    of_a, of_b = np.load(a), np.load(b)
    if of_a.shape != of_b.shape or len(of_a) < 2:
        return None
    differences = of_a - of_b
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    return {"mean": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error}
