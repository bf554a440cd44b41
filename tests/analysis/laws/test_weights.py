"""A row of weight 2 is that row twice, one of weight 0 is not there; what is masked is missing."""

import numpy as np
import pytest

from analysis import CannotFit, fit_fid_given_loss, fit_power_law, fit_saturating

X = np.geomspace(1e6, 1e9, 8)
Y = (2 + 8 * (X / 1e6) ** -0.3) * np.exp(0.01 * np.random.default_rng(0).normal(size=8))


@pytest.mark.parametrize("offset", ["none", "fit", 1.5])
def test_a_row_of_weight_two_is_that_row_twice(offset):
    weighted = fit_power_law(X, Y, offset, weights=[2, *[1] * 7])
    twice = fit_power_law([X[0], *X], [Y[0], *Y], offset)
    assert weighted.coefficients == pytest.approx(twice.coefficients, rel=1e-9)
    assert (weighted.freedom, weighted.noise_freedom) == (twice.freedom, twice.noise_freedom)
    assert weighted.noise == pytest.approx(twice.noise, rel=1e-9, abs=1e-15)
    if offset == "fit":
        assert weighted.profile_interval() == pytest.approx(twice.profile_interval(), rel=1e-9)
    for runs in (1, 4):
        found, wanted = (law.prediction_interval([2e9], runs=runs) for law in (weighted, twice))
        assert np.ravel(found) == pytest.approx(np.ravel(wanted), rel=1e-9)


@pytest.mark.parametrize("offset", ["none", "fit", 1.5])
def test_a_row_of_weight_zero_is_not_there(offset):
    """Its loss may even lie below the offset, or be three times another's of its size."""
    alone = fit_power_law(X, Y, offset)
    for x, y in ((1e10, 1e-9), (X[2], 3 * Y[2])):
        with_it = fit_power_law([*X, x], [*Y, y], offset, weights=[*[1] * 8, 0])
        assert with_it.coefficients == pytest.approx(alone.coefficients, rel=1e-9)
        assert with_it.noise == alone.noise
        assert with_it.freedom == alone.freedom


def test_masked_values_are_missing():
    with pytest.raises(CannotFit, match="missing or infinite in row 7"):
        fit_power_law(X, np.ma.masked_equal([*Y[:-1], 9.0], 9.0), "fit")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: fit_power_law(np.arange(8).astype("M8[D]"), Y), "dates or times"),
        (lambda: fit_power_law(X + 0j, Y), "complex numbers"),
        (lambda: fit_power_law(X, Y, [1.5]), "'none', 'fit' or a number"),
        (lambda: fit_power_law(X, Y, weights=["a"] * 8), "weights holds something that is not a number"),
        (lambda: fit_saturating(X, Y / 20, np.nan), "ceiling is nan"),
        (lambda: fit_saturating(X, Y / 20, "one"), "ceiling is 'one'"),
        (lambda: fit_fid_given_loss(Y, Y, families=["var"]), "differ in length"),
    ],
)
def test_wrong_inputs_are_answered_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
