"""What a figure rests on, in words under it and as the rows beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import Note
from analysis.figures.scaling import judged
from analysis.rows.counting import amount_name
from analysis.rows.words import percent
from analysis.study.frontier import cell_means
from analysis.study.record import LawRecord, StudyLaws


def caption(study: StudyLaws, records: list[LawRecord], more: str = "", held_out: bool = True, title: str = "") -> str:
    """What a figure rests on: conventions, trials, refusals and notes with their numbers.

    Args:
        study: whose rows they are.
        records: the laws that the figure shows.
        more: what only this figure has to say.
        held_out: whether to add the held-out error of the last of the laws; not where the figure shows it.
        title: what the figure shows, first.
    """
    words = dict.fromkeys(study.conventions[name] for name in ("N", "D", "C") if name in study.conventions)
    if any(record.against == "params" for record in records) and "budget" in study.conventions:
        words[study.conventions["budget"]] = None
    runs = f"{study.rows[study.columns.run].nunique()} trials, " if study.columns.run else ""
    parts = [title, f"{'; '.join(words)}." if words else "", f"{runs}{len(study.rows)} rows.", more]
    tests = [test for record in records for test in record.backtests]
    if held_out and tests:
        parts.append(f"Largest size held out: {percent(tests[-1].error)} %, {judged(tests[-1])}.")
    refused = sorted({record.refusal.code for record in records if record.refusal is not None})
    if refused:
        parts.append(f"Refused: {', '.join(refused)}.")
    notes = [note for record in records if record.law is not None for note in record.law.notes] + list(study.notes)
    notes = [note for note in notes if not note.quiet]
    if notes:
        parts.append(f"Notes: {codes(notes)}.")
    return " ".join(part.strip() for part in parts if part)


def codes(notes: list[Note]) -> str:
    """Each code with the numbers that triggered it."""
    words = []
    for code in dict.fromkeys(note.code for note in notes):
        numbers = sorted(note.number for note in notes if note.code == code)
        span = f"{numbers[0]:.3g}" if len(numbers) == 1 else f"x{len(numbers)}, {numbers[0]:.3g} to {numbers[-1]:.3g}"
        words.append(f"{code} ({span})")
    return ", ".join(words)


def fid_words(study: StudyLaws, target: str) -> str:
    """FID is never a bare number: features, reference, samples, guidance, samples a feature dimension."""
    label = target.removeprefix("fid_corrected_").removeprefix("fid_")

    def values(column: str) -> str:
        found = study.rows[column].dropna().unique() if column in study.rows else []
        return ", ".join(f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value) for value in found)

    if not target.startswith("fid_") or f"fid_features_{label}" not in study.rows:
        return ""
    return (
        f"FID in {values(f'fid_features_{label}')} features against {values(f'fid_reference_{label}')} images, "
        f"{values(f'fid_samples_{label}')} samples ({values(f'samples_per_dimension_{label}')} a dimension) with "
        f"{values(f'fid_class_shares_{label}') or 'balanced'} class shares, guidance "
        f"{values(f'fid_guidance_{label}')}."
    )


def legend_title(study: StudyLaws, against: str, form: str) -> str:
    """The form of all laws, and what the names before the colons count."""
    if against != "params" or study.columns.budget is None or study.columns.budgets == ():
        return f"law: {form}"
    name = amount_name(study.columns.budget)
    return f"{'images seen' if name == 'images' else name}; law: {form}"


def rows_behind(study: StudyLaws, against: str, targets: list[str]) -> pd.DataFrame:
    """The rows behind a scaling figure, with the trials' ids."""
    columns = study.columns
    names = [columns.run, columns.cell, "folder", "depth", "seed", columns.params, columns.data, columns.compute]
    names = list(dict.fromkeys(name for name in [*names, columns.budget, *targets] if name and name in study.rows))
    rows = study.rows[names].copy()
    if against == "compute":
        for target in targets:
            points = study.find(target, "compute")[0].rows
            key = set(zip(points["run"], np.round(np.log(points["x"]), 6), strict=True))
            measured = study.rows[target].notna().to_numpy()
            cells = cell_means(study.rows[measured], columns, target)
            rows[f"{target}_on_frontier"] = False
            rows.loc[measured, f"{target}_on_frontier"] = [
                pair in key for pair in zip(cells["run"], np.round(np.log(cells["x"]), 6), strict=True)
            ]
    return rows
