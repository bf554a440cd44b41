"""The law whose worth of data depends on size: exact, nested in Chinchilla's, honest where rows do not carry it."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from analysis.errors import CannotFit
from analysis.laws.coupled import fit_coupled
from analysis.laws.parametric import fit_chinchilla
from tests.support.laws import run

SIZE, DATA = (part.ravel() for part in np.meshgrid(np.geomspace(1e7, 1e9, 7), np.geomspace(1e9, 1e11, 6)))
FAR = 4e9, 3e11


def planted(size, data, floor=1.5, p=0.15, q=-0.1):
    """Written out with its own middles, independent of the package."""
    s, d = np.log(size / 1e8), np.log(data / 1e10)
    return floor + 0.8 * np.exp(-0.3 * s) + 0.6 * np.exp(p * s - 0.35 * np.exp(q * s) * d)


def chinchilla(size, data):
    return 1.7 + 400 * size**-0.34 + 400 * data**-0.28


def noisy(loss, sd, seed=0):
    return loss * np.exp(sd * np.random.default_rng(seed).normal(size=len(loss)))


def test_planted_coefficients_come_back_to_the_digit():
    law = fit_coupled(SIZE, DATA, planted(SIZE, DATA))
    middle = np.exp(np.log(SIZE).mean()), np.exp(np.log(DATA).mean())
    s, d = np.log(middle[0] / 1e8), np.log(middle[1] / 1e10)
    found = law.coefficients
    assert found["E"] == pytest.approx(1.5, rel=1e-6)
    assert found["alpha"] == pytest.approx(0.3, rel=1e-6)
    assert found["q"] == pytest.approx(-0.1, rel=1e-5)
    assert found["beta"] == pytest.approx(0.35 * np.exp(-0.1 * s), rel=1e-6)
    assert found["B"] == pytest.approx(0.6 * np.exp(0.15 * s - 0.35 * np.exp(-0.1 * s) * d), rel=1e-6)
    assert found["A"] == pytest.approx(0.8 * 1e8**0.3, rel=1e-5)
    assert law.predict(*FAR)[0] == pytest.approx(planted(*map(np.array, FAR)), rel=1e-8)
    assert not law.draws().failed


@pytest.mark.parametrize("seed", [0, 1])
def test_the_optimum_is_that_of_an_independent_search(seed):
    loss = noisy(planted(SIZE, DATA), 0.01, seed)
    n, d = np.log(SIZE) - np.log(SIZE).mean(), np.log(DATA) - np.log(DATA).mean()

    def residual(t):
        model = np.exp(t[0]) + np.exp(t[1] - t[2] * n) + np.exp(t[3] + t[5] * n - t[4] * np.exp(t[6] * n) * d)
        return np.log(loss) - np.log(model)

    rng = np.random.default_rng(seed)
    best = min(
        least_squares(residual, [np.log(1.2), -1, rng.uniform(0.1, 0.5), -1, rng.uniform(0.1, 0.5), 0, 0]).cost
        for _ in range(4)
    )
    law = fit_coupled(SIZE, DATA, loss)
    assert law.objective <= best * (1 + 1e-9)
    assert law.certificate.excess < 1e-6
    assert law.certificate.smallest_eigenvalue > 0


def test_rows_of_chinchillas_law_say_that_they_need_no_coupling():
    loss = noisy(chinchilla(SIZE, DATA), 0.003)
    law, plain = fit_coupled(SIZE, DATA, loss), fit_chinchilla(SIZE, DATA, loss, delta=np.inf)
    for name in ("p", "q"):
        low, high = law.interval(name)
        assert low <= 0 <= high
    # nested: never worse on its own rows, and hardly better where nothing is coupled
    assert 0.7 * plain.objective < law.objective <= plain.objective * (1 + 1e-9)


def test_coupled_rows_say_that_they_do_and_are_predicted_far_out():
    loss = noisy(planted(SIZE, DATA), 0.003)
    law, plain = fit_coupled(SIZE, DATA, loss), fit_chinchilla(SIZE, DATA, loss, delta=np.inf)
    low, high = law.interval("q")
    assert low <= -0.1 <= high < 0
    truth = planted(*map(np.array, FAR))
    low, high = law.prediction_interval(*FAR)
    assert low[0] <= truth <= high[0]
    assert abs(law.predict(*FAR)[0] / truth - 1) < 0.3 * abs(plain.predict(*FAR)[0] / truth - 1)
    assert plain.objective > 3 * law.objective


def test_other_units_are_the_same_law():
    loss = noisy(planted(SIZE, DATA), 0.01)
    one, other = fit_coupled(SIZE, DATA, loss), fit_coupled(SIZE / 1e6, DATA * 7, loss)
    for name in ("E", "B", "alpha", "beta", "p", "q"):
        assert other.coefficients[name] == pytest.approx(one.coefficients[name], rel=1e-5)
    assert other.objective == pytest.approx(one.objective, rel=1e-9)


def test_rows_without_a_floor_have_none_and_still_an_interval():
    law = fit_coupled(SIZE, DATA, noisy(planted(SIZE, DATA, floor=0.0), 0.003))
    low, high = law.interval("E")
    assert low == 0.0
    assert high < 1.0
    assert law.draws().failed < 0.02 * law.draws().asked


def test_the_best_size_of_a_budget_is_that_of_a_grid():
    law = fit_coupled(SIZE, DATA, noisy(planted(SIZE, DATA), 0.003))
    line = law.optimum(1e20).iloc[0]
    sizes = np.geomspace(1e6, 1e10, 40001)
    losses = law.predict(sizes, 1e20 / 6 / sizes)
    assert line["params"] == pytest.approx(sizes[losses.argmin()], rel=5e-4)
    assert line["loss"] == pytest.approx(losses.min(), rel=1e-9)
    assert line["params_low"] < line["params"] < line["params_high"]
    exact = chinchilla(SIZE, DATA)
    one, other = fit_coupled(SIZE, DATA, exact), fit_chinchilla(SIZE, DATA, exact, delta=np.inf)
    assert one.optimum(1e21)["params"][0] == pytest.approx(other.optimum(1e21)["params"][0], rel=1e-4)


def test_rows_that_cannot_carry_it_are_refused():
    loss = planted(SIZE, DATA)
    three, many = np.isin(SIZE, np.unique(SIZE)[:3]), np.geomspace(1e7, 1e9, 30)
    with pytest.raises(CannotFit) as refusal:
        fit_coupled(SIZE[three], DATA[three], loss[three])
    assert refusal.value.code == "too_few_sizes"
    assert "Chinchilla" in str(refusal.value)
    with pytest.raises(CannotFit) as refusal:
        fit_coupled(many, 20 * many, planted(many, 20 * many))
    assert refusal.value.code == "one_ray"
    with pytest.raises(CannotFit):
        fit_coupled(SIZE, DATA, loss[::-1])  # rises with both
    with pytest.raises(ValueError, match="least-absolute"):
        fit_coupled(SIZE, DATA, loss, delta=0)


def test_fit_laws_offers_it_where_held_out_rows_prefer_it_and_nowhere_else(tmp_path):
    """Through the commands, and the plans that stand on their laws."""
    columns = ("--x", "params", "--data", "tokens", "--y", "loss")
    forms = {}
    for name, law in (("bent", planted), ("plain", chinchilla)):
        table = pd.DataFrame({"params": SIZE, "tokens": DATA, "loss": noisy(law(SIZE, DATA), 0.003)})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        folder = tmp_path / name
        code, _, problem = run("fit-laws", tmp_path / f"{name}.csv", *columns, "--out", folder, "--no-figures")
        assert (code, problem) == (0, "")
        laws = json.loads((folder / "laws.json").read_text())["laws"]
        forms[name] = {law["name"].rsplit(", ", 1)[1] for law in laws}
    assert "coupled" in forms["bent"]
    assert "chinchilla" in forms["plain"]
    assert "coupled" not in forms["plain"]
    where = ("--size", FAR[0], "--images", FAR[1], "--json")
    code, text, _ = run("predict", tmp_path / "bent.csv", *columns, *where)
    answer = json.loads(text)["predictions"][0]
    assert code == 0
    assert answer["law"].endswith("coupled")
    assert answer["low"] <= planted(*map(np.array, FAR)) <= answer["high"]
