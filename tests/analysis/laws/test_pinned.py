"""Given coefficients: the rest is the exact minimum beside them, in every form, and every interval says so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import analysis
from analysis.engine.subspace import subspace
from analysis.errors import BadRequest, CannotFit
from analysis.laws import plane

RNG = np.random.default_rng(0)
N, D = np.repeat(10 ** np.linspace(7, 9, 6), 4), np.tile(10 ** np.linspace(8.5, 10.5, 4), 6)
NOISE = np.exp(0.003 * RNG.normal(size=24))
LOSS = (1.69 + 406.4 / N**0.34 + 410.7 / D**0.28) * NOISE
EPOCHS = np.tile([1.0, 2.0, 6.0, 20.0], 6)
WORTH = D * (1 + 8 * -np.expm1(-(EPOCHS - 1) / 8))
REPEATED = (1.69 + 406.4 / N**0.34 + 410.7 / WORTH**0.28) * NOISE
X = 10 ** np.linspace(6, 9, 9)
POWER = (0.8 + (X / 1e4) ** -0.3) * np.exp(0.004 * RNG.normal(size=9))
ERROR = 0.2 + 0.7 / (1 + (X / 1e7) ** 0.5) * np.exp(0.004 * RNG.normal(size=9))
FID = 3 + np.exp(-6 + 1.5 * LOSS) * NOISE


def chinchilla(c):
    return c["E"] + c["A"] / N ** c["alpha"] + c["B"] / D ** c["beta"]


def coupled(c):
    size = N / np.exp(np.log(N).mean())
    data = D / np.exp(np.log(D).mean())
    return c["E"] + c["A"] / N ** c["alpha"] + c["B"] * size ** c["p"] / data ** (c["beta"] * size ** c["q"])


def repeated(c):
    worth = D * (1 + c["R"] * -np.expm1(-(EPOCHS - 1) / c["R"]))
    return c["E"] + c["A"] / N ** c["alpha"] + c["B"] / worth ** c["beta"]


def overfit(c):
    return repeated(c) + c["F"] * (N / D) ** c["kappa"] * EPOCHS ** c["lambda"]


def tied(c):
    ratio, compute = D / N, 6 * N * D
    return c["E"] + (c["a"] * ratio ** c["eta"] + c["b"] * ratio ** -c["eta"]) * compute ** -c["eta"]


FORMS = {
    "chinchilla": (lambda **k: analysis.fit_chinchilla(N, D, LOSS, np.inf, **k), chinchilla, LOSS, True),
    "coupled": (lambda **k: analysis.fit_coupled(N, D, LOSS, **k), coupled, LOSS, True),
    "repeated": (
        lambda **k: analysis.fit_repeated(N, D, EPOCHS, REPEATED, delta=np.inf, **k),
        repeated,
        REPEATED,
        True,
    ),
    "tied": (lambda **k: analysis.fit_tied(N, D, LOSS, **k), tied, LOSS, False),
    "power": (
        lambda **k: analysis.fit_power_law(X, POWER, "fit", **k),
        lambda c: c["E"] + (c["beta"] * X) ** c["alpha"],
        POWER,
        True,
    ),
    "saturating": (
        lambda **k: analysis.fit_saturating(X, ERROR, **k),
        lambda c: c["floor"] + (1 - c["floor"]) / (1 + (c["beta"] * X) ** -c["alpha"]),
        ERROR,
        True,
    ),
    "given loss": (
        lambda **k: analysis.fit_fid_given_loss(LOSS, FID, **k),
        lambda c: c["floor"] + c["scale"] * np.exp(c["rate"] * LOSS),
        FID,
        True,
    ),
}
CASES = [
    ("chinchilla", {"alpha": 0.34}),
    ("chinchilla", {"E": 1.69}),
    ("chinchilla", {"A": 406.4, "beta": 0.28}),
    ("chinchilla", {"E": 0}),
    ("coupled", {"alpha": 0.34, "q": 0.0}),
    ("coupled", {"E": 1.69, "p": 0.0}),
    ("repeated", {"R": 8.0}),
    ("repeated", {"E": 1.69, "alpha": 0.34}),
    ("tied", {"eta": 0.16}),
    ("tied", {"E": 1.69}),
    ("tied", {"b": 400.0}),
    ("power", {"alpha": 0.3}),
    ("power", {"E": 0.8}),
    ("power", {"E": 0.8, "alpha": -0.3}),
    ("power", {"beta": 1e-4}),
    ("saturating", {"alpha": 0.5}),
    ("saturating", {"floor": 0.2}),
    ("saturating", {"beta": 1e-7}),
    ("given loss", {"rate": 1.5}),
    ("given loss", {"floor": 3.0, "scale": np.exp(-6)}),
]


@pytest.mark.parametrize(("form", "fix"), CASES)
def test_what_is_left_is_the_exact_minimum(form, fix):
    fit, predict, y, logged = FORMS[form]
    law = fit(fix=fix)
    found = dict(law.coefficients)
    for name, value in fix.items():
        assert abs(found[name]) == abs(value)
        assert law.interval(name) == (found[name], found[name])
    free = [name for name in found if name not in fix]

    def cost(theta):
        at = found | {
            name: found[name] * np.exp(step) if found[name] else step for name, step in zip(free, theta, strict=True)
        }
        with np.errstate(all="ignore"):
            away = np.log(y) - np.log(predict(at)) if logged else y - predict(at)
        value = 0.5 * float(np.square(away).sum())
        return value if np.isfinite(value) else 1e9

    assert cost(np.zeros(len(free))) == pytest.approx(law.objective, rel=1e-6)
    better = minimize(cost, np.zeros(len(free)), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15})
    again = minimize(cost, np.full(len(free), 0.02), method="BFGS")
    assert min(better.fun, again.fun) >= law.objective * (1 - 1e-6)
    assert "pinned" in [note.code for note in law.notes]
    for name in free:
        low, high = law.interval(name)
        assert low <= found[name] <= high
    if free and "E" in free and found["E"] > 0:
        assert law.interval("E")[0] < law.interval("E")[1]
    assert len(law.estimator.theta) == len(free)


def test_intervals_are_conditional_and_narrower():
    free, pinned = (analysis.fit_chinchilla(N, D, LOSS, np.inf, fix=fix) for fix in (None, {"alpha": 0.34}))
    width = [np.ptp(law.interval("E")) for law in (free, pinned)]
    assert width[1] < 0.7 * width[0]
    assert "alpha = 0.34 is given" in next(note.sentence for note in pinned.notes if note.code == "pinned")


def test_two_sizes_do_where_an_exponent_is_given():
    rows = np.isin(N, np.unique(N)[[0, 5]])
    with pytest.raises(CannotFit):
        analysis.fit_chinchilla(N[rows], D[rows], LOSS[rows], np.inf)
    law = analysis.fit_chinchilla(N[rows], D[rows], LOSS[rows], np.inf, fix={"alpha": 0.34})
    assert law.coefficients["beta"] == pytest.approx(0.28, abs=0.05)


def test_rows_that_tell_nothing_of_what_is_left_are_refused():
    rows = N == np.unique(N)[0]
    with pytest.raises(CannotFit) as refusal:
        analysis.fit_chinchilla(
            np.tile(N[rows], 3), np.tile(D[rows], 3), np.tile(LOSS[rows], 3), np.inf, fix={"beta": 0.28}
        )
    assert refusal.value.code == "too_few_sizes"


def test_the_law_that_can_rise_takes_them_too(monkeypatch):
    monkeypatch.setattr(plane, "STARTS", 2)  # seconds
    loss = REPEATED + 1e-5 * (N / D) * EPOCHS**2.0
    law = analysis.fit_overfit(N, D, EPOCHS, loss, fix={"kappa": 1.0, "lambda": 2.0, "R": 8.0, "E": 1.69})
    assert law.coefficients["kappa"] == 1.0 and law.interval("lambda") == (2.0, 2.0)
    assert law.predict(N, D, EPOCHS) == pytest.approx(loss, rel=0.02)


@pytest.mark.parametrize(
    ("fix", "words"),
    [
        ({"gamma": 1.0}, "has no coefficient 'gamma'"),
        ({"A": -3.0}, "above zero"),
        ({"E": float("nan")}, "finite"),
        ({"E": 1.0, "A": 1, "B": 1, "alpha": 0.3, "beta": 0.3}, "nothing is left"),
    ],
)
def test_requests_that_no_rows_could_meet(fix, words):
    with pytest.raises(BadRequest, match=words):
        analysis.fit_chinchilla(N, D, LOSS, fix=fix)


def test_a_floor_above_a_row_is_refused_with_the_row():
    with pytest.raises(CannotFit) as refusal:
        analysis.fit_chinchilla(N, D, LOSS, fix={"E": 3.0})
    assert refusal.value.code == "offset_too_high" and refusal.value.rows


def test_directions_join_only_what_an_equation_joins():
    space = subspace([((0, 1.0, 2.0, 0, 0), 3.0), ((0, 0, 0, 0, 1.0), 0.5)], 5)
    assert space.basis.shape == (5, 3)
    assert (space.basis[[0, 3]] != 0).sum() == 2 and space.base[4] == 0.5
    phi = np.array([[1.0, 2.0, 3.0]])
    theta = space.whole(phi)[0]
    assert theta[1] + 2 * theta[2] == pytest.approx(3.0)
    assert space.nearest(theta[None]) == pytest.approx(phi)
    with pytest.raises(BadRequest, match="contradict"):
        subspace([((1.0, 0), 3.0), ((1.0, 0), 4.0)], 2)
