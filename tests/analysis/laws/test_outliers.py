"""A diverged run is named wherever it lies, and nothing else is."""

import numpy as np
import pytest

from analysis import fit_power_law


def ladder(sizes, seed, noise=0.003):
    x = np.logspace(6, 9, sizes)
    return x, (2 + 8 * (x / 1e6) ** -0.3) * np.exp(noise * np.random.default_rng(seed).normal(size=sizes))


def named(x, y):
    return [row for note in fit_power_law(x, y, "fit").notes if note.code == "outliers" for row in note.rows]


@pytest.mark.parametrize("sizes", [6, 8, 12])
@pytest.mark.parametrize("place", [0, 3, -1])
@pytest.mark.parametrize("factor", [3.0, 0.5])
def test_one_diverged_run_of_a_ladder_is_named(sizes, place, factor):
    """Three parameters bend to an end of a ladder and leave no residual there: none of 100 was named."""
    for seed in range(5):
        x, y = ladder(sizes, seed)
        y[place] *= factor
        assert range(sizes)[place] in named(x, y)


def test_a_step_of_a_frontier_is_no_diverged_run():
    x, y = ladder(8, 1)
    y[1] *= 1.1
    assert named(x, y) == [1]
    budgets_of_a_run = fit_power_law(x, y, "fit", [0, 0, 1, 1, 2, 2, 3, 3])
    assert "outliers" not in [note.code for note in budgets_of_a_run.notes]


@pytest.mark.parametrize(("sizes", "noise"), [(5, 0.003), (6, 0.03), (12, 0.003), (12, 0.03)])
def test_honest_ladders_have_no_outlier(sizes, noise):
    assert sum(bool(named(*ladder(sizes, seed, noise))) for seed in range(100)) <= 3


def test_a_floor_at_zero_says_which_way_the_rows_bend():
    x = np.geomspace(1e5, 1e9, 14)
    down = fit_power_law(x, 3 * (x / 1e5) ** -0.05 / (1 + (x / 1e7) ** 0.4), "fit")
    straight = fit_power_law(x, 3 * (x / 1e5) ** -0.1 * np.exp(0.01 * np.random.default_rng(1).normal(size=14)), "fit")
    assert down.coefficients["E"] == straight.coefficients["E"] == 0
    (said,) = [note.sentence for note in down.notes if note.code == "at_bound"]
    assert "the rows bend down, by " in said
    (said,) = [note.sentence for note in straight.notes if note.code == "at_bound"]
    assert "no upward curvature" in said
