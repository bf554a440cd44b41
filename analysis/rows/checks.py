"""Input checks that every fit makes before it computes anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.errors import CannotFit, Note

SHOWN_ROWS = 8  # a sentence that lists hundreds of rows is not read


def name_rows(rows: Sequence[int] | np.ndarray, first: int = 0) -> str:
    """``rows 3, 5 and 9``; at most eight are written out."""
    return f"row{'s' if len(rows) > 1 else ''} {listed([str(int(row) + first) for row in rows])}"


def spread(count: int, most: int) -> np.ndarray:
    """Positions of at most `most` of `count` things: an even choice, the last among them."""
    most = min(count, most)
    return -(-count * np.arange(1, most + 1) // max(most, 1)) - 1


def listed(names: Sequence[str]) -> str:
    """``a, b, c and 4 more``; at most eight are written out."""
    more = f" and {len(names) - SHOWN_ROWS} more" if len(names) > SHOWN_ROWS else ""
    return ", ".join(names[:SHOWN_ROWS]) + more


def column(name: str, values) -> np.ndarray:
    """One input as a float vector, all finite and above zero.

    Args:
        name: what the values are called in the sentence of a refusal.
        values: (n,) numbers, any array-like.

    Raises:
        CannotFit: ``not_finite`` or ``not_positive``, with the rows (counted from 0).
        ValueError: not one-dimensional, or text where numbers belong.
    """
    array = _numbers(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; a fit needs one value a row")
    if len(array) == 0:
        raise CannotFit("too_few_sizes", f"{name} is empty; a fit needs rows", 0)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise CannotFit(
            "not_finite",
            f"{name} is missing or infinite in {name_rows(bad)}; leave those rows out or repair them",
            len(bad),
            tuple(bad),
        )
    bad = np.flatnonzero(array <= 0)
    if len(bad):
        raise CannotFit(
            "not_positive",
            f"{name} is not above zero in {name_rows(bad)} (first: {array[bad[0]]:g}); a power law is defined above "
            "zero only",
            float(array[bad[0]]),
            tuple(bad),
        )
    return array


def _numbers(name: str, values) -> np.ndarray:
    """As floats; what numpy masks is missing."""
    if np.ma.isMaskedArray(values):
        values = values.astype(float).filled(np.nan)
    kind = np.asarray(values).dtype.kind
    if kind in "mMc":
        raise ValueError(f"{name} holds {'complex numbers' if kind == 'c' else 'dates or times'}; give real numbers")
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds something that is not a number ({error}); give numbers only") from error


def same_length(**columns: np.ndarray) -> int:
    """The common length of all columns.

    Raises:
        ValueError: they differ.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"the inputs differ in length ({listed}); give one value a row in each")
    return next(iter(lengths.values()))


def weights_or_ones(weights, rows: int) -> np.ndarray:
    """Multiplicity weights, (n,); None gives ones.

    Raises:
        CannotFit: a weight that is not finite, or below zero, or all zero.
    """
    if weights is None:
        return np.ones(rows)
    array = _numbers("weights", weights)
    same_length(weights=array, rows=np.empty(rows))
    if not np.isfinite(array).all() or (array < 0).any() or array.sum() <= 0:
        bad = np.flatnonzero(~np.isfinite(array) | (array < 0))
        which = name_rows(bad) if len(bad) else "all are 0"
        raise CannotFit(
            "not_positive",
            f"weights must be finite and not negative, and not all zero; {which}",
            len(bad),
            tuple(bad),
        )
    return array


def run_codes(runs, rows: int) -> np.ndarray:
    """Integer code of the run that each row came from; None makes each row its own run.

    Raises:
        CannotFit: ``not_finite`` where a row names no run.
    """
    if runs is None:
        return np.arange(rows)
    import pandas as pd

    codes, _ = pd.factorize(np.asarray(runs, dtype=object))
    same_length(runs=codes, rows=np.empty(rows))
    bad = np.flatnonzero(codes < 0)
    if len(bad):
        raise CannotFit(
            "not_finite", f"runs names no run in {name_rows(bad)}; every row needs one", len(bad), tuple(bad)
        )
    return codes


def group_sizes(values: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Integer code of each distinct positive value; values within a relative `tolerance` are one size.

    The tolerance is tiny on purpose: it forgives units (a value times 1e-9 and back), never real differences.
    """
    order = np.argsort(values, kind="stable")
    steps = np.diff(np.log(values[order])) > tolerance
    codes = np.empty(len(values), dtype=int)
    codes[order] = np.concatenate([[0], np.cumsum(steps)])
    return codes


def bins(values: np.ndarray, width: float) -> np.ndarray:
    """Integer code of each positive value, by rising value; no code spans more than a relative `width`.

    Unlike :func:`group_sizes` it never joins neighbour to neighbour, so a dense table does not become one group.
    """
    order = np.argsort(values, kind="stable")
    codes, code, first = np.empty(len(values), dtype=int), -1, -np.inf
    for place in order:
        if values[place] > first * (1 + width) or code < 0:
            code, first = code + 1, values[place]
        codes[place] = code
    return codes


def require_sizes(found: int, parameters: int, what: str) -> tuple[Note, ...]:
    """Refuse below `parameters` + 1 distinct sizes, note at one degree of freedom.

    Raises:
        CannotFit: ``too_few_sizes`` with the number found.
    """
    if found < parameters + 1:
        what = what.removesuffix("s") if found == 1 else what
        raise CannotFit(
            "too_few_sizes",
            f"{found} distinct {what} for {parameters} parameters; a fit that can be "
            f"wrong needs at least {parameters + 1}: add sizes or fix a parameter",
            found,
        )
    if found == parameters + 1:
        return (
            Note(
                "too_few_sizes",
                f"{found} distinct {what} for {parameters} parameters leave one degree of "
                "freedom: the fit can hardly fail, so its agreement says little",
                found,
            ),
        )
    return ()
