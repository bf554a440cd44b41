"""What is hashed, and how: the identity of a trial or a stage, its id, and the difference between two of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from var_scaling.config.base import Neutral, Strict
from var_scaling.config.evaluate import FidEvaluation
from var_scaling.planning.trial import NOT_IDENTITY, TrialConfig

Identity = dict[str, Any]


def canonical(config: BaseModel, without: frozenset[str] = frozenset()) -> Identity:
    """A resolved config as plain values: no `None`, and no field that holds its neutral value.

    Raises:
        TypeError: a value with no stable form.
    """
    result: Identity = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if name in without or any(isinstance(m, Neutral) and m.value == value for m in field.metadata):
            continue
        if isinstance(config, Strict) and name in config.unhashed:
            continue
        if isinstance(value, BaseModel):
            result[name] = _section(value)
        elif value is None:
            raise TypeError(f"{type(config).__name__}.{name} is None: only a resolved config has an identity")
        elif isinstance(value, bool | int | float | str):
            result[name] = value
        elif isinstance(value, tuple) and all(isinstance(v, bool | int | float | str) for v in value):
            result[name] = list(value)
        else:
            raise TypeError(f"{type(config).__name__}.{name} = {value!r} has no stable form")
    return {**result, **(config.model_extra or {})}


@lru_cache(maxsize=4096)
def _section(config: BaseModel) -> Identity:
    """`canonical` of a nested model; a thousand trials share their data and tokenizer. Never changed by its readers."""
    return canonical(config)


def of_trial(config: TrialConfig) -> Identity:
    """The identity of a resolved trial: everything but execution and placement."""
    return {"kind": "trial", **canonical(config, NOT_IDENTITY)}


def evaluation_name(evaluation: FidEvaluation) -> str:
    """Its file in a budget's `evaluations/`."""
    return f"fid-{digest(canonical(evaluation))}.json"


def evaluation_label(evaluation: FidEvaluation) -> str:
    """The name of a FID: all that makes two comparable, in words and, to be complete, as a hash of all but the seed.

    Two evaluations of one label differ in their sampling seed alone and may be averaged; two labels never share an
    axis, a column or a metric.
    """
    fid = evaluation.fid
    how = "".join(
        f"-{n.replace('_', '')}{v:g}" if isinstance(v, int | float) and not isinstance(v, bool) else f"-{v}"
        for n, v in fid.sampler.items()
        if v and n != "guidance"
    )
    guidance = fid.sampler.get("guidance", 0.0)
    shares = "" if fid.labels == "reference" else f"-{fid.labels}"
    how += "" if fid.precision == "float32" else f"-{fid.precision}"
    how += "" if fid.candidates == 1 else f"-{'best' if fid.choice == 'each' else 're'}{fid.candidates}"
    same = canonical(evaluation) | {"fid": canonical(fid, frozenset({"seed"}))}
    return f"{fid.features}-{fid.reference}-{fid.samples}{shares}-g{guidance:g}{how}-{digest(same)[:6]}"


def digest(identity: Mapping[str, Any]) -> str:
    """Twelve hex digits of the hash of an identity; independent of the order of keys."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def cell(identity: Identity) -> str:
    """The id of a trial without its seed."""
    return digest({k: v for k, v in identity.items() if k != "seed"})


def flatten(identity: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves as (dotted path, value); lists become tuples, so that a leaf can be hashed."""
    for key, value in identity.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", tuple(value) if isinstance(value, list) else value


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Fields that differ, as (path, value in a, value in b); absent is None."""
    left, right = dict(flatten(a)), dict(flatten(b))
    return [(k, left.get(k), right.get(k)) for k in dict.fromkeys([*left, *right]) if left.get(k) != right.get(k)]


def provisional(identity: Mapping[str, Any]) -> bool:
    """Whether an image folder or weights of this identity have not been read yet, so that its id may still change."""
    tokenizer = identity.get("tokenizer", {})
    return "provisional" in (
        dict(identity.get("data", {})).get("version"),
        tokenizer.get("weights") if isinstance(tokenizer, Mapping) else None,
    )
