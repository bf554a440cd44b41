"""A study that says what it wants to know and what it may spend: which runs it may choose from, and what each costs.

    pursue: {quantity: loss_all_scales, at: {model.depth: 12, images: 500_000}, interval: 0.01,
             spend: {train_flops: 3e14}, at_once: 4}

The grid and its budgets are then candidates, and rounds of them are trained until the 95 % interval of the quantity at
that point is narrow enough (`launch.pursuit`). A budget on a trunk that is trained already costs what it adds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from var_scaling.config import yaml
from var_scaling.config.base import Strict
from var_scaling.families.registry import family_of
from var_scaling.planning.mistakes import line_of, nearest
from var_scaling.planning.trial import TrialConfig, trial_type

if TYPE_CHECKING:
    from var_scaling.planning.study import Study

AXES = ("model.depth", "seed")  # of a grid whose candidates one law describes
AMOUNTS = ("images", "train_flops")


class Spend(Strict):
    """What all rounds together may train: dense training FLOPs."""

    train_flops: float = Field(gt=0)


class Pursue(Strict):
    """What a study wants to know."""

    quantity: str  # a loss of its rows
    at: Mapping[str, Any]  # fields of the model that is asked about, and its images or train_flops
    interval: float = Field(gt=0, lt=1)  # half-width of the 95 % interval of a new run there, over its value
    spend: Spend
    at_once: int = Field(default=1, ge=1)  # runs a round

    @field_validator("at")
    @classmethod
    def _says_how_long(cls, at: Mapping[str, Any]) -> Mapping[str, Any]:
        amounts = [name for name in AMOUNTS if name in at]
        if len(amounts) != 1:
            raise ValueError("it says how long the model is trained: give exactly one of `images` and `train_flops`")
        amount = at[amounts[0]]
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 < amount < math.inf:
            raise ValueError(f"`{amounts[0]}` = {amount!r} is no positive number")
        if len(at) < 2:
            raise ValueError("it names no model: give its fields too, such as `model.depth: 12`")
        return at

    @model_validator(mode="after")
    def _a_name(self) -> Pursue:
        if not self.quantity:
            raise ValueError("`quantity` is empty; name a loss of the rows")
        return self


def asked(config: TrialConfig, at: Mapping[str, Any]) -> TrialConfig:
    """A point of the study with the fields that are asked about."""
    family, changes = family_of(config.model), dict(at)
    if (depth := changes.pop("model.depth", None)) is not None:
        if isinstance(depth, bool) or not isinstance(depth, int):
            raise ValueError(f"`model.depth` = {depth!r} is no whole number")
        config = config.model_copy(update={"model": family.at_depth(config.model, depth)})
    raw = config.model_dump(mode="python", exclude_none=True)
    for name, value in changes.items():
        if name in AMOUNTS:
            continue
        inner = raw
        *path, last = name.split(".")
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return trial_type(raw).model_validate(yaml.tuples(raw))


def pursuit_problems(study: Study, configs: Sequence[TrialConfig], name: str, lines: yaml.Lines) -> list[str]:
    """Why a study cannot pursue what it says, each with its line."""
    pursue = study.pursue
    if pursue is None or not configs:
        return []
    found = []

    def problem(where: tuple[str, ...], words: str) -> None:
        found.append(f"{name}{line_of(where, lines)}: {words}")

    for axis in study.grid:
        if axis not in AXES:
            problem(
                ("grid", axis),
                f"`{axis}` is an axis of the grid, and a study that pursues a loss chooses among depths, seeds and "
                "budgets alone: one law has to describe all of them; fix it in the base",
            )
    if study.variants:
        problem(("variants",), "a study that pursues a loss has no variants: one law has to describe all its runs")
    family = family_of(configs[0].model)
    losses = [column.name for column in family.losses]
    if pursue.quantity not in losses:
        near = nearest(pursue.quantity, losses)
        problem(
            ("pursue", "quantity"),
            f"`pursue.quantity` = {pursue.quantity!r} is no loss of family {family.name}{near}; "
            f"it has {', '.join(losses)}",
        )
    for key in pursue.at:
        if key in AMOUNTS:
            continue
        try:
            asked(configs[0], {key: pursue.at[key], "images": 1})
        except ValueError as error:
            words = "; ".join(str(error).splitlines()[:1]) if "validation error" not in str(error) else "no such field"
            problem(("pursue", "at", key), f"`pursue.at`: `{key}` = {pursue.at[key]!r}: {words}")
    return found
