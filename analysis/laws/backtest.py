"""Backtests: hide the largest sizes, fit the rest, predict what was hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.errors import CannotFit
from analysis.laws.law import Law
from analysis.rows import checks

ROUNDED = 1e-6  # relative; of an exact law every interval is a point


@dataclass(frozen=True)
class Backtest:
    """One hidden size (or budget) and what the law made of it.

    Attributes:
        inputs: what was predicted, in the law's order of inputs.
        measured: mean over the hidden rows of that point, natural units.
        seeds: how many rows that mean holds.
        predicted: by the law fitted without any hidden row.
        low: of the 95 % interval for the mean of that many new runs.
        high: see `low`.
        law_rows: rows that the law was fitted to.
    """

    inputs: tuple[float, ...]
    measured: float
    seeds: int
    predicted: float
    low: float
    high: float
    law_rows: int

    @property
    def error(self) -> float:
        """Relative error of the prediction; positive where the law said too much."""
        return self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        """Whether the measured value lies inside the interval, or beside it by no more than printed losses round."""
        return self.low <= self.measured <= self.high or abs(self.error) <= ROUNDED

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return {
            "inputs": list(self.inputs),
            "measured": self.measured,
            "seeds": self.seeds,
            "predicted": self.predicted,
            "low": self.low,
            "high": self.high,
            "error": self.error,
            "inside": self.inside,
            "law_rows": self.law_rows,
        }


def hold_out(
    fit: Callable[[np.ndarray], Law], key: np.ndarray, inputs: tuple[np.ndarray, ...], y: np.ndarray, hidden: int = 1
) -> tuple[list[Backtest], CannotFit | None]:
    """Hide the `hidden` largest values of `key`, fit the rest and predict them.

    Args:
        fit: takes a boolean mask of the rows to use, returns the law.
        key: (n,) what is hidden by size, for example the parameters.
        inputs: the law's inputs, each (n,).
        y: (n,) measured.
        hidden: how many distinct values of `key` to hide.

    Returns:
        One entry a hidden point, smallest first, and the refusal where the rest cannot carry a fit.
    """
    codes = checks.group_sizes(key)
    keep = codes <= codes.max() - hidden
    if not keep.any():
        return [], CannotFit("too_few_sizes", f"hiding {hidden} of {codes.max() + 1} sizes leaves nothing to fit", 0)
    try:
        law = fit(keep)
        return [_judge(law, point, keep, inputs, y) for point in _points(keep, inputs)], None
    except CannotFit as refusal:
        return [], refusal


def _points(keep: np.ndarray, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Hidden rows grouped by equal inputs."""
    hidden = np.flatnonzero(~keep)
    table = np.stack([np.round(np.log(values[hidden]), 9) for values in inputs], 1)
    _, codes = np.unique(table, axis=0, return_inverse=True)
    codes = codes.ravel()
    return [hidden[codes == code] for code in range(codes.max() + 1)]


def _judge(law: Law, rows: np.ndarray, keep: np.ndarray, inputs: tuple[np.ndarray, ...], y: np.ndarray) -> Backtest:
    at = tuple(float(values[rows[0]]) for values in inputs)
    low, high = law.prediction_interval(*at, runs=len(rows))
    return Backtest(
        at,
        float(np.mean(y[rows])),
        len(rows),
        float(law.predict(*at)[0]),
        float(low[0]),
        float(high[0]),
        int(keep.sum()),
    )
