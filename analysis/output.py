"""A study's laws on disk: laws.json, its rows, table.csv, table.tex and the figures, each with what it shows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from analysis.errors import BadRequest, Note
from analysis.load import load_runs
from analysis.parallel import in_parallel
from analysis.record import StudyLaws
from analysis.study import FitOptions, fit_study
from analysis.table import Columns, budgets_of_data, check_table, csv_columns, derive, study_columns, without_missing

TABLES = ("rows.csv", "table.csv", "table.tex")
Progress = Callable[[str], None] | None


def laws_of(
    path: str | Path, folder: str | Path | None = None, *, figures: bool = True, progress: Progress = None, **options
) -> tuple[StudyLaws, list[Path]]:
    """Load a sweep (or any folder of trials), fit all its laws and write them; what `fit-laws` does.

    Args:
        path: what :func:`analysis.load_runs` accepts, in the project's own row format.
        folder: where to write; None writes to ``<path>/laws``.
        figures: whether to draw.
        progress: called with a word as each part starts.
        **options: of :func:`study_of`.

    Returns:
        The laws and the files written.

    Raises:
        CannotFit: no rows.
        FileNotFoundError, ValueError: as :func:`analysis.load_runs`.
    """
    study = study_of(path, progress=progress, meanwhile=import_figures if figures else None, **options)
    target = Path(folder) if folder is not None else Path(path) / "laws"
    return study, write_laws(study, target, figures=figures, progress=progress)


def study_of(
    path: str | Path,
    *,
    params: str = "params_total",
    compute: str = "train_flops",
    targets: tuple[str, ...] | None = None,
    **options: Unpack[FitOptions],
) -> StudyLaws:
    """Load run folders and fit all laws; writes nothing.

    Args:
        path: a sweep, a folder of trials, one trial.
        params: column of N.
        compute: column of C.
        targets: columns to fit; None takes losses, errors and FIDs that are there.
        **options: see :class:`analysis.study.FitOptions`.

    Raises:
        CannotFit: no rows, or rows that no law can use.
        FileNotFoundError, ValueError: as :func:`analysis.load_runs`; a column that is not there.
    """
    rows = load_runs(path)
    name = str(rows.attrs.get("study", Path(path).name))
    if rows.empty:
        return fit_study(rows, Columns(), name=name)
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
        folders=trials_folder(Path(path)),
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
        keep_duplicates: equal rows count as runs of their own instead of being refused.
        drop_missing: rows with an empty target are left out of its laws, and named, instead of being refused.
        **options: see :class:`analysis.study.FitOptions`.

    Raises:
        CannotFit, ValueError, FileNotFoundError: a sentence with column and rows.
    """
    table = load_runs(path)
    columns = csv_columns(table, x, y, data, compute, group, budget, epochs)
    notes: tuple[Note, ...] = ()
    if drop_missing:
        table, notes = without_missing(table, columns)
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


def import_figures() -> None:
    """What draws, and all of matplotlib: to be had while fits run."""
    import analysis.figures.gallery  # noqa: F401


def trials_folder(path: Path) -> Path | None:
    """Where the trials of a place that load_runs accepts have their folders."""
    if (path / "study.json").is_file():
        return path.parent.parent / "trials"
    if (path / "trials").is_dir():
        return path / "trials"
    return path.parent if (path / "budgets").is_dir() else path


def write_laws(
    study: StudyLaws,
    folder: Path,
    *,
    figures: bool = True,
    published: str | None = None,
    progress: Progress = None,
    meanwhile: Callable[[], object] | None = None,
) -> list[Path]:
    """Write laws.json, rows.csv, table.csv, table.tex and the figures; returns the files.

    Args:
        study: what was fitted.
        folder: made if it is not there.
        figures: whether to draw.
        published: "var" draws the published laws beside these.
        progress: called with a word as each part starts.
        meanwhile: called in this process while another draws already, for instance to tell somebody the laws.

    Raises:
        ValueError: an unknown name of published laws.
    """
    if published not in (None, "var"):
        raise BadRequest(f"no published laws {published!r} to draw; there are: var")
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [partial(_write_tables, study, folder)]
    if figures and study.fitted:
        from analysis.figures.gallery import figure_tasks

        if progress is not None:
            progress("figures")
        tasks = figure_tasks(study, folder, published) + tasks
    return [path for paths in in_parallel(tasks, meanwhile) for path in paths]


def _write_tables(study: StudyLaws, folder: Path) -> list[Path]:
    from analysis.lawtable import latex_table, law_table

    study.rows.to_csv(folder / "rows.csv", index=False)  # with the trials' ids, which are hashes of their configs
    law_table(study).to_csv(folder / "table.csv", index=False)
    (folder / "table.tex").write_text(latex_table(study), encoding="utf-8")
    return [write_json(folder / "laws.json", document(study)), *(folder / name for name in TABLES)]


def document(study: StudyLaws) -> dict[str, Any]:
    """Everything that fit-laws found, as laws.json and --json hold it."""
    from analysis.comparison import compare_forms, deepest_checks

    return study.as_dict() | {"deepest": deepest_checks(study), "forms": compare_forms(study).to_dict("records")}


def write_json(path: Path, value: Any) -> Path:
    """Whole or not at all: written beside and renamed. NaN becomes null, an infinite limit a word: JSON has neither."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(plain(value), indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)
    return path


def plain(value: Any) -> Any:
    """Numpy and non-finite numbers as what JSON can say."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
