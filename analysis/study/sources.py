"""From a folder of trials or a CSV to all its laws; writes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack

from analysis.errors import Note
from analysis.rows.budgets import budgets_of_data
from analysis.rows.columns import Columns, csv_columns, derive, study_columns
from analysis.rows.families import of_one_kind
from analysis.rows.folders import trials_around
from analysis.rows.load import load_runs
from analysis.rows.table import check_table, without_missing
from analysis.rows.wide import melted, part_of
from analysis.study.record import StudyLaws
from analysis.study.study import FitOptions, fit_study


def study_of(
    path: str | Path,
    *,
    params: str = "params_total",
    compute: str = "train_flops",
    targets: tuple[str, ...] | None = None,
    family: str | None = None,
    **options: Unpack[FitOptions],
) -> StudyLaws:
    """Load run folders and fit all laws; writes nothing.

    Args:
        path: a sweep, a folder of trials, one trial.
        params: column of N.
        compute: column of C.
        targets: columns to fit; None takes losses, errors and FIDs that are there.
        family: whose rows, by variant or family, where the study has several: losses of two share no law.
        **options: see :class:`analysis.study.study.FitOptions`.

    Raises:
        CannotFit: no rows, or rows that no law can use.
        FileNotFoundError, ValueError: as :func:`analysis.load_runs`; a column that is not there.
    """
    rows = load_runs(path)
    name = str(rows.attrs.get("study", Path(path).name))
    if rows.empty:
        return fit_study(rows, Columns(), name=name)
    rows = of_one_kind(rows, family)
    name += f", {family}" if family else ""
    columns = study_columns(rows, params, compute, targets)
    attrs = dict(rows.attrs)
    # scores of one evaluation may be missing or below zero for some rows: each law looks at its own
    losses = tuple(target for target in columns.targets if not target.startswith("fid_"))
    rows = check_table(rows, replace(columns, targets=losses), keep_duplicates=True)
    rows.attrs |= attrs
    return fit_study(
        rows,
        columns,
        name=name,
        source=str(path),
        folders=trials_around(Path(path)),
        **options,
    )


def study_of_csv(
    path: str | Path,
    *,
    x: str | None = None,
    y: tuple[str, ...] = (),
    data: str | None = None,
    compute: str | None = None,
    group: str | None = None,
    budget: str | None = None,
    epochs: str | None = None,
    wide: str | None = None,
    keep_duplicates: bool = False,
    drop_missing: bool = False,
    **options: Unpack[FitOptions],
) -> StudyLaws:
    """Read somebody's CSV and fit all laws that its columns allow; writes nothing.

    Args:
        path: a CSV file with a header.
        x: column of sizes.
        y: columns of losses or errors.
        data: column of tokens or images seen; beside `epochs` it may be called like unique ones, which then are U.
        compute: column of training FLOPs; where no column is called like one, C = 6 N D.
        group: column that names the run of a row.
        budget: column whose values get laws of their own; without it, where one size has several D, each D that has
            four sizes gets them.
        epochs: column of passes over the unique data: fits the law of repeated data.
        wide: what the table's columns are of, where it has one a size or a budget: `tokens` of columns "loss 1e9",
            "loss 3e9"; see :mod:`analysis.rows.wide`.
        keep_duplicates: equal rows count as runs of their own instead of being refused.
        drop_missing: rows with an empty target are left out of its laws, and named, instead of being refused.
        **options: see :class:`analysis.study.study.FitOptions`.

    Raises:
        CannotFit, ValueError, FileNotFoundError: a sentence with column and rows.
    """
    table = load_runs(path)
    notes: tuple[Note, ...] = ()
    if wide is not None:
        table, loss, note = melted(table, wide, y[0] if y else None)
        y, notes = (loss, *y[1:]), (note,)
        parts = {"x": x, "data": data, "compute": compute, "epochs": epochs}
        if wide not in (*parts.values(), budget):
            parts[part_of(wide)] = wide
        x, data, compute, epochs = parts.values()
    columns = csv_columns(table, x, y, data, compute, group, budget, epochs)
    if drop_missing:
        table, missing = without_missing(table, columns)
        notes += missing
    table, columns = derive(check_table(table, columns, keep_duplicates, gaps=drop_missing), columns)
    table, columns = budgets_of_data(table, columns)
    return fit_study(
        table,
        columns,
        name=Path(path).stem,
        source=str(path),
        notes=notes,
        **options,
    )
