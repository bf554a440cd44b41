"""A sweep's laws.json as numbers to compare sweeps by, and as its headline. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from var_scaling.tracking.rows import short

EXPONENTS = ("alpha", "beta", "eta")  # of which a power law has the first; its beta is a scale


def law_metrics(document: Mapping[str, Any]) -> dict[str, float]:
    """Exponents, floor and held-out error of every law in the form that held out best."""
    found: dict[str, float] = {}
    for law in _preferred(document):
        name = _metric_name(law)
        for exponent, value in _exponents(law).items():
            found[f"{name}/{exponent}"] = value
        if isinstance(floor := law["coefficients"].get("E"), int | float):
            found[f"{name}/floor"] = float(floor)
        for test in (law.get("backtests") or [])[-1:]:
            found[f"{name}/held_out_error_percent"] = 100 * float(test["error"])
    return found


def headline(document: Mapping[str, Any]) -> str:
    """One sentence: how the loss falls with compute, else with what there is a law of; empty without one."""
    laws = list(_preferred(document))
    losses = [law for law in laws if not law["target"].startswith(("error", "fid"))]
    first = next((law for law in losses if law["against"] == "compute"), next(iter(losses or laws), None))
    if first is None:
        return ""
    exponents = _exponents(first)
    said = []
    for name, value in exponents.items():
        low, high = (first.get("intervals") or {}).get(name, (None, None))
        interval = f" [{low:.3g}, {high:.3g}]" if isinstance(low, float) and isinstance(high, float) else ""
        said.append(f"{name} {value:.3g}{interval}")
    text = f"{first['target']} against {_against(first)}: {', '.join(said)}"
    if test := next(iter((first.get("backtests") or [])[-1:]), None):
        text += f"; the largest model, held out, was predicted within {100 * abs(test['error']):.2g} %"
    return text


def _preferred(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Fitted laws, of several forms of one the one that predicted what was held out best."""
    chosen = {
        (form["target"], form["against"], form.get("budget")): form["form"]
        for form in document.get("forms") or ()
        if form.get("preferred")
    }
    seen = set()
    for law in document.get("laws") or ():
        key = (law["target"], law["against"], law.get("budget"))
        form = str(law["name"]).rpartition(", ")[2]
        if law.get("refused") or key in seen or chosen.get(key, form) != form:
            continue
        seen.add(key)
        yield law


def _exponents(law: Mapping[str, Any]) -> dict[str, float]:
    of_two = "B" in law["coefficients"]
    return {
        name: float(value)
        for name, value in law["coefficients"].items()
        if name in EXPONENTS and (name != "beta" or of_two) and isinstance(value, int | float)
    }


def _against(law: Mapping[str, Any]) -> str:
    at = f" at {short(law['budget'])} images" if law.get("budget") else ""
    return f"{law['against'].replace('_', ' ')}{at}"


def _metric_name(law: Mapping[str, Any]) -> str:
    return re.sub(r"[^\w.\- :/]", "_", f"law/{law['target']} against {_against(law)}".replace(", ", " and "))
