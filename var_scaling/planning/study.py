"""A study (one YAML file): a base config, a grid, budgets and an evaluation; and how its mistakes are told."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from var_scaling.config import yaml
from var_scaling.config.base import Strict
from var_scaling.config.evaluate import EvaluateConfig
from var_scaling.errors import RequestProblem
from var_scaling.planning.trial import TrialConfig

MAX_TRIALS = 100_000
OVERRIDE = 0  # the "line" of a key that the command line has set


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


class Study(Strict):
    """A sweep file as it was read; `trials` expands its grid."""

    name: str
    description: str = ""
    base: Mapping[str, Any] = Field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)
    budgets: Budgets
    evaluate: EvaluateConfig = EvaluateConfig()

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) or name[0] in "-.":
            raise ValueError(
                f"`{name}` is no sweep name: it becomes a folder, so use letters, digits, `-`, `_` and `.`, "
                "beginning with a letter or digit"
            )
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
    """Read a sweep file, apply `a.b=c` overrides to its base, and expand its grid.

    Returns:
        The study, and one unresolved config per point of the grid, the last key varying fastest.

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
        problems = _problems(error, Study, (), name, lines)
        base, grid = (part if isinstance(part, dict) else {} for part in (raw.get("base"), raw.get("grid")))
        lists = {key: values for key, values in grid.items() if isinstance(values, tuple) and values}
        raise RequestProblem(*problems, *_trials(base, lists, name, lines)[1]) from None
    configs, problems = _trials(study.base, study.grid, name, lines)
    if problems:
        raise RequestProblem(*problems)
    return study, tuple(configs)


def _override(raw: dict[str, Any], text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RequestProblem(f"--set {text}: write it as a.b=value, e.g. --set train.batch_size=128")
    parts = key.split(".")
    if parts[0] not in Study.model_fields:  # `train.batch_size=1` means the base's
        parts = ["base", *parts]
    return _with(raw, parts, yaml.parse_scalar(value)), tuple(parts)


def _with(tree: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of a nested mapping with one leaf set."""
    head, *rest = path
    inner = tree.get(head)
    return {**tree, head: _with(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def _trials(
    base: Mapping[str, Any], grid: Mapping[str, Sequence[Any]], name: str, lines: yaml.Lines
) -> tuple[list[TrialConfig], list[str]]:
    """The points of the grid, and what is wrong with them."""
    points = math.prod(len(values) for values in grid.values())
    if points > MAX_TRIALS:
        return [], [f"{name}: the grid has {points:,} points; more than {MAX_TRIALS:,} is surely a mistake"]
    problems: dict[str, None] = {}  # ordered and without repetition
    known = {}
    for key, choices in grid.items():
        if (problem := _unknown_key(TrialConfig, str(key).split("."))) is None:
            known[key] = choices
        else:
            problems[f"{name}, line {lines.get(('grid', key), '?')}: grid: {problem}"] = None
    configs = []
    for values in itertools.product(*known.values()):
        raw = base
        for key, value in zip(known, values, strict=True):
            raw = _with(raw, key.split("."), value)
        try:
            configs.append(TrialConfig.model_validate(raw))
        except ValidationError as error:
            problems.update(dict.fromkeys(_problems(error, TrialConfig, ("base",), name, lines, known)))
    return configs, list(problems)


def _problems(
    error: ValidationError,
    model: type[BaseModel],
    prefix: tuple[str, ...],
    name: str,
    lines: yaml.Lines,
    grid: Mapping[str, Any] | None = None,
) -> list[str]:
    """One sentence for each error: file, line, path, what was wrong, what was expected, the nearest valid name."""
    sentences: dict[str, None] = {}
    for entry in error.errors():
        path = tuple(str(part) for part in entry["loc"])
        dotted = ".".join(path)
        key = next((k for k in grid or () if dotted == k or dotted.startswith(k + ".")), None)
        where = ("grid", key) if key else (*prefix, *path)
        while where and where not in lines:
            where = where[:-1]
        line = "" if not where else " with --set" if lines[where] == OVERRIDE else f", line {lines[where]}"
        if entry["type"] == "extra_forbidden":
            text = _unknown_key(model, list(path)) or f"`{dotted}` is not known here"
        elif entry["type"] == "missing":
            text = f"`{dotted}` is missing"
        else:
            rule = entry["msg"].removeprefix("Value error, ")
            text = f"`{dotted}` = {entry['input']!r}: {rule[0].lower() + rule[1:]}" if path else rule
            if entry["type"] == "literal_error" and isinstance(entry["input"], str):
                valid = str(entry["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
                text += _nearest(entry["input"], valid)
        sentences[f"{name}{line}: {text}"] = None
    return list(sentences)


def _unknown_key(model: type[BaseModel], path: list[str]) -> str | None:
    """Why a dotted path names no field, or None where it does."""
    for depth, part in enumerate(path):
        if part not in model.model_fields:
            inside = ".".join(path[:depth])
            valid = list(model.model_fields)
            place = f" of `{inside}`" if inside else ""
            return (
                f"unknown key `{'.'.join(path[: depth + 1])}`{_nearest(part, valid)}; keys{place}: {', '.join(valid)}"
            )
        annotation = model.model_fields[part].annotation
        nested = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not nested:
            return None if depth == len(path) - 1 else f"`{'.'.join(path[: depth + 1])}` has no keys below it"
        model = nested[0]
    return None


def _nearest(word: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else ""
