"""Repeated data whose loss rises: the law that can, exact on planted rows, and R where the plain law loses it."""

import numpy as np
import pytest

from analysis import fit_repeated
from analysis.errors import CannotFit
from analysis.laws.overfit import fit_overfit

SIZE, UNIQUE, SEEN = (
    part.ravel() for part in np.meshgrid([6e4, 1.6e5, 6.4e5], [1250.0, 2500.0, 5000.0, 2e4], [1e4, 3e4, 9e4])
)
EPOCHS = SEEN / UNIQUE


def planted(size, unique, epochs, reuse=12.0):
    worth = unique * np.minimum(epochs, 1) * (1 + reuse * (1 - np.exp(-np.maximum(epochs - 1, 0) / reuse)))
    return (
        2.2
        + 1.0 * (size / 1e5) ** -0.3
        + 1.5 * (worth / 1e4) ** -0.45
        + (3e-4 * (size / unique / np.minimum(epochs, 1) / 20) ** 1.6 * np.maximum(epochs, 1) ** 1.4)
    )


def test_planted_rise_and_reuse_come_back():
    loss = planted(SIZE, UNIQUE, EPOCHS)
    law = fit_overfit(SIZE, UNIQUE, EPOCHS, loss)
    assert law.coefficients["R"] == pytest.approx(12.0, rel=1e-2)
    assert law.coefficients["lambda"] == pytest.approx(1.4, rel=2e-2)
    assert law.coefficients["kappa"] == pytest.approx(1.6, rel=0.1)
    assert law.predict(SIZE, UNIQUE, EPOCHS) == pytest.approx(loss, rel=1e-4)
    with pytest.raises(CannotFit):  # a law of which no loss rises runs off
        fit_repeated(SIZE, UNIQUE, EPOCHS, loss, delta=np.inf)
