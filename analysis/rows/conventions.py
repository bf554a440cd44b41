"""Rows that count, saw or are different things in one fit, and rows that no fit has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import Note
from analysis.rows import checks
from analysis.rows.budgets import ENOUGH_SIZES, ONE_SIZE, most_unique, shared_computes
from analysis.rows.columns import SIX_ND, Columns
from analysis.rows.counting import amount_name
from analysis.rows.load import DESCRIPTIONS
from analysis.rows.names import plain_name, usual
from analysis.rows.recipe import HYPERS, MOST_KINDS

CONVENTIONS = ("family", "tokenizer", "data", "tokens_per_image", "numerics")
LEAST_COUNT = 1e4  # the largest model, and the longest run, of a ladder have at least so many parameters and images


def convention_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: more than one family, tokenizer, data set or evaluation in one fit."""
    notes = []
    labels = [name.removeprefix("fid_samples_") for name in rows if name.startswith("fid_samples_")]
    evaluation = [f"fid_{name}_{label}" for label in labels for name in DESCRIPTIONS]
    for name in (*CONVENTIONS, *evaluation):
        if name not in rows or (name == "family" and columns.x is None and columns.compute is None):
            continue  # FID given loss is fitted one family at a time
        found = rows[name].dropna().unique()
        if len(found) > 1:
            listed = ", ".join(str(value)[:24] for value in found[:4])
            notes.append(
                Note(
                    "mixed_conventions",
                    f"{name} has {len(found)} values ({listed}) in one fit; losses and scores of "
                    "different kinds share no law: fit them apart",
                    len(found),
                )
            )
    return tuple(notes)


def budget_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`rows_left_out`: rows whose D has too few sizes for a law against N, or one law too many, or that repeat more."""
    if columns.unique and columns.budget and columns.budgets != ():
        most = rows.groupby(columns.budget, group_keys=False)[rows.columns.to_list()].apply(most_unique, columns)
        if len(most) < len(rows):
            words = (
                f"laws at one {amount_name(columns.budget)} take its rows of most {columns.unique}: "
                f"{len(rows) - len(most)} rows of fewer, some seen again, are in no such law; the law of repeated data "
                "has them all"
            )
            return (Note("rows_left_out", words, len(rows) - len(most)),)
    if not columns.budgets:
        return ()
    amounts = rows[columns.budget]
    left = amounts[~amounts.isin(columns.budgets)]
    if left.empty:
        return ()
    values = [f"{value:.6g}" for value in np.sort(left.unique())]
    one = f" and one {columns.unique}" if columns.unique else ""
    words = (
        f"{len(columns.budgets)} of {amounts.nunique()} values of {columns.budget} have laws against N (those with "
        f"most rows, evenly chosen among equals, at least {ENOUGH_SIZES} sizes{one}); in no such law: "
        f"{checks.listed(values)} ({len(left)} rows)"
    )
    return (Note("rows_left_out", words, len(left)),)


def unused_notes(rows: pd.DataFrame, columns: Columns, own: bool) -> tuple[Note, ...]:
    """`mixed_conventions`: a column that no law uses says that rows saw other data, or the same data again.

    Of a CSV also one that says that they are of several kinds.
    """
    if columns.x is None and columns.compute is None:
        return ()
    notes = [] if own else _kinds(rows, columns)
    used = (columns.data, columns.compute, columns.budget, columns.x)
    if columns.params and columns.data is None:
        notes += _unused_amount(rows, columns.params, used)
    epochs = usual(rows, "epochs")
    if epochs is not None and columns.epochs is None and epochs not in used:
        most = float(pd.to_numeric(rows[epochs], errors="coerce").max())
        if most > 1:
            way = "the reuse constant needs runs on different numbers of unique images" if own else "see --epochs"
            words = f"{epochs} reaches {most:.4g} and no law uses it: data seen again count as new ones ({way})"
            notes.append(Note("mixed_conventions", words, most, quiet=own))
    return tuple(notes)


def _unused_amount(rows: pd.DataFrame, params: str, used: tuple[str | None, ...]) -> list[Note]:
    """Of data, steps and compute the first that rows of like size differ in, unless a law uses it."""
    for part, option in (("data", "--data"), ("steps", "--data"), ("compute", "--compute")):
        name = usual(rows, part)
        if name is None or name in used:
            continue
        values = pd.to_numeric(rows[name], errors="coerce")
        of_size = values.groupby(rows[params])
        most = float((of_size.max() / of_size.min()).max())
        if part == "compute" and (values > 0).all() and shared_computes(rows[params], values) > 1:
            most = float(values.max() / values.min())
        if most >= 1 + ONE_SIZE:
            like = "one" if part != "compute" else "like"
            apart = f"up to {most:.3g} times" if most >= 2 else f"by up to {100 * (most - 1):.2g} %"
            words = f"rows of {like} size differ in {name} ({apart}) and no law uses it; see {option}"
            return [Note("mixed_conventions", words, most)]
    return []


def unit_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: sizes or data too small to be counts, where 6 N D is taken for training FLOPs."""
    if columns.compute != SIX_ND:
        return ()
    most = {name: float(rows[name].max()) for name in (columns.params, columns.data)}
    small = {name: value for name, value in most.items() if value < LEAST_COUNT}
    if not small:
        return ()
    listed = " and ".join(f"{name} is {value:.4g} at most" for name, value in small.items())
    words = f"{listed}, too few for a count: {SIX_ND} is training FLOPs only where both are in units, not in millions"
    return (Note("mixed_conventions", words, min(small.values())),)


def repeat_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: beside the law of repeated data, laws that take data seen again for new ones."""
    most = 1.0 if columns.epochs is None else float(rows[columns.epochs].max())
    if columns.params is None or most <= 1:
        return ()
    words = f"{columns.epochs} reaches {most:.4g}: laws in C, and in N and D alone, count data seen again as new ones; "
    return (Note("mixed_conventions", words + "only the law of repeated data tells them apart", most),)


def run_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: a column that looks like the names of runs, whose rows then are no independent ones.

    Each of its values is one size at several amounts of data, some sizes have several, and no fit knows of it.
    """
    if columns.run is not None or columns.params is None or columns.data is None:
        return ()
    for name in rows:
        parts = (columns.params, columns.data, columns.compute, columns.budget, *columns.targets, *columns.derived)
        if name in parts or pd.api.types.is_float_dtype(rows[name]) or plain_name(str(name)) in HYPERS:
            continue
        values = rows[[name, columns.params, columns.data]].dropna()
        runs = values.groupby(name)
        if len(values) < 2 * runs.ngroups or runs[columns.params].nunique().max() > 1:
            continue
        if values.duplicated([name, columns.data]).any() or runs.ngroups <= values[columns.params].nunique():
            continue
        words = (
            f"each value of {name} is one size at several {columns.data}, as checkpoints of one run are; counted as "
        )
        words += f"independent they make intervals too narrow: name the runs with --group {name}"
        return (Note("mixed_conventions", words, runs.ngroups),)
    return ()


def _kinds(rows: pd.DataFrame, columns: Columns) -> list[Note]:
    """Of each column of texts or truth values that names no rows, sizes or amounts: its kinds, fitted as one."""
    parts = [name for name in (columns.params, columns.data, columns.compute, columns.run, columns.budget) if name]
    notes = []
    for name in rows:
        counts = pd.api.types.is_numeric_dtype(rows[name]) and not pd.api.types.is_bool_dtype(rows[name])
        if counts or name in (*parts, *columns.targets, *CONVENTIONS):
            continue
        kinds = rows.groupby(name)
        found = list(kinds.groups)
        most = max(MOST_KINDS, rows[name].count() // 2)
        if not 2 <= len(found) <= most or len(found) == rows[name].count():
            continue
        if (kinds[parts].nunique() <= 1).all().any():  # each kind is one size, amount or run, by another name
            continue
        listed = ", ".join(str(kind)[:40] for kind in found[:4]) + (", ..." if len(found) > 4 else "")
        words = f"rows of {len(found)} values of {name} ({listed}) are fitted as one; where they differ in more than "
        words += "size and data, fit a table of each"
        notes.append(Note("mixed_conventions", words, len(found)))
    return notes


def left_out_notes(rows: pd.DataFrame) -> tuple[Note, ...]:
    """`rows_left_out`: budgets of the study that gave no row, by cause."""
    left = rows.attrs.get("left_out", [])
    if not left:
        return ()
    causes = pd.Series([entry["cause"] for entry in left]).value_counts()
    listed = ", ".join(f"{count} {cause}" for cause, count in causes.items())
    names = ", ".join(dict.fromkeys(str(entry["folder"]) for entry in left[:6]))
    return (
        Note(
            "rows_left_out",
            f"{len(left)} budgets of this study have no row and are not in the fits ({listed}): {names}"
            + (" ..." if len(left) > 6 else ""),
            len(left),
        ),
    )
