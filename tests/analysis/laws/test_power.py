"""y = E + (beta x)^alpha: exact answers, invariances, refusals, honest intervals."""

import numpy as np
import pytest

import analysis
from analysis import CannotFit, fit_power_law

SIZES = np.array([6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 30.0]) ** 3 * 73728


def planted(sizes=SIZES, offset=4.5, alpha=-0.23, beta=2e-9, noise=0.0, seeds=1, seed=0):
    rng = np.random.default_rng(seed)
    x = np.repeat(sizes, seeds)
    return x, (offset + (beta * x) ** alpha) * np.exp(noise * rng.normal(size=len(x)))


@pytest.mark.parametrize(("truth", "offset"), [(0.0, "none"), (4.5, 4.5), (4.5, "fit")])
def test_a_law_without_noise_is_found_to_many_digits(truth, offset):
    x, y = planted(offset=truth)
    law = fit_power_law(x, y, offset)
    assert law.coefficients["alpha"] == pytest.approx(-0.23, rel=1e-8)
    assert law.coefficients["beta"] == pytest.approx(2e-9, rel=1e-7)
    assert law.coefficients["E"] == pytest.approx(truth, rel=1e-8)
    assert law.predict(1e9)[0] == pytest.approx(truth + 2**-0.23, rel=1e-9)
    assert law.rows_used == 12


def test_what_an_assumed_offset_does_to_the_exponent():
    """laws.md, finding 4: r accepts every treatment, the exponents differ fivefold."""
    x, y = planted(noise=0.0)
    exponents = {offset: fit_power_law(x, y, offset) for offset in (4.5, 4.23, "none", "fit")}
    assert exponents[4.5].coefficients["alpha"] == pytest.approx(-0.23, abs=1e-6)
    assert exponents[4.23].coefficients["alpha"] == pytest.approx(-0.188, abs=2e-3)
    assert exponents["none"].coefficients["alpha"] == pytest.approx(-0.050, abs=1e-3)
    assert all(law.correlation < -0.99 for law in exponents.values())


@pytest.mark.parametrize("offset", ["none", "fit"])
def test_units_order_and_duplicates_change_nothing(offset):
    x, y = planted(noise=0.003, seeds=2)
    law = fit_power_law(x, y, offset)
    scaled = fit_power_law(x / 1e9, 1000 * y, offset)
    assert scaled.coefficients["alpha"] == pytest.approx(law.coefficients["alpha"], rel=1e-7)
    assert scaled.coefficients["E"] == pytest.approx(1000 * law.coefficients["E"], rel=1e-7)
    order = np.random.default_rng(3).permutation(len(x))
    assert fit_power_law(x[order], y[order], offset).coefficients["alpha"] == pytest.approx(
        law.coefficients["alpha"], rel=1e-7
    )
    weights = np.where(np.arange(len(x)) < 5, 2.0, 1.0)
    doubled = fit_power_law(np.concatenate([x, x[:5]]), np.concatenate([y, y[:5]]), offset)
    weighted = fit_power_law(x, y, offset, weights=weights)
    assert weighted.coefficients["alpha"] != pytest.approx(law.coefficients["alpha"], rel=1e-6)
    assert weighted.coefficients["alpha"] == pytest.approx(doubled.coefficients["alpha"], rel=1e-7)
    assert weighted.objective == pytest.approx(doubled.objective, rel=1e-9)


def test_the_minimum_is_certified_and_nothing_near_it_is_better():
    x, y = planted(noise=0.004, seeds=3)
    law = fit_power_law(x, y, "fit")
    assert law.certificate.starts_agreeing >= 4
    assert law.certificate.gradient_norm < 1e-9
    assert law.certificate.smallest_eigenvalue > 0
    e, alpha, beta = (law.coefficients[name] for name in ("E", "alpha", "beta"))

    def cost(e, alpha, beta):
        return 0.5 * np.sum((np.log(y) - np.log(e + (beta * x) ** alpha)) ** 2)

    assert cost(e, alpha, beta) == pytest.approx(law.objective, rel=1e-9)
    for factor in (0.999, 1.001):
        assert cost(e * factor, alpha, beta) > law.objective
        assert cost(e, alpha * factor, beta) > law.objective
        assert cost(e, alpha, beta * factor) > law.objective


@pytest.mark.parametrize(
    ("x", "y", "offset", "code", "number"),
    [
        ([1, 2, 3.0], [3, 2, 0.0], "none", "not_positive", 0.0),
        ([1, 2, -3.0], [3, 2, 1.0], "none", "not_positive", -3.0),
        ([1, 2, 3.0], [3, np.nan, 1], "none", "not_finite", 1),
        ([1, 2, 3.0], [3, np.inf, 1], "none", "not_finite", 1),
        ([], [], "none", "too_few_sizes", 0),
        ([5, 5, 5.0], [3, 2, 1], "none", "too_few_sizes", 1),
        ([1, 2, 2.0], [3, 2, 1.9], "none", "too_few_sizes", 2),
        ([1, 2, 4.0], [3, 2, 1.9], "fit", "too_few_sizes", 3),
        ([1, 2, 4, 8.0], [3, 2, 1.5, 1.2], 1.2, "offset_too_high", 1.2),
        ([1, 2, 4, 8.0], [1, 2, 3, 4.0], "none", "loss_rises", 1.0),
        ([1, 2, 4, 8.0], [2, 2, 2, 2.0], "none", "loss_rises", 0.0),
    ],
)
def test_refusals_have_a_code_a_number_and_a_sentence(x, y, offset, code, number):
    with pytest.raises(CannotFit) as caught:
        fit_power_law(x, y, offset)
    assert caught.value.code == code
    if code != "loss_rises" or number == 0:
        assert caught.value.number == pytest.approx(number)
    assert len(caught.value.sentence) > 20
    assert isinstance(caught.value, ValueError)


def test_rows_to_blame_are_named():
    with pytest.raises(CannotFit) as caught:
        fit_power_law([1, 2, 3, 4], [1, 0.5, -1, np.pi])
    assert caught.value.rows == (2,)
    with pytest.raises(ValueError, match="length"):
        fit_power_law([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="offset"):
        fit_power_law([1, 2, 3], [3, 2, 1], "assumed")


@pytest.mark.parametrize(("sizes", "offset"), [(3, "none"), (4, "fit")])
def test_one_degree_of_freedom_is_a_note(sizes, offset):
    x, y = planted(SIZES[:sizes], noise=0.001)
    assert [(note.code, note.number) for note in fit_power_law(x, y, offset).notes][:1] == [("too_few_sizes", sizes)]
    x, y = planted(SIZES[: sizes + 1], noise=0.001)
    assert "too_few_sizes" not in [note.code for note in fit_power_law(x, y, offset).notes]


def test_an_offset_that_is_not_there_is_reported_not_invented():
    x, y = planted(offset=0.0, noise=0.01, seed=4)
    codes = {note.code for note in fit_power_law(x, y, "fit").notes}
    assert codes & {"at_bound", "flat_profile"}


def test_planted_outliers_are_named_and_only_those():
    x, y = planted(noise=0.003, seeds=3)
    assert "outliers" not in [note.code for note in fit_power_law(x, y, "fit").notes]
    y[[7, 20]] *= [1.08, 0.93]
    notes = [note for note in fit_power_law(x, y, "fit").notes if note.code == "outliers"]
    assert notes[0].rows == (7, 20)


def test_the_interval_is_reproducible_contains_the_estimate_and_shrinks_with_seeds():
    laws = [fit_power_law(*planted(noise=0.004, seeds=seeds, seed=7), "fit") for seeds in (1, 8)]
    for law in laws:
        low, high = law.interval("alpha")
        assert low < law.coefficients["alpha"] < high < 0
        assert law.interval("alpha") == law.interval("alpha")
        narrow = law.interval("alpha", level=0.5)
        assert low < narrow[0] < narrow[1] < high
    widths = [np.ptp(law.interval("alpha")) for law in laws]
    assert widths[1] < 0.8 * widths[0]
    with pytest.raises(KeyError, match="alpha"):
        laws[0].interval("gamma")


def test_rows_of_one_run_count_once():
    """Twenty copies of one run are one run: with runs named the interval does not shrink."""
    x, y = planted(noise=0.004, seeds=1, seed=2)
    many = np.tile(x, 20), np.tile(y, 20)
    single = fit_power_law(x, y, "none")
    grouped = fit_power_law(*many, "none", runs=np.tile(np.arange(12), 20))
    assert np.ptp(grouped.interval("alpha")) == pytest.approx(np.ptp(single.interval("alpha")), rel=0.15)


def test_profile_and_bootstrap_agree_on_where_the_offset_is():
    law = fit_power_law(*planted(noise=0.002, seeds=3, seed=5), "fit")
    low, high = law.profile_interval()
    assert low < law.coefficients["E"] < high
    profile = law.profile()
    assert profile["objective"].min() >= law.objective * (1 - 1e-9)
    inside = profile.loc[profile["inside"], "E"]
    assert low - 1e-6 <= inside.min()
    assert inside.max() <= high + 1e-6
    assert 0.4 < np.ptp(law.interval("E")) / (high - low) < 2.5


def test_predictions_come_with_intervals_and_extrapolation_is_noted():
    law = fit_power_law(*planted(noise=0.003, seeds=2), "fit")
    inside, beyond = law.mean_interval(1e9), law.mean_interval(1e12)
    assert np.ptp(beyond) > np.ptp(inside)
    run = law.prediction_interval(1e9)
    assert run[0] < inside[0] < law.predict(1e9) < inside[1] < run[1]
    assert law.extrapolation(1e9) == 1
    assert law.extrapolation_notes(1e9) == ()
    note = law.extrapolation_notes(SIZES[-1] * 10)[0]
    assert note.code == "extrapolation"
    assert note.number == pytest.approx(10)


def test_seed_noise_is_told_from_lack_of_fit():
    rng = np.random.default_rng(0)
    x = np.repeat(SIZES, 6)
    shape = np.repeat(0.01 * rng.normal(size=12), 6)
    law = fit_power_law(x, (2e-9 * x) ** -0.23 * np.exp(shape + 0.002 * rng.normal(size=len(x))))
    assert law.noise["seed_sd"] == pytest.approx(0.002, rel=0.25)
    assert law.noise["lack_of_fit_sd"] == pytest.approx(0.01, rel=0.5)
    alone = fit_power_law(SIZES, (2e-9 * SIZES) ** -0.23 * np.exp(0.01 * rng.normal(size=12)))
    assert alone.noise["seed_sd"] is None


def test_a_law_is_frozen():
    law = fit_power_law(*planted())
    with pytest.raises(TypeError):
        law.coefficients["alpha"] = 1
    with pytest.raises(AttributeError):
        law.objective = 0


@pytest.mark.parametrize("scale", [1e-12, 1, 1e12])
@pytest.mark.parametrize("size", [1e-9, 1e15])
def test_any_scale_of_either_axis(scale, size):
    x, y = planted(noise=0.002, seeds=2)
    law = fit_power_law(x, y, "fit")
    other = fit_power_law(x * size, y * scale, "fit")
    assert other.coefficients["alpha"] == pytest.approx(law.coefficients["alpha"], rel=1e-6)
    assert other.coefficients["E"] == pytest.approx(law.coefficients["E"] * scale, rel=1e-6)


def test_import_is_light():
    import subprocess
    import sys

    code = "import sys, analysis; assert not {'torch', 'matplotlib', 'var_scaling', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert analysis.fit_power_law is fit_power_law


def test_the_noise_of_all_sizes_says_what_one_residual_cannot():
    """A noisy end whose own residual happens to be small keeps its doubt: the interval hardly depends on that luck."""
    x = 10 ** np.linspace(6, 9, 8)
    noise = np.array([0.02, -0.018, 0.012, -0.011, 0.007, -0.006, 0.004, -0.003])
    lucky = np.array([0.0, *noise[1:]])
    widths = []
    for luck in (noise, lucky):
        law = fit_power_law(x, (1e-3 * x) ** -0.2 * np.exp(luck))
        widths.append(np.ptp(law.interval("alpha")))
    assert widths[1] > 0.65 * widths[0]
    assert "modelled" in law.draws().unit
