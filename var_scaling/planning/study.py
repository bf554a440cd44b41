"""A study (one YAML file): a base config, a grid, budgets and an evaluation; and how its mistakes are told."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
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
        problems = _problems(error, Study, (), name, lines, raw)
        base, grid = (part if isinstance(part, dict) else {} for part in (raw.get("base"), raw.get("grid")))
        lists = {key: values for key, values in grid.items() if isinstance(values, tuple) and values}
        raise RequestProblem(*problems, *_trials(base, lists, name, lines)[1]) from None
    configs, problems = _trials(study.base, study.grid, name, lines)
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
            problems.update(dict.fromkeys(_problems(error, TrialConfig, ("base",), name, lines, raw, known)))
    return configs, list(problems)


def _problems(
    error: ValidationError,
    model: type[BaseModel],
    prefix: tuple[str, ...],
    name: str,
    lines: yaml.Lines,
    raw: Any,
    grid: Mapping[str, Any] | None = None,
) -> list[str]:
    """One sentence for each error: file, line, path, what was wrong, what was expected, the nearest valid name."""
    sentences: dict[str, None] = {}
    for path, entries in _by_place(error, raw):
        dotted = ".".join(path)
        key = next((k for k in grid or () if dotted == k or dotted.startswith(k + ".")), None)
        where = ("grid", key) if key else (*prefix, *path)
        while where and where not in lines:
            where = where[:-1]
        line = "" if not where else " with --set" if lines[where] == OVERRIDE else f", line {lines[where]}"
        entry = entries[0]
        if entry["type"] == "extra_forbidden":
            text = _unknown_key(model, list(path)) or f"`{dotted}` is not known here"
        elif entry["type"] == "missing":
            text = f"`{dotted}` is missing"
        else:
            rules = dict.fromkeys(_rule(one, model, path) for one in entries)
            rule = " or ".join([next(iter(rules)), *(r.removeprefix("input should be ") for r in list(rules)[1:])])
            given = list(entry["input"]) if isinstance(entry["input"], tuple) else entry["input"]
            text = f"`{dotted}` = {given!r}: {rule}" if path else rule
            words = [one for one in entries if one["type"] == "literal_error"]
            if words and isinstance(entry["input"], str):
                valid = str(words[0]["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
                text += _nearest(entry["input"], valid)
        sentences[f"{name}{line}: {text}"] = None
    return list(sentences)


def _by_place(error: ValidationError, raw: Any) -> list[tuple[tuple[str, ...], list[Any]]]:
    """Errors by the place in the file that they are about.

    pydantic reports every branch of a union, with the branch's name in the path. Where one branch got further than
    another (a mapping with one bad value, beside "should be a list"), that is what the user meant.
    """
    found: dict[tuple[str, ...], list[Any]] = {}
    unions: set[tuple[str, ...]] = set()
    for entry in error.errors():
        path: list[str] = []
        here = raw
        for place, part in enumerate(entry["loc"]):
            if isinstance(here, Mapping) and part in here:
                here = here[part]
            elif isinstance(here, tuple) and isinstance(part, int) and part < len(here):
                here = here[part]
            elif entry["type"] == "missing" and place == len(entry["loc"]) - 1:
                here = None
            else:
                unions.add(tuple(path))
                continue
            path.append(str(part))
        found.setdefault(tuple(path), []).append(entry)
    beaten = {
        path
        for path in found
        for longer in found
        if path in unions and len(longer) > len(path) == _common(path, longer)
    }
    return [(path, entries) for path, entries in found.items() if path not in beaten]


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts two paths begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _rule(entry: Any, model: type[BaseModel], path: Sequence[str]) -> str:
    """What was expected, in the words of a YAML file."""
    if entry["type"] in ("model_type", "dict_type"):
        keys = [name for nested in _models_at(model, path) for name in nested.model_fields]
        return f"input should be keys below it: {', '.join(keys)}" if keys else "input should be keys below it"
    rule = str(entry["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    return rule[0].lower() + rule[1:]


def _models_at(model: type[BaseModel], path: Sequence[str]) -> list[type[BaseModel]]:
    """The models that the field at a path may hold."""
    models = [model]
    for part in path:
        models = [n for m in models if part in m.model_fields for n in _nested(m.model_fields[part].annotation)]
    return models


def _nested(annotation: Any) -> list[type[BaseModel]]:
    """Models in an annotation, however deep in unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(model for part in get_args(annotation) for model in _nested(part)))


def _unknown_key(model: type[BaseModel], path: list[str]) -> str | None:
    """Why a dotted path names no field, or None where it does."""
    root = model
    for depth, part in enumerate(path):
        if part not in model.model_fields:
            inside = ".".join(path[:depth])
            valid = list(model.model_fields)
            place = f" of `{inside}`" if inside else ""
            meant = _elsewhere(root, part) or _nearest(part, valid)
            return f"unknown key `{'.'.join(path[: depth + 1])}`{meant}; keys{place}: {', '.join(valid)}"
        annotation = model.model_fields[part].annotation
        nested = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not nested:
            return None if depth == len(path) - 1 else f"`{'.'.join(path[: depth + 1])}` has no keys below it"
        model = nested[0]
    return None


def _elsewhere(root: type[BaseModel], name: str) -> str:
    """Where a field of exactly this name is, for one that was written in another place."""
    places = sorted((path for path in _paths(root, "") if path.rpartition(".")[2] == name), key=lambda p: p.count("."))
    return f" (did you mean {' or '.join(f'`{place}`' for place in places[:3])}?)" if places else ""


def _paths(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Every field at and below a model, dotted; what a study's base may hold, too."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        nested = [TrialConfig] if (model, name) == (Study, "base") else _nested(field.annotation)
        for inner in nested:
            yield from _paths(inner, f"{prefix}{name}.")


def _nearest(word: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else ""
