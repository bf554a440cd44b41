"""Floors that the rows hardly show: a resample without a floor belongs to the interval like any other."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from analysis import CannotFit, fit_chinchilla, fit_fid_given_loss, fit_power_law, fit_saturating, fit_tied
from analysis.laws.intervals import quantiles

SIZES = np.geomspace(1e7, 1e9, 6)
DATA = np.geomspace(1e8, 1e10, 5)


def power(floor, alpha, noise, count, seed):
    x = np.geomspace(1e7, 1e9, count)
    rng = np.random.default_rng(seed)
    return x, (floor + 0.5 * (x / 1e8) ** -alpha) * np.exp(noise * rng.normal(size=count))


@pytest.mark.parametrize("seed", range(5))
def test_no_resample_of_a_flat_power_law_is_dropped(seed):
    """Up to 45 % of the resamples once ran out of steps on their way to E = 0, and the interval lost that end."""
    law = fit_power_law(*power(2.0, 0.08, 0.003, 8, seed), "fit")
    assert law.draws().failed <= 0.01 * law.resamples
    if "flat_profile" in [note.code for note in law.notes]:
        assert law.interval("E")[0] == 0  # what the note says, the interval says too
    assert law.interval("E")[0] < 2.0 < law.interval("E")[1]


def test_a_floor_that_may_be_zero_has_an_interval():
    """1,891 of 2,000 resamples failed here, and the law had no interval at all."""
    law = fit_power_law(*power(2.0, 0.08, 0.003, 30, 2), "fit")
    low, high = law.interval("alpha")
    assert low < -0.08 < high
    assert law.draws().failed < 0.01 * law.resamples


def grid(seed, floor, size, alpha, data, beta):
    params, seen = (values.ravel() for values in np.meshgrid(SIZES, DATA))
    loss = floor + size * (params / 1e8) ** -alpha + data * (seen / 1e9) ** -beta
    return params, seen, loss * np.exp(0.003 * np.random.default_rng(seed).normal(size=len(loss)))


@pytest.mark.parametrize("seed", [2, 5])
def test_a_joint_law_with_a_small_exponent_has_an_interval(seed):
    """1,918 and 1,812 of 2,000 resamples failed here."""
    law = replace(fit_chinchilla(*grid(seed, 2.0, 0.5, 0.08, 0.5, 0.9)), resamples=500)
    assert law.draws().failed < 0.01 * law.resamples
    for name, value in {"E": 2.0, "alpha": 0.08, "beta": 0.9}.items():
        low, high = law.interval(name)
        assert low <= value <= high


def test_a_joint_law_on_its_bound_still_says_how_large_the_floor_may_be():
    bound = inside = 0
    for seed in range(25):
        law = replace(fit_chinchilla(*grid(seed, 0.0, 0.6, 0.1, 0.6, 0.15), delta=np.inf), resamples=200)
        if law.coefficients["E"] == 0:
            bound += 1
            low, high = law.interval("E")
            assert low == 0
            assert 0 < high < 0.6
            low, high = law.interval("alpha")
            inside += low <= 0.1 <= high
    assert bound >= 5
    assert inside >= 0.8 * bound


def test_a_floor_fitted_to_rows_without_one_leaves_the_exponent_its_doubt():
    """At the bound percentiles miss on one side: 85 % covered, and 84 % of the laws at twice the largest size."""
    covered = {"joined": 0, "percentiles alone": 0, "law beyond": 0}
    for seed in range(60):
        x, y = power(0.0, 0.23, 0.003, 12, seed)
        law = replace(fit_power_law(x, y, "fit"), resamples=300)
        low, high = law.interval("alpha")
        covered["joined"] += low <= -0.23 <= high
        low, high = np.quantile(law.draws().draws["alpha"], [0.025, 0.975])
        covered["percentiles alone"] += low <= -0.23 <= high
        low, high = (limit[0] for limit in law.mean_interval(2e9))
        covered["law beyond"] += low <= 0.5 * 20**-0.23 <= high
    assert covered["joined"] >= 56
    assert covered["law beyond"] >= 55
    assert covered["percentiles alone"] <= 53  # the premise


def test_a_floor_that_the_rows_show_leaves_percentiles_alone():
    law = replace(fit_power_law(*power(2.0, 0.4, 0.002, 12, 0), "fit"), resamples=300)
    assert law.interval("E")[0] > 0
    assert law.interval("alpha") == quantiles(law.draws().draws["alpha"].to_numpy(), 0.95)


def test_resamples_near_the_bound_are_minima():
    """Every refit is as good as a fit of that resample from scratch."""
    params, data, loss = grid(2, 2.0, 0.5, 0.08, 0.5, 0.9)
    law = fit_chinchilla(params, data, loss, delta=np.inf)
    rng = np.random.default_rng(0)
    noisy = law.estimator.response + 0.003 * rng.normal(size=(12, len(loss)))
    theta, certified = law.estimator.refit(noisy, law.estimator.weights)
    assert certified.all()
    for response, found in zip(noisy, theta, strict=True):
        residual = response - law.estimator.terms.evaluate(found[None]).log_prediction[0]
        fresh = fit_chinchilla(params, data, np.exp(response), delta=np.inf)
        assert 0.5 * (residual**2).sum() == pytest.approx(fresh.objective, rel=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02])
def test_a_saturating_law_is_not_refused_for_the_rounding_of_one_start(seed, noise):
    """One planted law in nine was refused as not converged: the best of equal minima had not passed the last test."""
    x = np.geomspace(1e6, 1e10, 12)
    rate = 0.08 + 0.82 / (1 + np.sqrt(x / 3e7))
    law = fit_saturating(x, rate * np.exp(noise * np.random.default_rng(seed).normal(size=12)), 0.9)
    assert law.certificate.gradient_norm < 1e-8
    assert law.coefficients["alpha"] == pytest.approx(-0.5, abs=max(10 * noise * 0.5, 0.02))


def test_random_saturating_laws_and_fids_are_fitted():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        count, noise = int(rng.integers(6, 20)), 10 ** rng.uniform(-4, -2)
        x = np.geomspace(1, 10 ** rng.uniform(2, 5), count)
        floor = rng.choice([0.0, 0.02, 0.1, 0.3])
        rate = floor + (1 - floor) / (1 + (x / np.median(x)) ** rng.uniform(0.15, 1.2))
        fit_saturating(x, np.minimum(rate * np.exp(noise * rng.normal(size=count)), 0.9999))
        loss = np.linspace(2.5, 3.2, count)
        fid = (rng.choice([0, 2]) + np.exp(rng.uniform(2, 5) * (loss - 2.5))) * np.exp(noise * rng.normal(size=count))
        fit_fid_given_loss(loss, fid)


def test_a_saturating_floor_on_its_bound_is_zero_and_has_an_upper_limit():
    x = np.geomspace(1e6, 1e10, 12)
    found = 0
    for seed in range(8):
        noise = np.exp(0.01 * np.random.default_rng(seed).normal(size=12))
        law = replace(fit_saturating(x, noise / (1 + (x / 3e7) ** 0.3)), resamples=200)
        low, high = law.interval("floor")
        assert low == 0 or "at_bound" not in [note.code for note in law.notes]
        assert 0 < high < 0.1
        found += law.coefficients["floor"] == 0
    assert found >= 2


def test_a_floor_fitted_as_zero_does_not_pretend_that_the_exponent_is_known():
    """Conditional on E = 0 the interval was [-0.027, -0.019] where the truth is -0.23: 0 of 18 covered."""
    x = np.geomspace(1e5, 1e7, 6)
    bound = inside = 0
    for seed in range(60):
        y = (4.5 + 0.3 * (x / 1e6) ** -0.23) * np.exp(0.01 * np.random.default_rng(seed).normal(size=6))
        try:
            law = replace(fit_power_law(x, y, "fit"), resamples=300)
        except CannotFit:  # one study in sixty rises
            continue
        if law.coefficients["E"] == 0:
            bound += 1
            low, high = law.interval("alpha")
            inside += low <= -0.23 <= high
    assert bound >= 10
    assert inside >= 0.8 * bound


@pytest.mark.parametrize("truth", [0.0, 0.3, 0.72])
def test_resamples_of_a_saturating_law_are_fitted_as_well_as_scipy_fits_them(truth):
    """With the floor as a logarithm a hundred steps were too few, and the floor's lower limit was 0.07 for 0."""
    rng = np.random.default_rng(3)
    x = np.geomspace(1e5, 1e7, 6)
    law = fit_saturating(x, (truth + (1 - truth) / (1 + (3e-6 * x) ** 0.2)) * np.exp(0.004 * rng.normal(size=6)))
    fit = law.estimator
    response = fit.response + 0.004 * rng.normal(size=(40, 6))
    found, _ = fit.refit(response, fit.weights)

    def residual(theta, y):
        floor = theta[0] * fit.unit
        return np.log(floor + (1 - floor) / (1 + np.exp(-theta[1] - theta[2] * fit.x))) - y

    for theta, y in zip(found, response, strict=True):
        low, high = [0, -np.inf, -np.inf], [1 / fit.unit, np.inf, np.inf]
        starts = [
            np.clip(start, low, np.array(high) * 0.99) for start in (theta, fit.theta, [0.3, 0, -0.3], [0.9, -1, -1])
        ]
        best = min(
            least_squares(residual, start, bounds=(low, high), args=(y,), xtol=1e-12, ftol=1e-12).cost
            for start in starts
        )
        assert 0.5 * (residual(theta, y) ** 2).sum() <= best * (1 + 1e-4) + 1e-12


def tied(seed):
    params, seen = (values.ravel() for values in np.meshgrid(np.geomspace(1e6, 1e9, 8), np.geomspace(1e8, 1e10, 4)))
    noise = 0.003 * np.random.default_rng(seed).normal(size=len(params))
    return fit_tied(params, seen, (40 / params**0.25 + 60 / seen**0.25) * (1 + noise))


def saturating(seed):
    x = np.repeat(np.geomspace(1e6, 1e9, 10), 2)
    return fit_saturating(x, np.exp(0.01 * np.random.default_rng(seed).normal(size=20)) / (1 + (x / 1e5) ** 0.2))


def given_loss(seed):
    x = np.repeat(np.linspace(3, 5, 10), 2)
    return fit_fid_given_loss(x, np.exp(1.2 * x - 4 + 0.01 * np.random.default_rng(seed).normal(size=20)))


@pytest.mark.parametrize(("fit", "name", "truth"), [(tied, "alpha", 0.25), (saturating, "alpha", -0.2)])
def test_other_forms_leave_the_doubt_too(fit, name, truth):
    """Of 400 and 300 studies percentiles alone cover 90.7 and 87.3 %, joined ones 95.0 and 96.0."""
    joined = alone = 0
    for seed in range(100):
        law = replace(fit(seed), resamples=300)
        low, high = law.interval(name)
        joined += low <= truth <= high
        low, high = np.quantile(law.draws().draws[name], [0.025, 0.975])
        alone += low <= truth <= high
    assert alone < joined, "the premise: the bound bites"
    assert joined >= 89  # three standard errors of 100 studies below 95


@pytest.mark.parametrize("fit", [tied, saturating, given_loss])
def test_the_law_without_a_floor_is_the_best_one(fit):
    estimator = fit(3).estimator
    plain = estimator.without_floor()
    assert len(plain.theta) == len(estimator.theta) - 1
    assert plain.without_floor() is None
    cost = float((plain.residual**2).sum())
    assert cost >= (estimator.residual**2).sum() * (1 - 1e-12)
    numeric = np.array([step_in(plain, place, 1e-5) for place in range(len(plain.theta))])
    assert np.abs(numeric).max() < 1e-4 * cost
    names = plain.natural(plain.theta[None])
    assert [float(names[name][0]) for name in ("E", "floor") if name in names] == [0.0]


def step_in(estimator, place, step):
    """Change of the sum of squares, up minus down, over a small relative step of one parameter."""
    costs = []
    for sign in (1, -1):
        theta = estimator.theta.copy()
        theta[place] *= 1 + sign * step
        costs.append(float((replace(estimator, theta=theta).residual ** 2).sum()))
    return (costs[0] - costs[1]) / (2 * step)


@pytest.mark.parametrize("seed", [215, 447, 504, 772])
def test_a_tied_law_whose_floor_vanishes_is_certified(seed):
    """The last step to E = 0 went through it and was turned down: 9 of 1,200 good tables were refused."""
    law = tied(seed)
    assert law.coefficients["E"] == 0
    assert law.certificate.excess < 1e-9
