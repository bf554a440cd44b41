"""Recipes that a search found, and how a sweep takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from var_scaling.config import yaml
from var_scaling.config.train import TrainConfig
from var_scaling.errors import RequestProblem
from var_scaling.families.var.config import VARConfig
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.tuned import FACTOR, Point, TunedRecipe, apply_recipe, candidate_rates, load_recipe

POINT = Point(learning_rate=0.01, knobs={"gamma_init": 1e-4}, images=1_000, loss=3.5)
RECIPE = TunedRecipe(
    name="x",
    family="var",
    depth=4,
    batch_size=64,
    learning_rate=0.01,
    knobs={"gamma_init": 1e-4},
    at_edge=(),
    evidence=(POINT,),
)


def trial(depth: int, **train: object) -> TrialConfig:
    return TrialConfig(model=VARConfig(depth=depth, head_dim=16), train=TrainConfig.model_validate(train))


def test_a_recipe_goes_through_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(yaml.dump(RECIPE.model_dump(mode="python")))
    assert load_recipe(tmp_path / "x.yaml") == RECIPE
    (tmp_path / "y.yaml").write_text("name: y\n")
    with pytest.raises(RequestProblem, match="no recipe of `var-sweep tune`: `family`"):
        load_recipe(tmp_path / "y.yaml")


def test_it_fills_what_is_open_and_scales_with_depth() -> None:
    same, deep, given = apply_recipe([trial(4), trial(8), trial(8, learning_rate=0.5)], RECIPE)
    assert (same.train.learning_rate, same.model.gamma_init) == (0.01, 1e-4)
    assert deep.train.learning_rate == 0.005
    assert given.train.learning_rate == 0.5


def test_another_batch_is_refused() -> None:
    with pytest.raises(RequestProblem, match="tuned at train.batch_size = 64, the sweep has 32"):
        apply_recipe([trial(4, batch_size=32)], RECIPE)


def test_candidates_are_a_factor_of_at_most_1_41_apart() -> None:
    rates = candidate_rates(0.009, 3)
    assert len(rates) == 7 and rates[3] == 0.009
    assert all(b / a <= 1.4101 for a, b in zip(rates, rates[1:], strict=False)) and FACTOR <= 1.41
