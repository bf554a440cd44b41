"""Columns of a user's table as numbers, with a sentence and row numbers for everything that cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd

from analysis.checks import SHOWN_ROWS
from analysis.errors import CannotFit, Note

# A hole this wide between two neighbouring sizes is a change of unit, not of size: no ladder skips five decades.
UNIT_GAP = 1e5


@dataclass(frozen=True)
class Columns:
    """Which column plays which part; None where the table has none.

    Attributes:
        params: model size N.
        data: tokens or images seen D.
        compute: training FLOPs C.
        targets: losses or error rates, one law each.
        run: the run that a row came from.
        budget: rows of one budget are compared with one another.
        cell: a run without its seed; seeds of one cell are averaged before the frontier is taken.
    """

    params: str | None = None
    data: str | None = None
    compute: str | None = None
    targets: tuple[str, ...] = ()
    run: str | None = None
    budget: str | None = None
    cell: str | None = None


STUDY_TARGETS = ("loss_all_scales", "loss_last_scale", "error_all_scales", "error_last_scale")


def study_columns(
    rows: pd.DataFrame,
    params: str = "params_total",
    compute: str = "train_flops",
    targets: tuple[str, ...] | None = None,
) -> Columns:
    """The parts that the columns of a study's rows play."""
    if targets is None:
        fids = tuple(
            name for name in rows if name.startswith("fid_corrected_") and pd.api.types.is_numeric_dtype(rows[name])
        )
        targets = tuple(name for name in STUDY_TARGETS if name in rows) + fids
    for name in (params, compute, *targets):
        require(rows, name)
    return Columns(
        params,
        "images_seen",
        compute,
        targets,
        "trial",
        "images_asked" if "images_asked" in rows else "images_seen",
        "cell" if "cell" in rows else None,
    )


def run_names(table: pd.DataFrame, columns: Columns) -> np.ndarray:
    """The run of each row; without a run column each row is its own."""
    return np.arange(len(table)) if columns.run is None else table[columns.run].to_numpy()


# Compared without capitals, spaces and signs ("Training Tokens" is trainingtokens), except single letters: n may count.
GUESSES = {
    "params": ("params", "params_total", "n_params", "num_params", "parameters", "parameter_count", "model_size", "N")
    + ("size", "x"),
    "data": ("data", "n_tokens", "num_tokens", "tokens", "training_tokens", "train_tokens", "tokens_seen")
    + ("images_seen", "images", "D"),
    "compute": ("compute", "train_flops", "train_flop", "training_flops", "training_flop", "flops", "flop", "C"),
    "targets": ("loss", "loss_all_scales", "val_loss", "validation_loss", "eval_loss", "test_loss", "L", "y"),
    "run": ("run", "trial", "group"),
}


def _plain(name: str) -> str:
    """A column's name as guesses compare it."""
    return name if len(name) == 1 else "".join(letter for letter in name.lower() if letter.isalnum())


def csv_columns(
    table: pd.DataFrame,
    x: str | None = None,
    y: tuple[str, ...] = (),
    data: str | None = None,
    compute: str | None = None,
    group: str | None = None,
    budget: str | None = None,
) -> Columns:
    """The parts that the columns of somebody's CSV play: as asked for, else by their usual names.

    Raises:
        ValueError: a column that was asked for, or that every fit needs, is not there.
    """
    for name in (x, *y, data, compute, group, budget):
        if name is not None:
            require(table, name)

    def guess(part: str) -> str | None:
        known = {_plain(str(name)): str(name) for name in reversed(table.columns)}
        return next((known[_plain(name)] for name in GUESSES[part] if _plain(name) in known), None)

    targets = y or tuple(name for name in (guess("targets"),) if name)
    if not targets:
        raise ValueError(f"no loss column among {', '.join(table.columns)}; name it with --y")
    params = x or guess("params")
    if params is None and compute is None and guess("compute") is None:
        raise ValueError(f"no size column among {', '.join(table.columns)}; name it with --x")
    # a column that was not asked for joins only where the caller named none at all
    named = x is not None
    return Columns(
        params,
        data or (None if named else guess("data")),
        compute or (None if named else guess("compute")),
        targets,
        group or guess("run"),
        budget,
    )


def require(table: pd.DataFrame, name: str) -> None:
    """Raise a ValueError with the nearest name where the table lacks a column."""
    if name in table:
        return
    near = get_close_matches(name, [str(column) for column in table.columns], 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no column {name!r}; the table has {', '.join(map(str, table.columns))}{hint}")


def without_missing(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """The table without the rows that hold no target, and a note for each target on the rows that its laws lack.

    Where some targets of a row are empty and others are not, the row stays and its empty ones are NaN.

    Raises:
        CannotFit: ``not_finite`` where a target is empty in every row.
    """
    table, notes = table.copy(), []
    targets = list(columns.targets)
    for name in targets:
        values = pd.to_numeric(table[name], errors="coerce")
        empty = table[name].isna() | np.isinf(values)
        if empty.all():
            raise CannotFit("not_finite", f"column {name!r} is empty or infinite in every row", len(table))
        rows = np.flatnonzero(empty.to_numpy())
        if len(rows):
            words = f"{name} is empty or infinite in {_rows(rows)}: not in its laws"
            notes.append(Note("rows_left_out", words, len(rows), tuple(int(row) for row in rows)))
            table[name] = table[name].mask(empty)
    return table[table[targets].notna().any(axis=1)], tuple(notes)


def check_table(
    table: pd.DataFrame, columns: Columns, keep_duplicates: bool = False, gaps: bool = False
) -> pd.DataFrame:
    """The table with every used column as numbers.

    Rows are counted from 1, the header not included, as a spreadsheet's reader would.

    Args:
        table: as read; its index says which row of the file each is, from 0.
        columns: which are used.
        keep_duplicates: equal rows stay.
        gaps: targets may be empty; see :func:`without_missing`.

    Raises:
        CannotFit: ``not_finite``, ``not_positive``, ``mixed_conventions`` (a unit changes within a column).
        ValueError: text in a number column, or rows given twice.
    """
    table = table.copy()
    numeric = [name for name in (columns.params, columns.data, columns.compute, *columns.targets) if name]
    for name in dict.fromkeys(numeric):
        table[name] = numbers(table, name, gaps and name in columns.targets)
    for name in dict.fromkeys(part for part in (columns.params, columns.data, columns.compute) if part):
        _one_unit(table[name])
    used = [name for name in dict.fromkeys([*numeric, columns.run, columns.budget]) if name]
    twice = table.index[table.duplicated(used)]
    if len(twice) and not keep_duplicates:
        raise ValueError(
            f"{_rows(twice)}: a repeat of an earlier row in every column used ({', '.join(used)}); drop it, name the "
            "runs with --group, or keep them with --keep-duplicates, which counts each as a run of its own"
        )
    return table


def numbers(table: pd.DataFrame, name: str, gaps: bool = False) -> pd.Series:
    """One column as finite floats above zero, or with `gaps` NaN; see :func:`check_table`."""
    raw = table[name]
    values = pd.to_numeric(raw, errors="coerce")
    text = table.index[values.isna() & raw.notna()]
    if len(text):
        raise ValueError(
            f"column {name!r} holds text in {_rows(text)} (first: {str(raw[text[0]])!r}); give numbers only"
        )
    empty = table.index[~np.isfinite(values)]
    if len(empty) and not gaps:
        raise CannotFit(
            "not_finite",
            f"column {name!r} is empty or infinite in {_rows(empty)}; fill those rows or drop them (empty losses of a "
            "CSV: --drop-missing)",
            len(empty),
            tuple(empty),
        )
    low = table.index[values <= 0]
    if len(low):
        raise CannotFit(
            "not_positive",
            f"column {name!r} is {values[low[0]]:g} in {_rows(low)}; a power law is defined above zero only",
            float(values[low[0]]),
            tuple(low),
        )
    return values.astype(float)


def _one_unit(column: pd.Series) -> None:
    values = column.sort_values()
    steps = values.to_numpy()[1:] / values.to_numpy()[:-1]
    if not len(steps) or steps.max() < UNIT_GAP:
        return
    at = int(steps.argmax())
    small, large = values.index[: at + 1].sort_values(), values.index[at + 1 :].sort_values()
    fewer = small if len(small) <= len(large) else large
    raise CannotFit(
        "mixed_conventions",
        f"column {column.name!r} jumps by a factor {steps.max():.2g} between {values.iloc[at]:g} and "
        f"{values.iloc[at + 1]:g}: {_rows(fewer)} look like another unit (billions beside units?); give one unit",
        float(steps.max()),
        tuple(int(row) for row in fewer),
    )


def _rows(rows: np.ndarray | pd.Index) -> str:
    shown = ", ".join(str(int(row) + 1) for row in rows[:SHOWN_ROWS])
    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"
