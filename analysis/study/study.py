"""All laws of one table: rows -> checks, fits, refusals, backtests. One frozen value, which tables and figures read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from analysis.engine.parallel import in_parallel
from analysis.errors import CannotFit, Note
from analysis.laws.plane import CHINCHILLA
from analysis.rows.budgets import ENOUGH_SIZES
from analysis.rows.columns import SIX_ND, Columns
from analysis.rows.conventions import (
    budget_notes,
    convention_notes,
    left_out_notes,
    repeat_notes,
    run_notes,
    unit_notes,
    unused_notes,
)
from analysis.rows.counting import COMPUTE_WORDS, PARAMS_WORDS
from analysis.rows.falls import fall_checks
from analysis.rows.names import is_fid
from analysis.rows.recipe import pooled_notes, recipe_notes
from analysis.study import fits, joint_fits
from analysis.study.diagnostics import study_collapse, study_isoflop, study_sensitivity
from analysis.study.fixing import Fixed
from analysis.study.record import LawRecord, StudyLaws
from analysis.study.trajectories import Trajectories, study_trajectories


class FitOptions(TypedDict, total=False):
    """What every way to :func:`fit_study` takes.

    Attributes:
        holdout: how many of the largest sizes the backtests hide; 1, and 0 for none.
        holdout_by: whether joint laws hide sizes (the default) or budgets; laws at one budget always hide sizes.
        offsets: fixed offsets to show beside the fitted one.
        fix: coefficients that are given and not fitted, by NAME or FORM.NAME: see :class:`analysis.study.fixing.Fixed`.
        delta: Huber's switch point of the law in size and data. The default, inf, is least squares on logs, which uses
            every row of runs of one recipe; 1e-3 is the field's choice for rows read off figures.
        progress: called with the names of the targets as their fits start.
        meanwhile: called in this process while another has begun to fit, for instance to import what draws.
    """

    holdout: int
    holdout_by: Literal["size", "budget"]
    offsets: tuple[float, ...]
    delta: float
    fix: Mapping[str, float]
    progress: Callable[[str], None] | None
    meanwhile: Callable[[], object] | None


def fit_study(
    rows: pd.DataFrame,
    columns: Columns,
    *,
    name: str = "",
    source: str = "",
    folders: Path | None = None,
    notes: tuple[Note, ...] = (),
    **options: Unpack[FitOptions],
) -> StudyLaws:
    """Fit every law that the table can be asked for.

    For each target: (beta N)^alpha and E + (beta N)^alpha at every budget, the same against compute on the frontier of
    finished budgets, and E + A/N^alpha + B/D^beta over all budgets, each with a backtest on its largest sizes.

    Args:
        rows: one row a (trial, budget); numbers checked, as :func:`analysis.rows.table.check_table` does.
        columns: which column plays which part.
        name: of the study.
        source: where the rows came from.
        folders: where the trials' folders lie, for their training curves; None leaves the collapse out.
        notes: what is already known about the rows, for instance which were left out.
        **options: see :class:`FitOptions`.

    Raises:
        CannotFit: ``too_few_sizes`` where there are no rows at all.
    """
    if rows.empty:
        raise CannotFit(
            "too_few_sizes", "the study has no finished rows yet; launch it, or wait for its first budget", 0
        )
    holdout, delta = options.get("holdout", 1), options.get("delta", np.inf)
    offsets, by_budget = options.get("offsets", ()), int(options.get("holdout_by") == "budget")
    progress, meanwhile = options.get("progress"), options.get("meanwhile")
    fixed = Fixed(options.get("fix") or {}, bool(columns.params and (columns.data or columns.epochs)))
    fixed.check()
    own = folders is not None  # a column of somebody's CSV is what they say it is, whatever its name
    conventions = _conventions(columns, own)

    laws: list[Callable[[], list[LawRecord]]] = []
    for target in columns.targets:
        table = rows[rows[target].notna()]
        if table.empty:
            continue
        common = table, columns, target, conventions, holdout
        if columns.x:
            laws.append(partial(fits.against_size, *common, offsets, fixed))
        if columns.compute:
            laws.append(partial(fits.against_compute, *common, offsets, fixed))
        if columns.params and columns.data:
            laws.append(partial(joint_fits.against_both, *common, delta, by_budget, fixed))
        if columns.params and columns.epochs:
            laws.append(partial(joint_fits.repeated, *common, delta, by_budget, fixed))
        if columns.loss and is_fid(target):
            laws.append(partial(fits.given_loss, table, columns, target, holdout, fixed))

    def unfinished() -> tuple[Trajectories | None, list[LawRecord]]:
        trunks = None if folders is None else study_trajectories(rows, columns, folders)
        return trunks, [] if trunks is None else fits.against_trajectories(trunks, conventions, holdout)

    tasks: list[Callable[[], Any]] = [partial(_with_draws, fit) for fit in laws]
    tasks += [
        lambda: study_sensitivity(rows, columns, delta, fixed.of(CHINCHILLA)) if columns.params else ({}, ""),
        lambda: study_isoflop(rows, columns),
        lambda: None if folders is None else study_collapse(rows, columns, folders),
        unfinished,
    ]
    if progress is not None:
        progress(", ".join(columns.targets))
    *found, (sensitivity, sensitivity_of), valleys, curves, (trunks, on_trunks) = in_parallel(tasks, meanwhile)
    notes += (
        left_out_notes(rows)
        + convention_notes(rows, columns)
        + recipe_notes(rows, columns)
        + budget_notes(rows, columns)
        + unused_notes(rows, columns, own)
        + pooled_notes(rows, columns, own)
        + (() if own else run_notes(rows, columns))
        + unit_notes(rows, columns)
        + repeat_notes(rows, columns)
        + (curves.notes if curves is not None else ())
    )
    return StudyLaws(
        name=name,
        source=source,
        columns=columns,
        conventions=conventions,
        records=tuple(record for records in [*found, on_trunks] for record in records),
        falls=tuple(fall_checks(rows, columns)),
        notes=notes,
        rows=rows,
        sensitivity=sensitivity,
        sensitivity_of=sensitivity_of,
        collapse=curves,
        trajectories=trunks,
        isoflop=valleys,
    )


def _conventions(columns: Columns, own: bool) -> dict[str, str]:
    """How each part was counted, in words: a study's own counts, a CSV's columns by name."""
    words = PARAMS_WORDS | COMPUTE_WORDS | {"images_seen": "D: images seen"} if own else {}
    given = {
        "N": columns.params,
        "D": columns.data,
        "C": columns.compute,
        "U": columns.unique,
        "epochs": columns.epochs,
    }
    if not any(given.values()):
        given["loss"] = columns.loss
    conventions = {}
    for name, column in given.items():
        if column in columns.derived:
            conventions[name] = f"{name}: {column}, derived" + (" from N and D" if column == SIX_ND else "")
        elif column is not None:
            conventions[name] = words.get(column, f"{name}: column {column}")
    if columns.budgets:
        conventions["budget"] = (
            f"laws against N: one at each value of {columns.budget} that {ENOUGH_SIZES} sizes or more share"
        )
    return conventions


def _with_draws(fit: Callable[[], list[LawRecord]]) -> list[LawRecord]:
    """The laws with the resamples that figures and tables will ask for: made here, where several processes work."""
    records = fit()
    for record in records:
        if record.law is not None:
            record.law.draws()
    return records
