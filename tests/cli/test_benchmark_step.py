"""`var-scaling benchmark step`: what it prints is arithmetic over what it measured."""

from __future__ import annotations

import json

import pytest

from tests.support.programs import run
from var_scaling.evaluation.roofline import Clock
from var_scaling.planning import flops
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import read_trial
from var_scaling.training.timing import step_speed


@pytest.mark.parametrize("family", ["var", "dit"])
def test_a_share_is_the_models_own_flops_over_the_rate(family: str) -> None:
    import torch

    raw = {"model": {"family": family, "depth": 2}, "train": {"batch_size": 4}}
    if family == "dit":
        raw["tokenizer"] = {"preset": "tiny-kl"}
    config = resolve(read_trial(raw))
    found = step_speed(config, Clock(torch.device("cpu"), 1), matrix=1e12, runs=1)
    each = flops.train_flops_visible_per_image(config.model)
    assert found.share == pytest.approx(4 * each / found.seconds / 1e12)
    assert found.images_per_second == pytest.approx(4 / found.seconds) and found.batch == 4


def test_it_prints_a_row_a_depth_and_refuses_in_a_sentence() -> None:
    done = run("scaling", "benchmark", "step", "--depths", "1,2", "--batch", "2", "--runs", "1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [row["depth"] for row in said["rows"]] == [1, 2] and said["matrix_flops_per_second"] > 1e9
    refused = run("scaling", "benchmark", "step", "--depths", "two")
    assert refused.returncode == 2 and "--depths two: whole numbers" in refused.stderr
