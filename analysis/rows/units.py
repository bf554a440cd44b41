"""One column has one unit: holes that no ladder has, in a column and between columns.

The test of the curve is there for tables in N and D without compute: with the larger 30, 50 or 70 % of the sizes, or
of the tokens, of Epoch AI's Chinchilla rows in millions it finds all six tables, which no other test does, and says
nothing of the rows as they are. In thousands it finds none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from analysis.errors import CannotFit
from analysis.rows.checks import name_rows
from analysis.rows.columns import Columns

# A hole this wide between two neighbouring sizes is a change of unit, not of size: no ladder skips five decades.
UNIT_GAP = 1e5
# A narrower hole is one where a rescaled side fills it and the losses then lie far better on one curve.
HOLE, FAR_BETTER, RESCALES = 30.0, 10.0, (1e3, 1e6, 1e9, 1e-3, 1e-6, 1e-9)
COMPUTE_GAP, SHARE_GAP = 100.0, 1e4  # in C / (6 N D) and in D / N, which range less than sizes do
EXPONENTS = np.geomspace(0.05, 1, 8)


@dataclass(frozen=True)
class _Hole:
    """Between two neighbouring values of a column; `rows` are those of the side that has fewer."""

    factor: float
    before: float
    after: float
    rows: pd.Index

    def refusal(self, name: str, why: str) -> CannotFit:
        return CannotFit(
            "mixed_conventions",
            f"{name} jumps by a factor {self.factor:.2g} between {self.before:g} and {self.after:g}: "
            f"{name_rows(self.rows, 1)} look like another unit ({why}); give one unit",
            self.factor,
            tuple(int(row) for row in self.rows),
        )


def _holes(values: pd.Series, least: float) -> list[_Hole]:
    """Those of a factor `least` or more, widest first."""
    values = values.sort_values()
    steps = values.to_numpy()[1:] / values.to_numpy()[:-1]
    found = []
    for at in np.flatnonzero(steps >= least):
        small, large = values.index[: at + 1].sort_values(), values.index[at + 1 :].sort_values()
        fewer = small if len(small) <= len(large) else large
        found.append(_Hole(float(steps[at]), float(values.iloc[at]), float(values.iloc[at + 1]), fewer))
    return sorted(found, key=lambda hole: -hole.factor)


def one_unit(column: pd.Series) -> None:
    for hole in _holes(column, UNIT_GAP):
        raise hole.refusal(f"column {column.name!r}", "billions beside units?")


def units_agree(table: pd.DataFrame, columns: Columns) -> None:
    """Raise where size, data, compute and the loss say that one of them changes its unit."""
    inputs = {name: table[name] for name in (columns.params, columns.data) if name}
    if columns.data is None and columns.unique and columns.epochs:
        inputs[f"{columns.unique} x {columns.epochs}"] = table[columns.unique] * table[columns.epochs]
    if columns.params and len(inputs) == 2:
        (params, sizes), (data, amounts) = inputs.items()
        if columns.compute:
            for hole in _holes(table[columns.compute] / (6 * sizes * amounts), COMPUTE_GAP):
                raise hole.refusal(f"{columns.compute} / (6 {params} {data})", "one of the three columns is")
        for hole in _holes(amounts / sizes, SHARE_GAP):
            raise hole.refusal(f"{data} / {params}", "one of the two columns is")
    elif columns.compute and not inputs:
        inputs[columns.compute] = table[columns.compute]
    for name, values in inputs.items() if columns.targets else ():
        holes = _holes(values, HOLE)
        for hole, scale in product(holes, RESCALES):
            other = values.where(~values.index.isin(hole.rows), values * scale)
            if len(_holes(other, HOLE)) >= len(holes):
                continue
            loss, others = table[columns.targets[0]], inputs | {name: other}
            if FAR_BETTER * _misfit(loss, *others.values()) < _misfit(loss, *inputs.values()):
                raise hole.refusal(f"column {name!r}", f"times {scale:g} they lie on the curve of the others")


def _misfit(loss: pd.Series, *inputs: pd.Series) -> float:
    """Squared relative residuals of E + A / N^alpha (+ B / D^beta) at the best of a few exponents; 0 for few rows."""
    from scipy.optimize import nnls

    used = loss.notna()
    varying = [values[used] / values[used].min() for values in inputs if values[used].nunique() > 1]
    if used.sum() < 2 * (1 + 2 * len(varying)):
        return 0.0
    level = 1 / loss[used].to_numpy()
    terms = [[values.to_numpy() ** -power * level for power in EXPONENTS] for values in varying]
    ones = np.ones(len(level))
    return min(float(nnls(np.stack([level, *chosen], 1), ones)[1]) ** 2 for chosen in product(*terms))
