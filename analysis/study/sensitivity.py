"""Which rows and conventions decide the answer: fits repeated with something left out or counted differently.

On Chinchilla's rows the allocation exponent moves from 0.565 to 0.460 as the 0 to 30 highest losses are dropped, with a
published standard error of 0.020 (laws.md, finding 5): this curve belongs beside every interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from analysis.errors import CannotFit
from analysis.laws.law import Law
from analysis.rows import checks

Fit = Callable[[np.ndarray], Law]  # takes a boolean mask of rows
MOST_SIZES, GROUPS = 24, 12  # more sizes than that are dropped a twelfth at a time


def drop_worst(fit: Fit, y: np.ndarray, names: tuple[str, ...], counts: Iterable[int] | None = None) -> pd.DataFrame:
    """Refit without the k highest losses.

    Args:
        fit: takes the mask of rows to use.
        y: (n,) losses.
        names: coefficients or derived numbers to report.
        counts: values of k; None takes 0 to an eighth of the rows.

    Returns:
        Columns dropped, each name, refused (a code, or empty).
    """
    rows = len(y)
    if counts is None:
        counts = sorted({int(k) for k in np.unique(np.round(np.linspace(0, rows / 8, 7)))})
    order = np.argsort(-y, kind="stable")
    lines = []
    for count in counts:
        mask = np.ones(rows, bool)
        mask[order[:count]] = False
        lines.append({"dropped": count} | _numbers(fit, mask, names))
    return pd.DataFrame(lines)


def drop_each_size(fit: Fit, x: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Refit without each size in turn, of many each twelfth: columns size (its middle), each name, refused."""
    codes = checks.group_sizes(x)
    if codes.max() + 1 > MOST_SIZES:
        codes = codes * GROUPS // (codes.max() + 1)
    lines = []
    for code in range(codes.max() + 1):
        lines.append({"size": float(np.median(x[codes == code]))} | _numbers(fit, codes != code, names))
    return pd.DataFrame(lines)


def deltas(
    fit: Callable[[float], Law], names: tuple[str, ...], values: Iterable[float] = (1e-4, 1e-3, 1e-2, 1e-1, np.inf)
) -> pd.DataFrame:
    """Refit with other switch points of Huber's loss: columns delta, each name, refused."""
    return pd.DataFrame(
        [{"delta": delta} | _numbers(lambda _, delta=delta: fit(delta), np.empty(0, bool), names) for delta in values]
    )


def conventions(fits: dict[str, Callable[[], Law]], names: tuple[str, ...]) -> pd.DataFrame:
    """The same fit under other counts of N or C: columns convention, each name, refused."""
    return pd.DataFrame(
        [
            {"convention": name} | _numbers(lambda _, fit=fit: fit(), np.empty(0, bool), names)
            for name, fit in fits.items()
        ]
    )


def _numbers(fit: Fit, mask: np.ndarray, names: tuple[str, ...]) -> dict:
    try:
        law = fit(mask)
    except CannotFit as refusal:
        return {name: np.nan for name in names} | {"refused": refusal.code}
    values = law.estimator.natural(law.estimator.theta[None])
    return {name: float(values[name][0]) for name in names} | {"refused": ""}
