"""Inputs that other people have: odd indexes, exact rows, constants, shapes; and what two processes give back."""

import os
import pickle
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import CannotFit, fit_chinchilla, fit_power_law, fit_saturating, fit_tied
from analysis.engine import newton, resample, starts
from analysis.engine.parallel import in_parallel

X = np.geomspace(1e6, 1e9, 10)
Y = 4 + (1e-7 * X) ** -0.3
N = np.repeat(np.geomspace(1e7, 1e9, 5), 4)
D = np.tile(np.geomspace(1e8, 1e10, 4), 5)
LOSS = 1.7 + 400 / N**0.34 + 410 / D**0.28


def test_series_with_odd_indexes_are_read_by_position():
    x, y = pd.Series(X, index=np.arange(100, 110)[::-1]), pd.Series(Y, index=list("abcdefghij"))
    law = fit_power_law(x, y, "fit", runs=pd.Series(range(10), index=np.arange(10) * 7))
    assert law.coefficients["alpha"] == pytest.approx(-0.3, rel=1e-8)
    assert fit_power_law(list(X), tuple(Y), "fit").coefficients["E"] == pytest.approx(4, rel=1e-8)


@pytest.mark.parametrize("unit", [1e-200, 1e-12, 1e200])
def test_losses_in_any_unit(unit):
    assert fit_power_law(X, Y * unit, "fit").coefficients["E"] == pytest.approx(4 * unit, rel=1e-8)


@pytest.mark.parametrize(
    "fit",
    [
        lambda: fit_power_law(X, np.full(10, 3.0)),
        lambda: fit_power_law(X, np.full(10, 3.0), "fit"),
        lambda: fit_chinchilla(N, D, np.full(20, 3.0)),
        lambda: fit_tied(N, D, np.full(20, 3.0)),
        lambda: fit_saturating(X, np.full(10, 0.5)),
    ],
)
def test_a_constant_is_refused_by_every_form(fit):
    with pytest.raises(CannotFit) as caught:
        fit()
    assert caught.value.code == "loss_rises"


@pytest.mark.parametrize("delta", [0, 1e-3, np.inf])
def test_exact_rows_have_an_interval_of_no_width(delta):
    law = fit_chinchilla(N / 1e9, D / 1e9, LOSS, delta)
    low, high = law.interval("alpha")
    assert low == pytest.approx(0.34, abs=1e-6)
    assert high == pytest.approx(0.34, abs=1e-6)


def test_predictions_keep_the_shape_and_refuse_what_has_no_logarithm():
    law = fit_chinchilla(N, D, LOSS, np.inf)
    sizes, data = np.meshgrid(np.geomspace(1e7, 1e9, 3), np.geomspace(1e8, 1e10, 2))
    assert law.predict(sizes, data).shape == (2, 3)
    assert law.mean_interval(sizes, data)[0].shape == (2, 3)
    assert law.predict(1e8, 1e9).shape == (1,)
    for bad in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match="params"):
            law.predict(bad, 1e9)
    with pytest.raises(ValueError, match="0.95"):
        law.interval("alpha", level=95)


@pytest.mark.parametrize("value", [None, True, "often"])
def test_an_offset_or_delta_that_is_no_number_is_a_sentence(value):
    with pytest.raises(ValueError, match="offset"):
        fit_power_law(X, Y, value)
    with pytest.raises(ValueError, match="delta"):
        fit_chinchilla(N, D, LOSS, value)


def test_an_optimizer_that_returns_its_starts_is_found_out(monkeypatch):
    """laws.md, finding 3: a stalled optimizer was published as a result, twice."""
    noisy = LOSS * np.exp(0.01 * np.random.default_rng(0).normal(size=20))
    real = newton.minimize
    monkeypatch.setattr(starts, "descend", lambda exponents, *_: exponents)
    monkeypatch.setattr(newton, "minimize", lambda *given: real(*given[:5], iterations=1))
    for fit in (lambda: fit_chinchilla(N, D, noisy), lambda: fit_power_law(X, Y * np.exp(noisy[:10] / 100), "fit")):
        with pytest.raises(CannotFit) as caught:
            fit()
        assert caught.value.code == "not_converged"


def test_starts_that_walk_alone_arrive_where_the_exact_minimum_is():
    noisy = LOSS * np.exp(0.005 * np.random.default_rng(1).normal(size=20))
    logs = np.log(np.stack([N, D])) - np.log(np.stack([N, D])).mean(1)[:, None]
    before = starts.exponent_starts(10, 2, np.random.default_rng(0))
    after = starts.descend(before, logs, noisy, np.ones(20), True)
    cost = [starts.project(exponents, logs, noisy, np.ones(20), True)[1] for exponents in (before, after)]
    assert (cost[1] <= cost[0]).all()
    assert cost[1].max() < 1.01 * cost[1].min()
    assert cost[0].max() > 10 * cost[0].min()
    assert (before != after).any()


def test_a_robust_fit_is_as_unsure_as_its_rows():
    """Wild factors pile residuals up at zero, which Huber's fit reads as precision: 66 % of its intervals covered."""
    sizes, data = (values.ravel() for values in np.meshgrid(np.geomspace(1e7, 1e9, 8), np.geomspace(1e8, 1e10, 6)))
    inside = 0
    for seed in range(40):
        noise = np.exp(0.005 * np.random.default_rng(seed).normal(size=48))
        law = fit_chinchilla(sizes, data, (1.7 + 400 / sizes**0.34 + 410 / data**0.28) * noise, delta=1e-3)
        low, high = replace(law, resamples=200).interval("beta")
        inside += low <= 0.28 <= high
    assert inside >= 35


@pytest.mark.parametrize("seed", range(12))
def test_huber_fits_of_few_sizes_converge(seed):
    rng = np.random.default_rng(seed)
    noisy = LOSS * np.exp(rng.choice([0.002, 0.01]) * rng.normal(size=20))
    law = fit_chinchilla(N, D, noisy, delta=[1e-3, 1e-4][seed % 2])
    assert law.certificate.excess < 1e-9
    assert law.draws().failed < 0.05 * law.draws().asked


def test_two_processes_give_the_same_in_the_same_order_and_pass_refusals_on():
    law = fit_power_law(X, Y * np.exp(0.01 * np.random.default_rng(0).normal(size=10)), "fit")
    results = in_parallel([lambda place=place: (place, law) for place in range(5)])
    assert [place for place, _ in results] == list(range(5))
    assert results[1][1].coefficients == law.coefficients
    assert results[1][1].interval("alpha") == law.interval("alpha")
    with pytest.raises(TypeError):
        results[1][1].coefficients["alpha"] = 1

    def refuse():
        raise CannotFit("too_few_sizes", "one size", 1, (3,))

    for place in (0, 1):
        tasks = [lambda: 1, lambda: 2]
        tasks[place] = refuse
        with pytest.raises(CannotFit) as caught:
            in_parallel(tasks)
        assert (caught.value.code, caught.value.number, caught.value.rows) == ("too_few_sizes", 1, (3,))
    again = pickle.loads(pickle.dumps(CannotFit("at_bound", "ran", 2.0)))
    assert (again.code, again.sentence, again.number) == ("at_bound", "ran", 2.0)


def test_every_form_is_certified_by_numbers_of_its_own():
    noise = np.exp(0.003 * np.random.default_rng(0).normal(size=20))
    rate = 0.6 + 0.4 / (1 + (N / 1e8) ** 0.4)
    for law in (fit_tied(N, D, LOSS * noise), fit_saturating(N, rate * noise), fit_chinchilla(N, D, LOSS * noise)):
        assert 0 <= law.certificate.excess < 1e-9
        assert 0 < law.certificate.smallest_eigenvalue < 0.9
    with pytest.raises(CannotFit) as caught:  # once fitted, and predicted with a negative lower limit
        fit_tied(N, D, 1.7 + (N / 1e7) ** 0.1 + (D / 1e8) ** 0.2)
    assert caught.value.code in ("not_converged", "loss_rises", "at_bound")


def test_a_refusal_here_does_not_wait_for_results_there():
    """The other process sat on more results than a pipe holds, this one on its end: for ever."""
    here = os.getpid()

    def task():
        if os.getpid() == here:
            time.sleep(0.3)
            raise CannotFit("too_few_sizes", "one size", 1)
        return bytes(1_000_000)

    with pytest.raises(CannotFit):
        in_parallel([task] * 4)
    assert in_parallel([lambda place=place: place for place in range(400)]) == list(range(400))


def test_four_cores_take_tasks_while_this_process_does_something_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    here, began = os.getpid(), []

    def meanwhile():
        time.sleep(0.5)
        began.append(time.monotonic())

    def task():
        time.sleep(0.05)
        return os.getpid(), time.monotonic()

    found = in_parallel([task] * 24, meanwhile)
    assert len(began) == 1
    assert len({pid for pid, _ in found}) == 3 + (here in {pid for pid, _ in found})
    assert sum(ended < began[0] for _, ended in found) > 12


def test_what_a_killed_process_had_taken_is_done_here():
    here = os.getpid()

    def task():
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return os.getpid()

    assert in_parallel([task] * 6) == [here] * 6


def test_rows_linked_by_a_run_or_a_size_are_one_cluster():
    """Three seeds of each depth at three computes: as 18 sizes, 87 % of the intervals of the exponent covered."""
    depth, seed, budget = (part.ravel() for part in np.meshgrid(range(5), range(3), range(2), indexing="ij"))
    compute = 10.0 ** (depth + 0.3 * budget)
    law = fit_power_law(compute, 3 + (2e-2 * compute) ** -0.2 * (1 + 1e-3 * seed), "fit", depth * 3 + seed)
    kind, codes = law.clusters
    assert kind == "size and run"
    assert np.array_equal(codes, depth)
    alone = fit_power_law(compute, law.predict(compute), "fit")
    assert alone.clusters[0] == "size"
    assert len(np.unique(alone.clusters[1])) == 10
    chain = resample.linked(np.array([0, 1, 1, 2, 3]), np.array([0, 0, 1, 1, 2]))
    assert list(chain) == [0, 0, 0, 0, 1]
