"""Laws in size and data: planted truths, refusals with codes, notes, repeated data."""

import numpy as np
import pytest

from analysis import CannotFit, fit_chinchilla, fit_repeated, fit_tied

SIZES = np.geomspace(2e7, 2e9, 6)
IMAGES = np.array([0.5, 2, 8, 32]) * 1e9


def grid(sizes=SIZES, data=IMAGES, seeds=1):
    mesh = np.array([(n, d) for n in sizes for d in data for _ in range(seeds)])
    return mesh[:, 0], mesh[:, 1]


def planted(params, data, E=1.7, A=400.0, B=410.0, alpha=0.34, beta=0.28, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return (E + A / params**alpha + B / data**beta) * np.exp(noise * rng.normal(size=len(params)))


@pytest.mark.parametrize("delta", [0, 1e-4, 1e-3, 0.1, np.inf])
def test_a_law_without_noise_is_found_at_every_delta(delta):
    params, data = grid()
    law = fit_chinchilla(params, data, planted(params, data), delta=delta)
    for name, value in {"E": 1.7, "A": 400, "B": 410, "alpha": 0.34, "beta": 0.28}.items():
        assert law.coefficients[name] == pytest.approx(value, rel=1e-5)
    assert law.predict(1e10, 1e12)[0] == pytest.approx(planted(np.array([1e10]), np.array([1e12]))[0], rel=1e-6)


@pytest.mark.parametrize("units", [(1e-9, 1e-9, 1.0), (1.0, 1e-6, 1e-3), (1e6, 1.0, 1e4)])
def test_any_units(units):
    params, data = grid()
    loss = planted(params, data, noise=0.003)
    law = fit_chinchilla(params, data, loss)
    other = fit_chinchilla(params * units[0], data * units[1], loss * units[2])
    for name in ("alpha", "beta"):
        assert other.coefficients[name] == pytest.approx(law.coefficients[name], rel=1e-6)
    assert other.coefficients["E"] == pytest.approx(law.coefficients["E"] * units[2], rel=1e-6)
    assert other.objective == pytest.approx(law.objective, rel=1e-6)


def test_one_planted_outlier_moves_least_squares_and_not_huber():
    params, data = grid()
    loss = planted(params, data, noise=0.001)
    clean = fit_chinchilla(params, data, loss, delta=1e-3).coefficients["alpha"]
    loss[3] *= 1.2
    robust, squares = (fit_chinchilla(params, data, loss, delta=delta) for delta in (1e-3, np.inf))
    assert abs(robust.coefficients["alpha"] / clean - 1) < 0.05
    assert abs(squares.coefficients["alpha"] / clean - 1) > 0.15
    assert [note.rows for note in robust.notes if note.code == "outliers"] == [(3,)]


@pytest.mark.parametrize("law", [fit_chinchilla, fit_tied])
def test_one_ray_is_refused_and_near_one_is_noted(law):
    params = np.geomspace(1e7, 1e10, 12)
    data = 20 * params
    with pytest.raises(CannotFit) as caught:
        law(params, data, planted(params, data))
    assert caught.value.code == "one_ray"
    assert caught.value.number < 0.05
    wiggled = data * np.where(np.arange(12) % 2, 1.35, 1 / 1.35)
    notes = law(params, wiggled, planted(params, wiggled, alpha=0.3, beta=0.3, noise=1e-4)).notes
    assert "one_ray" in [note.code for note in notes]
    free = grid()
    assert "one_ray" not in [n.code for n in law(*free, planted(*free, alpha=0.3, beta=0.3, noise=1e-4)).notes]


def test_vars_own_recipe_is_near_one_ray():
    """Epochs tied to depth, 200 to 350: the paper's runs hardly separate size from data."""
    depths = np.arange(6, 31, 2)
    params, data = 73728.0 * depths**3, 1.28e6 * np.interp(depths, [6, 30], [200, 350])
    with pytest.raises(CannotFit) as caught:
        fit_chinchilla(params, data, planted(params, data))
    assert caught.value.code == "one_ray"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda p, d, y: (p[:5], d[:5], y[:5]), "too_few_sizes"),
        (lambda p, d, y: (np.where(p > 1e8, 2e9, 2e7), d, y), "too_few_sizes"),
        (lambda p, d, y: (p, d, np.where(np.arange(len(y)) == 4, -1.0, y)), "not_positive"),
        (lambda p, d, y: (p, np.where(np.arange(len(y)) == 4, np.nan, d), y), "not_finite"),
        (lambda p, d, y: (p, d, 10 - y), "loss_rises"),
        (lambda p, d, y: (p, d, 2 + 50 / p**0.2 + 1e-9 * d**0.4), "loss_rises"),
    ],
)
def test_refusals(change, code):
    params, data = grid()
    with pytest.raises(CannotFit) as caught:
        fit_chinchilla(*change(params, data, planted(params, data)))
    assert caught.value.code == code


def test_a_loss_that_ignores_the_data_is_refused():
    params, data = grid()
    rng = np.random.default_rng(1)
    loss = (1.7 + 400 / params**0.34) * np.exp(1e-3 * rng.normal(size=len(params)))
    with pytest.raises(CannotFit) as caught:
        fit_chinchilla(params, data, loss)
    assert caught.value.code in ("at_bound", "loss_rises", "not_converged")


def test_no_floor_is_a_note_with_E_zero():
    params, data = grid()
    law = fit_chinchilla(params, data, planted(params, data, E=0.0, noise=0.02, seed=5), delta=np.inf)
    if law.coefficients["E"] == 0:
        assert "at_bound" in [note.code for note in law.notes]
        low, high = law.interval("E")
        assert low == 0
        assert 0 < high < 1.5  # a floor on its bound has no lower limit, and an upper one
    else:
        assert law.interval("E")[0] < 0.5


def test_lengths_and_delta_are_checked():
    with pytest.raises(ValueError, match="length"):
        fit_chinchilla([1, 2], [1, 2, 3], [1, 2])
    params, data = grid()
    with pytest.raises(ValueError, match="delta"):
        fit_chinchilla(params, data, planted(params, data), delta=-1)


def test_the_wild_unit_is_depth_when_depths_are_few_and_the_run_when_many():
    params, data = grid(seeds=2)
    runs = [f"{p}-{i % 2}" for i, p in enumerate(params)]
    few = fit_chinchilla(params, data, planted(params, data, noise=0.01), runs=runs, delta=np.inf)
    assert few.clusters[0] == "size"
    many = np.geomspace(1e7, 1e10, 120)
    big = grid(many, IMAGES)
    assert fit_chinchilla(*big, planted(*big, noise=0.01), delta=np.inf).clusters[0] == "run"
    assert fit_chinchilla(params, data, planted(params, data, noise=0.01), runs=runs).clusters[0] == "run"  # robust


def test_the_tied_form_is_chinchillas_with_equal_exponents():
    params, data = grid()
    law = fit_tied(params, data, planted(params, data, alpha=0.3, beta=0.3))
    assert law.coefficients["eta"] == pytest.approx(0.15, rel=1e-7)
    derived = law.as_dict(intervals=False)["derived"]
    assert derived["A"] == pytest.approx(400, rel=1e-5)
    assert derived["B"] == pytest.approx(410, rel=1e-5)
    compute, multiplier = 6 * params * data, data / params
    a, b, eta, floor = (law.coefficients[name] for name in ("a", "b", "eta", "E"))
    by_hand = floor + (a * multiplier**eta + b * multiplier**-eta) * compute**-eta
    np.testing.assert_allclose(law.predict(params, data), by_hand, rtol=1e-12)


def repeated(noise=0.0, R=15.0, seed=0):
    rng = np.random.default_rng(seed)
    mesh = np.array([(n, u, e) for n in (1e6, 1e7, 1e8) for u in (1e5, 4e5, 1.6e6) for e in (1, 4, 16, 64.0)])
    params, unique, epochs = mesh.T
    worth = unique * (1 + R * (1 - np.exp(-(epochs - 1) / R)))
    loss = (2 + 60 / params**0.35 + 90 / worth**0.4) * np.exp(noise * rng.normal(size=len(mesh)))
    return params, unique, epochs, loss


def test_the_reuse_constant_is_found():
    law = fit_repeated(*repeated())
    for name, value in {"R": 15, "E": 2, "alpha": 0.35, "beta": 0.4, "A": 60, "B": 90}.items():
        assert law.coefficients[name] == pytest.approx(value, rel=1e-5)
    noisy = fit_repeated(*repeated(noise=0.002), delta=np.inf)
    low, high = noisy.interval("R")
    assert low < noisy.coefficients["R"] < high
    assert high / low < 3
    assert noisy.predict(1e7, 4e5, 4.0).shape == (1,)


def test_data_that_never_wear_out_are_noted():
    params, unique, epochs, _ = repeated()
    fresh = 2 + 60 / params**0.35 + 90 / (unique * epochs) ** 0.4
    law = fit_repeated(params, unique, epochs, fresh)
    assert law.coefficients["R"] > 300
    assert "at_bound" in [note.code for note in law.notes]


def test_repeated_data_need_repeats():
    params, unique, epochs, loss = repeated()
    with pytest.raises(CannotFit) as caught:
        fit_repeated(params, unique, np.ones_like(epochs), loss)
    assert caught.value.code == "too_few_sizes"


def test_the_exact_gradient_and_hessian():
    """Against finite differences, for every kind of terms."""
    from analysis.engine import newton
    from analysis.engine.terms import PowerTerms, RepeatedTerms

    rng = np.random.default_rng(0)
    logs = rng.normal(size=(2, 30))
    cases = [
        (PowerTerms(logs, True), rng.normal(size=5) * 0.3),
        (PowerTerms(logs[:1], False), rng.normal(size=2)),
        (RepeatedTerms(logs[0], logs[1], rng.uniform(0, 30, 30)), np.array([0.1, 0.2, 0.3, -0.1, 0.4, 1.5])),
        (RepeatedTerms(logs[0], logs[1], rng.uniform(0, 30, 30), False), np.array([0.2, 0.3, -0.1, 0.4, 1.5])),
    ]
    y, weights = rng.normal(size=30), rng.uniform(0.5, 2, 30)
    for terms, theta in cases:
        for delta in (0.7, np.inf):
            _, gradient, hessian = newton.derivatives(terms, theta[None], y, weights, delta)
            step = 1e-6

            def at(moved, terms=terms, delta=delta):
                value, slope, _ = newton.derivatives(terms, moved[None], y, weights, delta)
                return value[0], slope[0]

            for j in range(len(theta)):
                unit = np.eye(len(theta))[j] * step
                up, down = at(theta + unit), at(theta - unit)
                assert gradient[0, j] == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-5, abs=1e-7)
                np.testing.assert_allclose(hessian[0, j], (up[1] - down[1]) / (2 * step), rtol=1e-4, atol=1e-5)
