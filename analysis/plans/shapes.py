"""The forms as :mod:`analysis.engine.belief` takes them, with the prior that a study of anything may start from.

Exponents are positive: their logs have the prior, median 0.3, two thirds between 0.15 and 0.6, where the published ones
lie. The floor and the falling terms are shares of the loss at the middle of the candidates, known to a factor e or two.
Coordinates: rows of centred log params, centred log data (seen), and log epochs where data repeat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.engine.belief import Shape
from analysis.engine.coupled_terms import CoupledTerms
from analysis.engine.terms import PowerTerms, RepeatedTerms
from analysis.errors import BadRequest

REACH = 1.5
NARROWEST = 0.1  # spread of logs below which a coordinate hardly varies
# name: prior mean, sd; whether it is a log of a part of the loss; whether the law takes its exponential
_PRIOR = {
    "E": (-0.5, 1.0, True, False),
    "A": (-1.5, 1.0, True, False),
    "B": (-1.5, 1.0, True, False),
    "alpha": (np.log(0.3), 0.7, False, True),
    "beta": (np.log(0.3), 0.7, False, True),
    "p": (0.0, 0.2, False, False),
    "q": (0.0, 0.1, False, False),
    "R": (np.log(10.0), 1.2, False, False),
}
_PARAMETERS = {
    "power": ("E", "A", "alpha"),
    "tied": ("E", "A", "alpha", "B", "alpha"),
    "chinchilla": ("E", "A", "alpha", "B", "beta"),
    "coupled": ("E", "A", "alpha", "B", "beta", "p", "q"),
    "repeated": ("E", "A", "alpha", "B", "beta", "R"),
}
_TERMS = {
    "power": lambda x: PowerTerms(x[:1], True),
    "tied": lambda x: PowerTerms(x[:2], True),
    "chinchilla": lambda x: PowerTerms(x[:2], True),
    "coupled": lambda x: CoupledTerms(x[:2]),
    # less than one pass: that share of the data was seen once
    "repeated": lambda x: RepeatedTerms(x[0], x[1] - np.maximum(x[2], 0.0), np.expm1(np.maximum(x[2], 0.0))),
}
FORMS = tuple(_PARAMETERS)


def shape_of(name: str) -> Shape:
    """The form of that name."""
    listed = _PARAMETERS[name]
    own = tuple(dict.fromkeys(listed))
    table = np.array([_PRIOR[parameter] for parameter in own], dtype=float)
    spread = np.array([[one == other for other in own] for one in listed], dtype=float)
    logged = table[:, 3] > 0

    def natural(phi: np.ndarray) -> np.ndarray:
        return np.where(logged, np.exp(np.clip(np.where(logged, phi, 0.0), -20, 5)), phi)

    def expand(phi: np.ndarray) -> np.ndarray:
        return natural(phi) @ spread.T

    def slopes(phi: np.ndarray) -> np.ndarray:
        return spread * np.where(logged, natural(phi), 1.0)[:, None, :]

    return Shape(name, _TERMS[name], expand, slopes, table[:, 0], table[:, 1], table[:, 2] > 0)


def coordinates(table: pd.DataFrame, forms: Sequence[str], which: str) -> np.ndarray:
    """(k, n): log params; log data seen, where a form asks for it; log epochs, where data repeat.

    Raises:
        BadRequest: a column is missing, or holds what is not a positive number.
    """

    def log_of(name: str) -> np.ndarray:
        if name not in table:
            wants = [form for form in forms if form != "power"] if name != "params" else list(forms)
            have = ", ".join(map(str, table))
            raise BadRequest(
                f"the {which} have no column {name!r}, which {', '.join(wants)} asks for; they have {have}"
            )
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
        if not (np.isfinite(values) & (values > 0)).all():
            bad = table.index[~(np.isfinite(values) & (values > 0))][0]
            raise BadRequest(f"{name} of row {bad!r} of the {which} is {table[name][bad]!r}; it is a positive number")
        return np.log(values)

    rows = [log_of("params")]
    if set(forms) == {"power"}:
        return np.stack(rows)
    repeats = "repeated" in forms or {"unique", "epochs"} <= set(table)
    if repeats:
        epochs = log_of("epochs")
        return np.stack([*rows, log_of("unique") + epochs, epochs])
    return np.stack([*rows, log_of("data")])


def reach_of(x: np.ndarray) -> np.ndarray:
    """(k,) how far the misfit reaches: this many standard deviations of all points, candidates and targets."""
    return REACH * np.maximum(x.std(1), NARROWEST)
