"""Learning rates as tables of (images, value)."""

from __future__ import annotations

import math

import pytest

from var_scaling.config.train import TrainConfig
from var_scaling.training.schedule import Branch, Horizon, Trunk

WSD = TrainConfig(
    batch_size=10,
    learning_rate=0.5,
    weight_decay=0.05,
    final_weight_decay=0.05,
    warmup_images=40,
    final_learning_rate=0.0,
)


def test_the_trunk_warms_up_and_stays() -> None:
    trunk = Trunk(WSD)
    assert [trunk.learning_rate(i) for i in (0, 10, 20, 30, 40, 10_000)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]
    )
    assert {trunk.weight_decay(i) for i in (0, 40, 10_000)} == {0.05}


def test_a_branch_falls_from_the_trunk_to_zero_by_its_last_step() -> None:
    branch = Branch(WSD, start=100, end=140)  # four steps
    rates = [branch.learning_rate(i) for i in (100, 110, 120, 130)]
    assert rates == pytest.approx([0.5 * (1 - math.sqrt(k / 5)) for k in (1, 2, 3, 4)])
    linear = Branch(WSD.model_copy(update={"decay_shape": "linear"}), 100, 140)
    assert [linear.learning_rate(i) for i in (100, 130)] == pytest.approx([0.4, 0.1])


def test_lin0_is_constant_for_five_per_cent_then_linear_to_its_final_share() -> None:
    config = WSD.model_copy(
        update={"schedule": "lin0", "horizon_images": 2_050, "final_learning_rate": 0.1, "final_weight_decay": 0.08}
    )
    schedule = Horizon(config)
    assert schedule.learning_rate(0) == pytest.approx(0.5 * (0.005 + 0.995 * 10 / 50))
    assert schedule.learning_rate(40) == pytest.approx(0.5)
    assert schedule.learning_rate(140) == pytest.approx(0.5)  # 5 % of 2,000
    assert schedule.learning_rate(2_040) == pytest.approx(0.05)
    middle = 40 + (140 - 40) + 950
    assert schedule.learning_rate(middle) == pytest.approx(0.5 * (0.1 + 0.9 * 0.5), rel=1e-6)
    assert schedule.weight_decay(2_040) == pytest.approx(0.08)
    assert schedule.weight_decay(40) == pytest.approx(0.05)


def test_cosine_ends_at_its_final_share() -> None:
    config = WSD.model_copy(update={"schedule": "cosine", "horizon_images": 1_050, "final_learning_rate": 0.2})
    schedule = Horizon(config)
    assert schedule.learning_rate(540) == pytest.approx(0.5 * 0.6)
    assert schedule.learning_rate(1_040) == pytest.approx(0.1)
