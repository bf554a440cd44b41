"""The literature as data: each number with its source and how it was obtained.

Marks in the `status` columns: read (in the source), read in a note (in a summary of it), run or measured (by us),
derived (arithmetic on those), recalled (from memory: do not rely on it). Only numbers were taken.

Units are those of the sources: VAR's laws take N in billions of parameters, C in 1e15 operations, errors as fractions
and losses after a constant was subtracted (4.5 nats for the last scale, 5.0 for all). None of that is said beside its
equations; only these readings reproduce its own numbers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.csv")))
PFDAY = 8.64e19  # floating point operations in one petaflop/s-day


@cache
def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv")


def load(name: str) -> pd.DataFrame:
    """One table, by the name of its file.

    Raises:
        ValueError: no such table; the message lists those there are.
    """
    if name not in NAMES:
        raise ValueError(f"no published table {name!r}; there are {', '.join(NAMES)}")
    return _table(name).copy()


def var_law(quantity: str, scales: str, against: str, version: str = "corrected") -> pd.Series:
    """One of VAR's laws: y - offset = (beta x)^alpha, x in the unit that `x_unit` names.

    Args:
        quantity: "loss" or "error".
        scales: "last" or "all".
        against: "params" or "compute".
        version: "printed", or "corrected" (which differs for compute only).
    """
    table = load("var_laws")
    version = "printed" if against == "params" else version
    found = table[
        (table["quantity"] == quantity)
        & (table["scales"] == scales)
        & (table["against"] == against)
        & (table["version"] == version)
    ]
    if len(found) != 1:
        raise ValueError(f"no law of {quantity}, {scales} scales, against {against}, {version}")
    return found.iloc[0]


def var_self_check(params_billions: tuple[float, ...] = (2.01002, 0.3102835, 0.01849258)) -> pd.DataFrame:
    """The check that finds the swapped labels: all four laws must imply one compute for one model.

    The N laws give a model's losses and errors; inverting the four compute laws at those values gives its compute four
    times over. As printed the four answers differ ten-thousandfold, with the labels swapped back they agree.

    Args:
        params_billions: models to check; the defaults are VAR-d30, d16 and d6.

    Returns:
        One line a (model, version): params, version, the compute (1e15 operations) by each law, and spread, the largest
        over the smallest.
    """
    lines = []
    for version in ("printed", "corrected"):
        for params in params_billions:
            line: dict = {"params": params * 1e9, "version": version}
            for quantity in ("loss", "error"):
                for scales in ("last", "all"):
                    size = var_law(quantity, scales, "params")
                    compute = var_law(quantity, scales, "compute", version)
                    value = (size["beta"] * params) ** size["alpha"]
                    line[f"{quantity}_{scales}"] = value ** (1 / compute["alpha"]) / compute["beta"]
            answers = np.array([line[name] for name in line if name not in ("params", "version")])
            lines.append(line | {"spread": float(answers.max() / answers.min())})
    return pd.DataFrame(lines)
