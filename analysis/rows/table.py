"""Columns of a user's table as numbers, with a sentence and row numbers for everything that cannot be used."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import BadRequest, CannotFit, Note
from analysis.rows.checks import name_rows
from analysis.rows.columns import Columns
from analysis.rows.names import usual
from analysis.rows.units import one_unit, units_agree


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
        rows = table.index[empty]
        if len(rows):
            words = f"{name} is empty or infinite in {name_rows(rows, 1)}: not in its laws"
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
    amounts = [name for name in (columns.params, columns.data, columns.compute, columns.unique) if name]
    numeric = [*amounts, *(name for name in (columns.epochs, columns.loss) if name), *columns.targets]
    for name in dict.fromkeys(numeric):
        table[name] = numbers(table, name, gaps and name in columns.targets)
    for name in dict.fromkeys(amounts):
        one_unit(table[name])
    units_agree(table, columns)
    if columns.budget:
        numbers(table, columns.budget)
    if columns.run:
        _all_named(table[columns.run])
    used = [name for name in dict.fromkeys([*numeric, columns.run, columns.budget, usual(table, "seed")]) if name]
    twice = table.index[table.duplicated(used)]
    if len(twice) and not keep_duplicates:
        raise BadRequest(
            f"{name_rows(twice, 1)}: a repeat of an earlier row in every column used ({', '.join(used)}); drop it, "
            "name the runs with --group, or keep them with --keep-duplicates, which counts each as a run of its own"
        )
    return table


def numbers(table: pd.DataFrame, name: str, gaps: bool = False) -> pd.Series:
    """One column as finite floats above zero, or with `gaps` NaN; see :func:`check_table`."""
    raw = table[name]
    values = pd.to_numeric(raw, errors="coerce")
    text = table.index[values.isna() & raw.notna()]
    if len(text):
        raise BadRequest(
            f"column {name!r} holds text in {name_rows(text, 1)} (first: {str(raw[text[0]])!r}); give numbers only"
        )
    empty = table.index[~np.isfinite(values)]
    if len(empty) and not gaps:
        raise CannotFit(
            "not_finite",
            f"column {name!r} is empty or infinite in {name_rows(empty, 1)}; fill those rows or drop them (empty "
            "losses of a CSV: --drop-missing)",
            len(empty),
            tuple(empty),
        )
    low = table.index[values <= 0]
    if len(low):
        raise CannotFit(
            "not_positive",
            f"column {name!r} is not above zero in {name_rows(low, 1)} (first: {values[low[0]]:g}); "
            "a power law is defined above zero only",
            float(values[low[0]]),
            tuple(low),
        )
    return values.astype(float)


def _all_named(runs: pd.Series) -> None:
    empty = runs.index[runs.isna()]
    if len(empty):
        raise CannotFit(
            "not_finite",
            f"column {runs.name!r} names no run in {name_rows(empty, 1)}; every row needs one",
            len(empty),
            tuple(empty),
        )
