"""A study's laws on disk: laws.json, table.csv, table.tex and the figures, each with its rows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import load_runs
from analysis.study import StudyLaws, fit_study
from analysis.table import check_table, study_columns


def laws_of(
    path: str | Path,
    folder: str | Path | None = None,
    *,
    holdout: int = 1,
    params: str = "params_total",
    compute: str = "train_flops",
    targets: tuple[str, ...] | None = None,
    offsets: tuple[float, ...] = (),
    figures: bool = True,
    progress: Callable[[str], None] | None = None,
) -> tuple[StudyLaws, list[Path]]:
    """Load a sweep (or any folder of trials), fit all its laws and write them; what `fit-laws` does.

    Args:
        path: what :func:`analysis.load_runs` accepts, in the project's own row format.
        folder: where to write; None writes to ``<path>/laws``.
        holdout: how many of the largest sizes the backtests hide.
        params: column of N.
        compute: column of C.
        targets: columns to fit; None takes losses, errors and FIDs that are there.
        offsets: fixed offsets to show beside the fitted one.
        figures: whether to draw.
        progress: called with a word as each part starts.

    Returns:
        The laws and the files written.

    Raises:
        CannotFit: no rows.
        FileNotFoundError, ValueError: as :func:`analysis.load_runs`.
    """
    rows = load_runs(path)
    name = str(rows.attrs.get("study", Path(path).name))
    if rows.empty:
        study = fit_study(
            rows, study_columns(pd.DataFrame(columns=["params_total", "train_flops"]), targets=()), name=name
        )
    else:
        columns = study_columns(rows, params, compute, targets)
        attrs = dict(rows.attrs)
        losses = [target for target in columns.targets if not target.startswith("fid_")]
        rows = check_table(rows, type(columns)(**{**columns.__dict__, "targets": tuple(losses)}), keep_duplicates=True)
        rows.attrs |= attrs
        study = fit_study(
            rows,
            columns,
            name=name,
            source=str(path),
            holdout=holdout,
            offsets=offsets,
            folders=trials_folder(Path(path)),
            progress=progress,
        )
    target = Path(folder) if folder is not None else Path(path) / "laws"
    return study, write_laws(study, target, figures=figures, progress=progress)


def trials_folder(path: Path) -> Path | None:
    """Where the trials of a place that load_runs accepts have their folders."""
    if (path / "study.json").is_file():
        return path.parent.parent / "trials"
    if (path / "trials").is_dir():
        return path / "trials"
    return path.parent if (path / "budgets").is_dir() else path


def write_laws(
    study: StudyLaws, folder: Path, *, figures: bool = True, progress: Callable[[str], None] | None = None
) -> list[Path]:
    """Write laws.json, table.csv, table.tex and the figures; returns the files."""
    from analysis.lawtable import latex_table, law_table

    folder.mkdir(parents=True, exist_ok=True)
    written = [write_json(folder / "laws.json", study.as_dict())]
    law_table(study).to_csv(folder / "table.csv", index=False)
    (folder / "table.tex").write_text(latex_table(study))
    written += [folder / "table.csv", folder / "table.tex"]
    if figures and study.fitted:
        from analysis.figures.gallery import write_figures

        if progress is not None:
            progress("figures")
        written += write_figures(study, folder)
    return written


def write_json(path: Path, value: Any) -> Path:
    """Whole or not at all: written beside and renamed. NaN becomes null, an infinite limit a word: JSON has neither."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(plain(value), indent=1) + "\n")
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
