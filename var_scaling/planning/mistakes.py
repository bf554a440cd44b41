"""How the mistakes of a sweep file are told: file, line, path, what was wrong and expected, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from var_scaling.config import yaml
from var_scaling.planning.trial import trial_type

OVERRIDE = 0  # the "line" of a key that the command line has set
Path = tuple[str, ...]


def line_of(where: Path, lines: yaml.Lines) -> str:
    """Where something stands, or the nearest thing around it: `, line 12`."""
    while where and where not in lines:
        where = where[:-1]
    return "" if not where else " with --set" if lines[where] == OVERRIDE else f", line {lines[where]}"


def sentences(
    error: ValidationError,
    model: type[BaseModel],
    name: str,
    lines: yaml.Lines,
    raw: Any,
    prefixes: Sequence[Path] = ((),),
    grid: Mapping[str, Any] | None = None,
) -> list[str]:
    """One sentence for each error.

    Args:
        error: pydantic's.
        model: what was validated.
        name: of the file.
        lines: of every key of the file.
        raw: the values that were validated.
        prefixes: where in the file the values came from, the first that has a key wins (a variant, then the base).
        grid: the axes of the grid, whose values come before all.
    """
    told: dict[str, None] = {}
    for path, entries in _by_place(error, raw):
        dotted = ".".join(path)
        key = next((k for k in grid or () if dotted == k or dotted.startswith(k + ".")), None)
        own = [(*prefix, *path) for prefix in prefixes if (*prefix, *path) in lines]
        line = line_of(("grid", key) if key else own[0] if own else (*prefixes[-1], *path), lines)
        entry = entries[0]
        if entry["type"] == "extra_forbidden":
            text = unknown_key(model, list(path)) or f"`{dotted}` is not known here"
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
                text += nearest(entry["input"], valid)
        told[f"{name}{line}: {text}"] = None
    return list(told)


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


def unknown_key(model: type[BaseModel], path: list[str]) -> str | None:
    """Why a dotted path names no field, or None where it does."""
    root = model
    for depth, part in enumerate(path):
        if part not in model.model_fields:
            inside = ".".join(path[:depth])
            valid = list(model.model_fields)
            place = f" of `{inside}`" if inside else ""
            meant = _elsewhere(root, part) or nearest(part, valid)
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
    """Every field at and below a model, dotted; what a study's base (a plain mapping there) may hold, too."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        nested = [trial_type({})] if name == "base" and not prefix else _nested(field.annotation)
        for inner in nested:
            yield from _paths(inner, f"{prefix}{name}.")


def nearest(word: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f" (did you mean `{close[0]}`?)" if close else ""
