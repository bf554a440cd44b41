"""A study's laws on disk: laws.json, its rows, table.csv, table.tex and the figures, each with what it shows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from analysis.engine.parallel import in_parallel
from analysis.errors import BadRequest
from analysis.rows.folders import laws_folder
from analysis.study.record import StudyLaws
from analysis.study.sources import study_of

TABLES = ("rows.csv", "table.csv", "table.tex")
Progress = Callable[[str], None] | None


def laws_of(
    path: str | Path,
    folder: str | Path | None = None,
    *,
    figures: bool = True,
    style: str = "screen",
    progress: Progress = None,
    **options,
) -> tuple[StudyLaws, list[Path]]:
    """Load a sweep (or any folder of trials), fit all its laws and write them; what `fit-laws` does.

    Args:
        path: what :func:`analysis.load_runs` accepts, in the project's own row format.
        folder: where to write; None writes to ``<path>/laws``.
        figures: whether to draw.
        style: of the figures, as :func:`write_laws`.
        progress: called with a word as each part starts.
        **options: of :func:`study_of`.

    Returns:
        The laws and the files written.

    Raises:
        CannotFit: no rows.
        FileNotFoundError, ValueError: as :func:`analysis.load_runs`.
    """
    study = study_of(path, progress=progress, meanwhile=import_figures if figures else None, **options)
    target = Path(folder) if folder is not None else laws_folder(Path(path))
    return study, write_laws(study, target, figures=figures, style=style, progress=progress)


def import_figures() -> None:
    """What draws, and all of matplotlib: to be had while fits run."""
    import analysis.figures.gallery  # noqa: F401


def write_laws(
    study: StudyLaws,
    folder: Path,
    *,
    figures: bool = True,
    published: str | None = None,
    style: str = "screen",
    progress: Progress = None,
    meanwhile: Callable[[], object] | None = None,
) -> list[Path]:
    """Write laws.json, rows.csv, table.csv, table.tex and the figures; returns the files.

    Args:
        study: what was fitted.
        folder: made if it is not there.
        figures: whether to draw.
        published: "var" draws the published laws beside these.
        style: of the figures: "screen", or "paper", whose figures and captions go to ``paper/``.
        progress: called with a word as each part starts.
        meanwhile: called in this process while another draws already, for instance to tell somebody the laws.

    Raises:
        ValueError: an unknown name of published laws, or of a style.
    """
    if published not in (None, "var"):
        raise BadRequest(f"no published laws {published!r} to draw; there are: var")
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [partial(_write_tables, study, folder)]
    if figures and study.fitted:
        from analysis.figures.gallery import figure_tasks
        from analysis.figures.style import style_named
        from analysis.report.captions import gather

        if progress is not None:
            progress("figures")
        look = style_named(style)
        (folder / look.folder).mkdir(exist_ok=True)
        tasks = figure_tasks(study, folder / look.folder, published, look) + tasks
    written = [path for paths in in_parallel(tasks, meanwhile) for path in paths]
    return gather(written) if figures and study.fitted else written


def _write_tables(study: StudyLaws, folder: Path) -> list[Path]:
    from analysis.report.latex import latex_table
    from analysis.report.table import law_table

    study.rows.to_csv(folder / "rows.csv", index=False)  # with the trials' ids, which are hashes of their configs
    law_table(study).to_csv(folder / "table.csv", index=False)
    (folder / "table.tex").write_text(latex_table(study), encoding="utf-8")
    return [write_json(folder / "laws.json", document(study)), *(folder / name for name in TABLES)]


def document(study: StudyLaws) -> dict[str, Any]:
    """Everything that fit-laws found, as laws.json and --json hold it."""
    from analysis.report.answer import answer_of
    from analysis.study.comparison import compare_forms, deepest_checks

    first = {"answer": answer_of(study).as_dict()}
    return (
        first | study.as_dict() | {"deepest": deepest_checks(study), "forms": compare_forms(study).to_dict("records")}
    )


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
