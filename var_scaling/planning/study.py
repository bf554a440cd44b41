"""A study (one YAML file): a base config, variants of it, a grid, budgets and an evaluation."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from var_scaling.config import yaml
from var_scaling.config.base import Strict
from var_scaling.config.evaluate import EvaluateConfig
from var_scaling.errors import RequestProblem
from var_scaling.planning.mistakes import OVERRIDE, line_of, sentences, unknown_key
from var_scaling.planning.pursuit import Pursue, pursuit_problems
from var_scaling.planning.trial import TrialConfig, trial_type

MAX_TRIALS = 100_000


class Budgets(Strict):
    """Points at which every trial gives a finished, annealed model: images seen, or dense training FLOPs."""

    images: tuple[int, ...] | None = None
    train_flops: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Budgets:
        if (self.images is None) == (self.train_flops is None):
            raise ValueError("give exactly one of `images` and `train_flops`")
        asked = self.images or self.train_flops or ()
        if not asked:
            raise ValueError("at least one budget is needed, e.g. `images: [20_480, 61_440]`")
        if any(value <= 0 for value in asked):
            raise ValueError(f"budgets must be positive, got {list(asked)}")
        if len(set(asked)) != len(asked):
            raise ValueError(f"a budget is given twice in {list(asked)}")
        return self


Section = Mapping[str, Any]


class Variant(Strict):
    """A named partial base that the grid is crossed with; budgets and evaluation of its own where it gives them.

    Its name is never identity: two studies that reach the same trial by different variants share it.
    """

    data: Section | None = None
    tokenizer: Section | None = None
    model: Section | None = None
    train: Section | None = None
    seed: int | None = None
    numerics: int | None = None
    execution: Section | None = None
    placement: Section | None = None
    budgets: Budgets | None = None
    evaluate: EvaluateConfig | None = None

    @property
    def partial(self) -> dict[str, Any]:
        """What it changes of a trial."""
        whole = {name: getattr(self, name) for name in type(self).model_fields if name not in ("budgets", "evaluate")}
        return {name: value for name, value in whole.items() if value is not None}


class Study(Strict):
    """A sweep file as it was read."""

    name: str  # of its folder in runs/sweeps, and what commands call it
    description: str = ""  # a sentence for pages and MLflow
    base: Mapping[str, Any] = Field(default_factory=dict)  # what all trials share: the keys of `base` below
    variants: Mapping[str, Variant] = Field(default_factory=dict)  # by name, what each changes of the base
    grid: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)  # dotted key to its values; a trial a combination
    budgets: Budgets  # points at which each trial gives a finished model
    evaluate: EvaluateConfig = EvaluateConfig()  # what is measured at each of them
    pursue: Pursue | None = None  # grid and budgets are then candidates, of which rounds are trained

    def variant_of(self, point: int, points: int) -> str:
        """The variant that one of the study's points (numbered as `load_study` returns them) belongs to; "" if none."""
        return list(self.variants)[point * len(self.variants) // points] if self.variants else ""

    def budgets_of(self, variant: str) -> Budgets:
        """The budgets of a variant's trials."""
        own = self.variants[variant].budgets if variant else None
        return own or self.budgets

    def evaluate_of(self, variant: str) -> EvaluateConfig:
        """The evaluation of a variant's trials."""
        own = self.variants[variant].evaluate if variant else None
        return own or self.evaluate

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) or name[0] in "-.":
            raise ValueError(
                f"`{name}` is no sweep name: it becomes a folder, so use letters, digits, `-`, `_` and `.`, "
                "beginning with a letter or digit"
            )
        if len(name) > 100:  # file systems end at 255, and `.json` and the like come after it
            raise ValueError(f"{len(name)} letters are too many for files that are named by it; use 100 at most")
        if name == "last":
            raise ValueError("`last` stands for the newest sweep on the command line; choose another name")
        return name

    @field_validator("grid", mode="before")
    @classmethod
    def _values_are_lists(cls, grid: Any) -> Any:
        if not isinstance(grid, Mapping):
            return grid
        for key, values in grid.items():
            if not isinstance(values, tuple):
                raise ValueError(f"`{key}` needs a list of values, got {values!r}; write `{key}: [{values}]`")
            if not values:
                raise ValueError(f"`{key}` has no values, so the grid is empty")
            if len({repr(value) for value in values}) != len(values):
                raise ValueError(f"`{key}` lists a value twice: {list(values)}")
        return grid


def load_study(path: Path, overrides: Sequence[str] = ()) -> tuple[Study, tuple[TrialConfig, ...]]:
    """Read a sweep file, apply `a.b=c` overrides to its base, cross its variants with its grid.

    Returns:
        The study, and one unresolved config per point: variants slowest, the grid's last key fastest.

    Raises:
        RequestProblem: every problem at once, each with its path, line, rule and nearest valid name.
    """
    return parse_study(yaml.read_text(path), str(path), overrides)


def parse_study(text: str, name: str, overrides: Sequence[str] = ()) -> tuple[Study, tuple[TrialConfig, ...]]:
    """`load_study` of a text; `name` stands for the file in messages."""
    raw, lines = yaml.parse(text, name)
    if not isinstance(raw, dict):
        raise RequestProblem(f"{name}: a sweep is a mapping with `name`, `base`, `grid` and `budgets`")
    for text in overrides:
        raw, changed = _override(raw, text)
        lines[changed] = OVERRIDE
    try:
        study = Study.model_validate(raw)
    except ValidationError as error:
        problems = sentences(error, Study, name, lines, raw)
        parts = {key: value if isinstance(value := raw.get(key), dict) else {} for key in ("base", "variants", "grid")}
        lists = {key: values for key, values in parts["grid"].items() if isinstance(values, tuple) and values}
        partials = {}
        for key, value in parts["variants"].items():
            with contextlib.suppress(ValidationError):  # told above
                partials[key] = Variant.model_validate(value)
        raise RequestProblem(*problems, *_trials(parts["base"], partials, lists, name, lines)[1]) from None
    configs, problems = _trials(study.base, study.variants, study.grid, name, lines)
    problems += pursuit_problems(study, configs, name, lines)
    if problems:
        raise RequestProblem(*problems)
    return study, tuple(configs)


def _override(raw: dict[str, Any], text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The study with one field set: of an axis of the grid, its values (else the grid would win without a word)."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RequestProblem(f"--set {text}: write it as a.b=value, e.g. --set train.batch_size=128")
    parts = key.split(".")
    if parts[0] not in Study.model_fields:  # `train.batch_size=1` means the base's
        parts = ["base", *parts]
    parsed = yaml.parse_scalar(value)
    field = ".".join(parts[1:])
    grid = raw.get("grid")
    axes = [str(axis) for axis in grid] if isinstance(grid, Mapping) else []
    if parts[0] == "grid" or (parts[0] == "base" and field in axes):
        values = parsed if isinstance(parsed, tuple) else (parsed,)
        return {**raw, "grid": {**(grid if isinstance(grid, Mapping) else {}), field: values}}, ("grid", field)
    for axis in axes if parts[0] == "base" else ():
        if axis.startswith(f"{field}.") or field.startswith(f"{axis}."):
            raise RequestProblem(
                f"--set {text}: `{axis}` is an axis of the grid, which would overrule it; set that, as in "
                f"--set grid.{axis}=[...]"
            )
    return _with(raw, parts, parsed), tuple(parts)


def _with(tree: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of a nested mapping with one leaf set."""
    head, *rest = path
    inner = tree.get(head)
    return {**tree, head: _with(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _merged(tree: Mapping[str, Any], partial: Mapping[str, Any]) -> dict[str, Any]:
    """A nested mapping with the leaves of another laid over it."""
    result = dict(tree)
    for key, value in partial.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def _trials(
    base: Mapping[str, Any],
    variants: Mapping[str, Variant],
    grid: Mapping[str, Sequence[Any]],
    name: str,
    lines: yaml.Lines,
) -> tuple[list[TrialConfig], list[str]]:
    """The points of variants and grid, and what is wrong with them."""
    points = max(1, len(variants)) * math.prod(len(values) for values in grid.values())
    if points > MAX_TRIALS:
        return [], [f"{name}: the grid has {points:,} points; more than {MAX_TRIALS:,} is surely a mistake"]
    problems: dict[str, None] = {}  # ordered and without repetition
    configs = []
    for variant in variants or ("",):
        prefixes = [("variants", variant), ("base",)] if variant else [("base",)]
        whole = _merged(base, variants[variant].partial if variant else {})
        axes: dict[str, Sequence[Any]] = {}
        for key, choices in grid.items():
            if problem := _unknown_axis(whole, grid, str(key)):
                problems[f"{name}{line_of(('grid', str(key)), lines)}: grid: {problem}"] = None
            else:
                axes[str(key)] = choices
        for values in itertools.product(*axes.values()):
            raw = whole
            for key, value in zip(axes, values, strict=True):
                raw = _with(raw, key.split("."), value)
            try:
                kind = trial_type(raw)
            except ValueError as error:
                path = tuple(str(error).split("`")[1].split("."))
                where = ("grid", ".".join(path)) if ".".join(path) in axes else (*prefixes[0], *path)
                problems[f"{name}{line_of(where, lines)}: {error}"] = None
                continue
            try:
                configs.append(kind.model_validate(raw))
            except ValidationError as error:
                problems.update(dict.fromkeys(sentences(error, kind, name, lines, raw, prefixes, axes)))
    return configs, list(problems)


def _unknown_axis(base: Mapping[str, Any], grid: Mapping[str, Sequence[Any]], key: str) -> str | None:
    """Why an axis of the grid names no field of a trial of any family and tokenizer in play, or None."""
    found = None
    choosers = [axis for axis in ("model.family", "tokenizer.preset") if axis in grid]
    for values in itertools.product(*(grid[axis] for axis in choosers)):
        raw = dict(base)
        for axis, value in zip(choosers, values, strict=True):
            raw = _with(raw, axis.split("."), value)
        try:
            found = unknown_key(trial_type(raw), key.split("."))
        except ValueError:
            return None  # told where the point is made
        if found is None:
            return None
    return found
