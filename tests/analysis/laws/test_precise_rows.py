"""Losses printed to many digits are no reason to refuse: near an exact law the objective's own rounding decides."""

import numpy as np
import pytest

from analysis import fit_chinchilla, fit_fid_given_loss, fit_power_law, fit_repeated, fit_saturating


@pytest.mark.parametrize("digits", [4, 5, 6, 8])
@pytest.mark.parametrize(("floor", "factor"), [(1.5, 1), (5, 2), (10, 2), (50, 8)])
def test_rounded_ladders_are_fitted(digits, floor, factor):
    """40 of 1,680 such ladders were refused as not converged."""
    sizes = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    for count in (6, 8, 10):
        for alpha in (0.1, 0.15, 0.2, 0.3, 0.5):
            x = 1e6 * sizes[:count]
            y = np.round(floor + factor * (x / 1e6) ** -alpha, digits)
            law = fit_power_law(x, y, "fit")
            if digits == 8:
                assert law.coefficients["alpha"] == pytest.approx(-alpha, rel=1e-4)


@pytest.mark.parametrize("delta", [0, 1e-3, np.inf])
@pytest.mark.parametrize("digits", [4, 5, 6, 7, 8, 9])
def test_rounded_tables_are_fitted_whatever_the_delta(delta, digits):
    """Absolute deviations were refused at 6 and 8 digits: the linear programs' tolerances are absolute."""
    params, data = np.repeat([1e7, 3e7, 1e8, 3e8, 1e9], 4), np.tile([1e9, 4e9, 1.6e10, 6.4e10], 5)
    loss = np.round(1.69 + 406.4 / params**0.34 + 410.7 / data**0.28, digits)
    law = fit_chinchilla(params, data, loss, delta)
    assert law.coefficients["alpha"] == pytest.approx(0.34, rel=10.0 ** (1 - digits))
    truth = np.abs(np.log(loss) - np.log(1.69 + 406.4 / params**0.34 + 410.7 / data**0.28)).sum()
    assert np.abs(law.estimator.residual).sum() <= truth * (1 if delta == 0 else 1.5) + 1e-14


@pytest.mark.parametrize("noise", [0, 1e-14, 1e-12, 1e-10, 1e-8])
def test_nearly_exact_curves_are_fitted(noise):
    """At 1e-12 every saturating law was refused, and most FIDs given loss."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, loss = np.geomspace(1e6, 10 ** rng.uniform(8, 11), 11), np.linspace(2.5, 3.5, 13)
        rate = 0.1 + 0.8 / (1 + (x / 1e7) ** 0.4)
        law = fit_saturating(x, rate * np.exp(noise * rng.normal(size=11)), 0.9)
        assert law.coefficients["alpha"] == pytest.approx(-0.4, rel=1e-9 + 1e4 * noise)
        fid = (2 + np.exp(2.5 * (loss - 2.5))) * np.exp(noise * rng.normal(size=13))
        assert fit_fid_given_loss(loss, fid).coefficients["rate"] == pytest.approx(2.5, rel=1e-9 + 1e4 * noise)
        axes = np.geomspace(1e7, 1e9, 3), np.geomspace(1e8, 1e10, 4), [1, 2, 4, 8, 16]
        params, unique, epochs = (part.ravel() for part in np.meshgrid(*axes))
        used = unique * (1 + 10 * (1 - np.exp((1 - epochs) / 10)))
        y = (1.8 + 400 / params**0.34 + 2000 / used**0.36) * np.exp(noise * rng.normal(size=len(params)))
        law = fit_repeated(params, unique, epochs, y)
        assert law.coefficients["R"] == pytest.approx(10, rel=1e-9 + 1e4 * noise)
