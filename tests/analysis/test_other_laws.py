"""IsoFLOP minima, the frontier, saturating forms, FID given loss, sensitivity, collapse."""

import numpy as np
import pandas as pd
import pytest

from analysis import CannotFit, fit_fid_given_loss, fit_isoflop, fit_saturating, frontier
from analysis.collapse import collapse
from analysis.sensitivity import conventions, deltas, drop_each_size


def valleys(budgets=(1e18, 1e19, 1e20, 1e21), shift=0.0, bend=0.05):
    rows = []
    for flops in budgets:
        best = 0.1 * flops**0.5
        for size in best * np.exp(np.linspace(-1.5, 1.5, 9) + shift):
            rows.append((flops, size, 3 * flops**-0.02 * np.exp(bend * np.log(size / best) ** 2)))
    return np.array(rows).T


@pytest.mark.parametrize(("method", "tolerance"), [("akima", 5e-3), ("parabola", 1e-9)])
def test_planted_valleys(method, tolerance):
    fit = fit_isoflop(*valleys(), method=method, points=None)
    assert fit.optimum.exponent == pytest.approx(0.5, abs=tolerance)
    assert fit.data_optimum.exponent == pytest.approx(0.5, abs=tolerance)
    assert len(fit.minima) == 4
    assert fit.notes == ()
    low, high = fit.optimum.interval("exponent")
    assert low <= fit.optimum.exponent <= high


def test_the_exact_akima_minimum_needs_no_grid():
    exact = fit_isoflop(*valleys(), resolution=None)
    fine = fit_isoflop(*valleys(), resolution=2000)
    assert exact.optimum.exponent == pytest.approx(fine.optimum.exponent, abs=1e-5)


def test_budgets_that_differ_by_rounding_are_one_budget():
    compute, params, loss = valleys()
    rng = np.random.default_rng(0)
    jittered = fit_isoflop(compute * rng.uniform(0.99, 1.01, len(compute)), params, loss)
    assert len(jittered.minima) == 4


@pytest.mark.parametrize(
    ("rows", "method", "code"),
    [
        (valleys(shift=3.0), "akima", "edge_minimum"),
        (valleys(shift=-3.0), "parabola", "edge_minimum"),
        (valleys(bend=-0.05), "parabola", "opens_down"),
        (valleys(budgets=(1e18, 1e19)), "akima", "too_few_sizes"),
    ],
)
def test_isoflop_refusals(rows, method, code):
    with pytest.raises(CannotFit) as caught:
        fit_isoflop(*rows, method=method)
    assert caught.value.code == code


def test_one_edge_is_dropped_and_noted():
    rows = np.concatenate([valleys(), valleys(budgets=(1e22,), shift=4.0)], axis=1)
    fit = fit_isoflop(*rows)
    assert len(fit.minima) == 4
    assert [(note.code, note.number) for note in fit.notes] == [("edge_minimum", 1)]
    assert "add smaller models" in fit.dropped["sentence"].iloc[0]
    with pytest.raises(ValueError, match="akima"):
        fit_isoflop(*rows, method="spline")


def test_the_frontier_holds_what_nothing_cheaper_beats():
    table = frontier([4, 1, 2, 3, 5, 2], [2.0, 5, 4, 4.5, 2.0, 4.0], list("abcdef"))
    assert table["run"].tolist() == ["b", "c", "a"]
    assert table["loss"].is_monotonic_decreasing
    assert table["row"].tolist() == [1, 2, 0]
    with pytest.raises(CannotFit):
        frontier([], [])


def test_an_error_rate_between_ceiling_and_floor():
    x = np.geomspace(1e5, 1e9, 12)
    y = 0.3 + 0.7 / (1 + (x / 1e6) ** 0.4)
    law = fit_saturating(x, y)
    assert law.coefficients["floor"] == pytest.approx(0.3, rel=1e-6)
    assert law.coefficients["alpha"] == pytest.approx(-0.4, rel=1e-6)
    assert law.coefficients["beta"] == pytest.approx(1e-6, rel=1e-5)
    noisy = fit_saturating(x, y * np.exp(0.003 * np.random.default_rng(0).normal(size=12)))
    low, high = noisy.interval("alpha")
    assert low < noisy.coefficients["alpha"] < high < 0
    with pytest.raises(CannotFit, match="ceiling"):
        fit_saturating(x, y, ceiling=0.5)
    with pytest.raises(CannotFit) as caught:
        fit_saturating(x, y[::-1])
    assert caught.value.code == "loss_rises"


def test_fid_given_loss_within_one_family():
    loss = np.linspace(3, 4, 12)
    fid = 3.3 + np.exp(-8 + 2.3 * loss)
    law = fit_fid_given_loss(loss, fid, families=["var"] * 12)
    assert law.coefficients["floor"] == pytest.approx(3.3, rel=1e-6)
    assert law.coefficients["rate"] == pytest.approx(2.3, rel=1e-6)
    with pytest.raises(CannotFit) as caught:
        fit_fid_given_loss(loss, fid, families=["var"] * 6 + ["dit"] * 6)
    assert caught.value.code == "mixed_conventions"
    with pytest.raises(CannotFit) as caught:
        fit_fid_given_loss(loss, fid[::-1])
    assert caught.value.code == "loss_rises"


def test_sensitivity_tables_name_refusals():
    from analysis import fit_power_law

    x = np.geomspace(1, 100, 5)
    y = 1 + x**-0.5
    table = drop_each_size(lambda mask: fit_power_law(x[mask], y[mask], "fit"), x, ("alpha",))
    assert table["alpha"].tolist() == pytest.approx([-0.5] * 5, rel=1e-5)
    assert (table["refused"] == "").all()
    refused = drop_each_size(lambda mask: fit_power_law(x[mask][:3], y[mask][:3], "fit"), x, ("alpha",))
    assert (refused["refused"] == "too_few_sizes").all()
    assert refused["alpha"].isna().all()
    counted = conventions({"a": lambda: fit_power_law(x, y), "b": lambda: fit_power_law(x**2, y)}, ("alpha",))
    assert counted["alpha"].iloc[0] == pytest.approx(2 * counted["alpha"].iloc[1])
    assert len(deltas(lambda delta: fit_power_law(x, y, "fit"), ("alpha",))) == 5


def curves(badly_scaled=()):
    rng = np.random.default_rng(0)
    lines = []
    for size in (1e5, 3e5, 1e6, 3e6):
        for seed in (0, 1, 2):
            share = np.linspace(0.02, 1, 60)
            shape = 1 + 0.3 * (share**-0.4 - 1) * (1.4 if size in badly_scaled else 1.0)
            loss = size**-0.05 * shape * (1 + 0.01 * rng.normal()) + 0.002 * rng.normal(size=60)
            lines.append(pd.DataFrame({"size": size, "seed": seed, "share": share, "loss": loss}))
    return pd.concat(lines)


def test_well_scaled_curves_collapse_and_a_badly_scaled_size_is_named():
    good, bad = collapse(curves()), collapse(curves(badly_scaled=(3e6,)))
    assert good.notes == ()
    assert good.residuals["ratio"].max() < 2
    assert bad.notes[0].code == "no_collapse"
    assert bad.residuals["ratio"].idxmax() == 3
    assert not bad.notes[0].quiet


def test_a_size_between_others_is_named_and_a_steady_drift_is_said_quietly():
    middle = collapse(curves(badly_scaled=(1e6,)))
    assert not middle.notes[0].quiet
    assert "1e+06" in middle.notes[0].sentence
    drifting = curves()
    drifting["loss"] *= 1 + 0.02 * np.log(drifting["size"] / 1e5) * (1 - drifting["share"])
    steady = collapse(drifting)
    assert steady.notes[0].code == "no_collapse"
    assert steady.notes[0].number == pytest.approx(steady.residuals["ratio"].max())
    assert steady.notes[0].quiet


def test_where_seeds_cannot_tell_the_collapse_says_so():
    two_sizes = collapse(curves().query("size > 5e5"))
    assert "cannot tell: 2 sizes" in two_sizes.sentence
    assert two_sizes.curves.empty
    one_seed = collapse(curves(badly_scaled=(3e6,)).query("seed == 0"))
    assert "cannot tell: 0 repeated runs" in one_seed.sentence
    assert one_seed.notes == ()
    assert one_seed.residuals["ratio"].isna().all()
