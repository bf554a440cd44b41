"""Bounds count what the families' own arithmetic says, no run is faster than its bound allows, and crossovers."""

import pytest
import torch

from var_scaling.evaluation.roofline import Clock, Products, Rates, matrix_rate, measure_rates
from var_scaling.evaluation.speed import PAPER, Case, Row, Speed, measure_speed
from var_scaling.families.registry import family_of
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import read_trial

CPU = Clock(torch.device("cpu"), 1)


def small(name, family, preset, times=1.0, **sampler):
    timed = {"steps": sampler["steps"] // times} if times > 1 else {}
    trial = {"tokenizer": {"preset": preset}, "model": {"family": family, "head_dim": 16}}
    if family == "dit":
        trial["model"]["patch_size"] = 1
    return Case(name, trial, sampler, timed, times)


CASES = (
    small("var", "var", "tiny", guidance=1.5),
    small("raster", "raster", "tiny-raster", guidance=1.5),
    small("dit", "dit", "tiny-kl", times=4, guidance=0.0, steps=8),
)


@pytest.fixture(scope="module")
def speed():
    return measure_speed(CASES, depth=2, batches=[1], clock=CPU, runs=1, matrix_sides=(256,))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_flops_seen_are_those_that_the_family_says(speed, case):
    model = resolve(read_trial({**case.trial, "model": {**case.trial["model"], "depth": 2}})).model
    family = family_of(model)
    said = family.sample_flops(model, family.sampler.model_validate(case.sampler))
    seen = speed.row(case.name, 1).flops
    assert seen == pytest.approx(said, rel=0.12)  # beside the tokenizer's convolutions and look-ups between scales
    assert seen > said * 0.98


def test_rows_hold_both_parts_and_their_bounds(speed):
    assert {(row.case, row.part) for row in speed.rows} == {
        (case.name, part) for case in CASES for part in ("transformer", "decoder")
    }
    for row in speed.rows:
        assert row.bound_seconds > 0
        assert 0 < row.inside_seconds <= row.seconds


def test_steps_that_are_alike_are_timed_in_part(speed):
    assert speed.row("dit", 1).share_timed == 1 / 4
    assert speed.samplers["dit"]["steps"] == 8


def test_a_product_is_bound_by_the_larger_of_arithmetic_and_weights():
    weight, x = torch.randn(64, 32), torch.randn(2, 32)
    with Products([weight], Rates(flops=1e9, read_bytes=1e3, buffer_bytes=1), CPU) as seen:
        x @ weight.t()
    assert seen.flops == 2 * 2 * 32 * 64
    assert seen.bytes == 4 * 32 * 64  # x is no weight
    assert seen.bound == pytest.approx(4 * 32 * 64 / 1e3)
    with Products([weight], Rates(flops=1e3, read_bytes=1e12, buffer_bytes=1), CPU) as seen:
        x @ weight.t()
    assert seen.bound == pytest.approx(2 * 2 * 32 * 64 / 1e3)


def test_rates_are_of_this_machine():
    rates = measure_rates(CPU, 1 << 20, matrix_rate(CPU, runs=1, sides=(256,)), runs=1)
    assert 1e8 < rates.flops < 1e13
    assert 1e8 < rates.read_bytes < 1e13


def made(**images_per_second):
    rows = tuple(
        Row(name, "transformer", batch, batch / rate, 1e-9, 0.0, 1, 1.0)
        for name, rates in images_per_second.items()
        for batch, rate in zip((1, 4, 16), rates, strict=True)
    )
    return Speed(rows, {}, {}, {})


def test_crossover_is_where_one_overtakes_for_good():
    assert made(a=(1, 2, 8), b=(2, 4, 4)).crossover("a", "b") == pytest.approx(8.0)
    assert made(a=(1, 1, 1), b=(2, 2, 2)).crossover("a", "b") is None
    assert made(a=(3, 3, 3), b=(2, 2, 2)).crossover("a", "b") == 1.0
    assert made(a=(3, 1, 4), b=(2, 2, 2)).crossover("a", "b") == pytest.approx(8.0)


def test_the_papers_cases_resolve_at_the_same_backbone():
    widths = set()
    for case in PAPER:
        model = resolve(read_trial({**case.trial, "model": {**case.trial["model"], "depth": 8}})).model
        family_of(model).sampler.model_validate({**case.sampler, **case.timed})
        widths.add(model.width)
    assert widths == {512}
