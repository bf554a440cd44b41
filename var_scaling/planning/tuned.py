"""Recipes that `var-sweep tune` found: a learning rate and the family's own knobs at one depth, with the evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from var_scaling.config import yaml
from var_scaling.config.base import Strict
from var_scaling.errors import RequestProblem
from var_scaling.planning.trial import TrialConfig

FACTOR = 1.41  # between neighbouring learning rates: near the best a step of that costs less than seeds differ


class Point(Strict):
    """One result of a search."""

    learning_rate: float = Field(gt=0)
    knobs: Mapping[str, float]  # fields of the model's config, as its family names them
    images: int = Field(ge=1)
    loss: float


class TunedRecipe(Strict):
    """The winner of a search. At other depths the learning rate goes with 1 / depth, as the ladder's rule does."""

    name: str
    family: str
    depth: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)  # at `depth`
    knobs: Mapping[str, float]
    at_edge: tuple[str, ...]  # fields whose best value is the first or last that was tried: a better may lie beyond
    evidence: tuple[Point, ...]  # the furthest that each candidate was trained


def candidate_rates(centre: float, steps: int) -> list[float]:
    """Learning rates around a centre, a factor 1.41 apart."""
    return [float(f"{centre * FACTOR**k:.6g}") for k in range(-steps, steps + 1)]


def load_recipe(path: Path) -> TunedRecipe:
    """Read a recipe that `tune` wrote.

    Raises:
        RequestProblem: no such file, or not a recipe.
    """
    try:
        return TunedRecipe.model_validate(yaml.load(path)[0])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RequestProblem(f"{path} is no recipe of `var-sweep tune`: `{where}`: {first['msg']}") from None


def recipe_of_launch(how: Mapping[str, Any]) -> TunedRecipe | None:
    """The recipe that a launch wrote down with how it was asked for, if it had one."""
    return TunedRecipe.model_validate_json(json.dumps(how["recipe"])) if how.get("recipe") else None


def apply_recipe(configs: Iterable[TrialConfig], recipe: TunedRecipe) -> tuple[TrialConfig, ...]:
    """Fill what a sweep file leaves open; what it gives is left alone.

    Raises:
        RequestProblem: the sweep's batch or family is not the one that was tuned.
    """
    result = []
    for config in configs:
        if config.model.family != recipe.family:
            raise RequestProblem(
                f"recipe {recipe.name} was tuned for family {recipe.family}, the sweep has {config.model.family}; "
                "tune that family too: each has its own best rate"
            )
        if config.train.batch_size != recipe.batch_size:
            raise RequestProblem(
                f"recipe {recipe.name} was tuned at train.batch_size = {recipe.batch_size}, the sweep has "
                f"{config.train.batch_size}; tune again at that batch, or use {recipe.batch_size}"
            )
        rate = config.train.learning_rate or recipe.learning_rate * recipe.depth / config.model.depth
        train = config.train.model_copy(update={"learning_rate": float(f"{rate:.6g}")})
        left_open = {name: value for name, value in recipe.knobs.items() if getattr(config.model, name) is None}
        model = config.model.model_copy(update=left_open)
        result.append(config.model_copy(update={"train": train, "model": model}))
    return tuple(result)
