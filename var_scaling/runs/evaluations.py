"""The evaluations of one budget as a study asked for them: its own files alone, sampling seeds as mean and spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from var_scaling.runs import layout, store

# What sampling decides, and so differs between seeds; all else in an evaluation is its setting.
MEASURED = (
    "fid",
    "fid_corrected",
    "fid_reference_bias",
    "kid",
    "precision",
    "recall",
    "inception_score",
    "class_agreement",
    "copies",
)
INTERVALS = {"fid_corrected": "fid", "kid": "kid"}  # names begin those of their ends, ..._low and ..._high


def read_evaluations(budget: Path, names: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """By label, in the order of the names.

    Args:
        budget: folder of a budget.
        names: files in its `evaluations/` that the study asks for; another study's are not looked at.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name in names:
        if value := store.read_json(layout.evaluation(budget, name)):
            found.setdefault(str(value.get("label", value.get("kind", "evaluation"))), []).append(value)
    return {label: pooled(values) for label, values in found.items()}


def pooled(values: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Several sampling seeds as one: means, the interval of the mean, and `fid_spread`, the standard deviation.

    The samples of two seeds are independent, so that margins add as squares.
    """
    if len(values) == 1:
        return values[0]
    found = {key: value for key, value in values[0].items() if key != "seed"} | {"seeds": len(values)}
    for key in MEASURED:
        numbers = [value[key] for value in values if key in value]
        if not numbers:
            continue
        found[key] = statistics.fmean(numbers)
        if key in INTERVALS:
            low, high = f"{INTERVALS[key]}_low", f"{INTERVALS[key]}_high"
            margins = [(value[high] - value[low]) / 2 for value in values if low in value]
            margin = math.hypot(*margins) / len(numbers)
            found |= {low: found[key] - margin, high: found[key] + margin}
            found[f"{INTERVALS[key]}_spread"] = statistics.stdev(numbers) if len(numbers) > 1 else 0.0
    return found
