"""IsoFLOP minima, the frontier, saturating forms, FID given loss, sensitivity, collapse."""

import numpy as np
import pandas as pd
import pytest

from analysis import CannotFit, fit_fid_given_loss, fit_isoflop, fit_power_law, fit_saturating, frontier
from analysis.rows.columns import Columns
from analysis.study.collapse import collapse
from analysis.study.diagnostics import study_isoflop
from analysis.study.sensitivity import conventions, deltas, drop_each_size
from tests.support.laws import valleys


@pytest.mark.parametrize(("method", "tolerance"), [("akima", 5e-3), ("parabola", 1e-9)])
def test_planted_valleys(method, tolerance):
    fit = fit_isoflop(*valleys(), method=method, points=None)
    assert fit.optimum.exponent == pytest.approx(0.5, abs=tolerance)
    assert fit.data_optimum.exponent == pytest.approx(0.5, abs=tolerance)
    assert len(fit.minima) == 4
    assert fit.notes == ()
    low, high = fit.optimum.interval("exponent")
    assert low <= fit.optimum.exponent <= high


def test_the_largest_budget_is_predicted_from_the_others():
    rng = np.random.default_rng(3)
    flops, params, loss = valleys()
    fit = fit_isoflop(flops, params, loss * np.exp(0.001 * rng.normal(size=len(loss))))
    test, largest = fit.held_out, fit.minima.iloc[-1]
    assert (test.inputs[0], test.measured) == pytest.approx((largest["compute"], largest["params"]))
    slope, level = np.polyfit(np.log(fit.minima["compute"][:-1]), np.log(fit.minima["params"][:-1]), 1)
    assert test.predicted == pytest.approx(np.exp(level + slope * np.log(largest["compute"])))
    assert test.low < test.predicted < test.high
    assert fit_isoflop(*valleys(budgets=(1e18, 1e19, 1e20))).held_out is None


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


def write_trunks(root, offset=2.5, torn=True):
    """Trunks of three sizes and two seeds that fall as a power of the images seen; returns the rows of that study."""
    lines = []
    for size in (1e5, 1e6, 1e7):
        for seed in (0, 1):
            name = f"{size:g}-{seed}"
            place = root / name / "attempts" / "000"
            place.mkdir(parents=True)
            images = np.arange(1, 81) * 1_000
            loss = offset + (3e-7 * images * size) ** -0.2 + (images / 5_000.0) ** -1.5
            text = [
                f'{{"phase": "trunk", "images": {at}, "train/loss": {value}}}'
                for at, value in zip(images, loss, strict=True)
            ]
            text += ['{"phase": "anneal_80000", "images": 80000, "train/loss": 0.1}', '{"phase": "trunk", "ima']
            (place / "journal.jsonl").write_text("\n".join(text[: None if torn else -1]))
            lines.append({"folder": name, "size": size, "train_flops_per_image": 6 * size})
    return pd.DataFrame(lines)


def test_the_frontier_of_trajectories_is_made_of_trunks_alone(tmp_path):
    from analysis.rows.columns import Columns
    from analysis.study.trajectories import study_trajectories

    rows = write_trunks(tmp_path)
    found = study_trajectories(rows, Columns(params="size"), tmp_path)
    assert set(found.frontier["run"]) == {1e5, 1e6, 1e7}
    assert found.frontier["x"].is_monotonic_increasing
    assert found.frontier["y"].is_monotonic_decreasing
    assert found.curves["y"].min() > 2.5  # the anneal's 0.1 belongs to a finished budget
    assert len(found.frontier) < len(found.curves)
    assert study_trajectories(rows[rows["size"] == 1e5], Columns(params="size"), tmp_path) is None
    assert study_trajectories(rows.drop(columns="folder"), Columns(params="size"), tmp_path) is None


def test_points_of_one_run_are_one_cluster():
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 1e4, 30)
    runs = np.repeat(list("abcde"), 6)
    y = (3 + x**-0.4) * np.exp(np.repeat(0.02 * rng.normal(size=5), 6))  # five runs, each with luck of its own
    together, apart = fit_power_law(x, y, "fit", runs), fit_power_law(x, y, "fit")
    assert together.unit_sentence.endswith("one cluster a run")
    assert np.ptp(together.interval("alpha")) > 1.3 * np.ptp(apart.interval("alpha"))


def test_sizes_read_off_a_figure_are_one_size():
    """A second reading of one size, 0.5 % apart with a lower loss, would throw an interpolant below every minimum."""
    compute, params, loss = valleys()
    twice = np.arange(len(compute)) % 9 == 7  # the eighth of each budget's nine sizes
    again = fit_isoflop(
        *(np.append(part, factor * part[twice]) for part, factor in ((compute, 1), (params, 1.005), (loss, 0.98)))
    )
    assert again.minima["loss"].to_numpy() == pytest.approx(fit_isoflop(compute, params, loss).minima["loss"], rel=1e-3)
    assert len(again.minima) == 4


def test_many_sizes_are_dropped_a_twelfth_at_a_time():
    """A table of 1,000 scattered sizes was refitted 1,000 times: 38 seconds for one panel."""
    x = np.geomspace(1, 1e4, 300)
    used = []
    table = drop_each_size(lambda mask: used.append(mask) or fit_power_law(x[mask], 1 + x[mask] ** -0.5), x, ("alpha",))
    assert len(table) == 12
    assert (sum(~mask for mask in used) == 1).all()  # each row is left out once
    assert (np.diff(table["size"]) > 0).all()


def test_rows_that_meet_at_equal_compute_by_chance_are_no_valleys():
    """A dense grid and scattered points with a column of compute: N* ~ C^0.40 and C^0.71 for a planted 0.51."""
    rng = np.random.default_rng(0)
    columns = Columns(params="params", data="tokens", compute="flops", targets=("loss",))
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e7, 1e10, 14), np.geomspace(1e9, 2e11, 12)))
    scattered = np.exp(rng.uniform(np.log([1e7, 1e9]), np.log([1e10, 2e11]), (1000, 2))).T
    even = np.repeat(np.geomspace(1e18, 1e21, 6), 9)
    valley = np.sqrt(even / 6) * 0.05 * np.tile(np.geomspace(0.2, 5, 9), 6)
    for (params, tokens), is_grid in (((size, data), False), (scattered, False), ((valley, even / 6 / valley), True)):
        loss = 1.8 + 400 / params**0.34 + 2000 / tokens**0.36
        table = pd.DataFrame({"params": params, "tokens": tokens, "flops": 6 * params * tokens, "loss": loss})
        assert isinstance(study_isoflop(table, columns), CannotFit) is not is_grid


def test_no_run_is_expected_above_the_ceiling():
    x = np.repeat(np.geomspace(1e2, 1e8, 8), 2)
    law = fit_saturating(x, (1 - 1 / (1 + (x / 1e5) ** -0.5)) ** 0.02 * np.exp(-0.02 * (np.arange(16) % 3)), 1.0)
    low, high = law.prediction_interval([1.0])
    assert low[0] < high[0] <= 1.0
