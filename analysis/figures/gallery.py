"""Which figures a study gets: composes panels, writes files, names what each figure rests on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.errors import Note
from analysis.study import LEVEL, StudyLaws


def write_figures(study: StudyLaws, folder: Path) -> list[Path]:
    """Draw every figure that the study can carry; returns the files written.

    Args:
        study: what fit_study returned.
        folder: exists; figures go beside laws.json.
    """
    from analysis.figures import page, scaling

    written: list[Path] = []
    with page.paper_style():
        for stem, against, draw, rows in (
            ("params", "params", scaling.draw_against_params, _params_rows),
            ("compute", "compute", scaling.draw_against_compute, _compute_rows),
        ):
            for kind, targets in _target_groups(study, against).items():
                import matplotlib.pyplot as plt

                lines = (len(targets) + 1) // 2
                figure, grid = plt.subplots(
                    lines,
                    2 if len(targets) > 1 else 1,
                    squeeze=False,
                    figsize=(page.TEXT if len(targets) > 1 else page.COLUMN, 3.0 * lines),
                )
                for ax, target in zip(grid.flat, targets, strict=False):
                    draw(study, target, ax)
                    page.legend_above(ax, title=_legend_title(study, against))
                for ax in list(grid.flat)[len(targets) :]:
                    ax.remove()
                page.footnote(
                    figure, caption(study, [record for target in targets for record in study.find(target, against)])
                )
                written += page.save(figure, folder / f"{kind}_{stem}", rows(study, targets))
    return written


def caption(study: StudyLaws, records: list, more: str = "") -> str:
    """What a figure rests on: conventions, trials, interval, warnings."""
    against = {record.against for record in records}
    conventions = [study.conventions["N"]] if any("params" in name for name in against) else []
    conventions += [study.conventions["C"]] if "compute" in against else []
    trials = study.rows[study.columns.run].nunique() if study.columns.run else len(study.rows)
    method = next((record.law.unit_sentence for record in records if record.law is not None), None)
    text = "; ".join(conventions) + f". {trials} trials, {len(study.rows)} rows."
    if method:
        text += f" Bands: {LEVEL:.0%} interval of the law ({method})."
    if any(record.backtests for record in records):
        text += (
            " Crosses: held-out sizes as predicted from the smaller ones, with the interval for new runs."
            if "params" in against
            else " Held out: the largest point of the frontier."
        )
    notes = _notes(
        [note for record in records if record.law is not None for note in record.law.notes] + list(study.notes)
    )
    refused = sorted({record.refusal.code for record in records if record.refusal is not None})
    if refused:
        text += f" Refused: {', '.join(refused)}."
    if notes:
        text += f" Notes: {notes}."
    return (text + " " + more).strip()


def _legend_title(study: StudyLaws, against: str) -> str | None:
    if against != "params" or study.columns.budget is None:
        return None
    return "images seen" if study.columns.budget.startswith("images") else study.columns.budget


def _notes(notes: list[Note]) -> str:
    counts = pd.Series([note.code for note in notes]).value_counts(sort=False) if notes else pd.Series(dtype=int)
    return ", ".join(code if count == 1 else f"{code} x{count}" for code, count in counts.items())


def _target_groups(study: StudyLaws, against: str) -> dict[str, list[str]]:
    """Losses together, errors together, each kind of FID alone: one axis never holds two kinds."""
    groups: dict[str, list[str]] = {}
    for target in study.columns.targets:
        if not study.find(target, against):
            continue
        kind = "loss" if target.startswith("loss") else "error" if target.startswith("error") else _file_name(target)
        groups.setdefault(kind, []).append(target)
    return groups


def _file_name(target: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in target).strip("_").lower() or "target"


def _identity_columns(study: StudyLaws) -> list[str]:
    names = [
        study.columns.run,
        study.columns.cell,
        "folder",
        "depth",
        "seed",
        study.columns.params,
        study.columns.data,
        study.columns.compute,
        study.columns.budget,
    ]
    return list(dict.fromkeys(name for name in names if name and name in study.rows))


def _params_rows(study: StudyLaws, targets: list[str]) -> pd.DataFrame:
    return study.rows[_identity_columns(study) + [name for name in targets if name not in _identity_columns(study)]]


def _compute_rows(study: StudyLaws, targets: list[str]) -> pd.DataFrame:
    rows = _params_rows(study, targets).copy()
    for target in targets:
        on = study.find(target, "compute")[0].rows
        names = (
            study.rows[study.columns.cell or study.columns.run]
            if (study.columns.cell or study.columns.run)
            else rows.index
        )
        key = set(on["run"])
        rows[f"{target}_cell_on_frontier"] = [name in key for name in names]
    return rows
