"""Where run folders keep what is read here, and their journals; no other file of `analysis` spells a path of theirs.

A runs folder holds ``trials/<name>/`` and ``sweeps/<name>/study.json``; a trial ``budgets/<images>/row.json`` with its
``evaluations/``, and ``attempts/<NNN>/`` with a journal and, once it has ended, an ``end.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis.errors import BadRequest

Line = dict[str, Any]


def is_sweep(path: Path) -> bool:
    """Whether a study was launched from this folder."""
    return study_file(path).is_file()


def study_file(sweep: Path) -> Path:
    """What a sweep asked for."""
    return sweep / "study.json"


def studies(runs: Path) -> list[Path]:
    """The ``study.json`` of every sweep of a runs folder."""
    return sorted(runs.glob("sweeps/*/study.json"))


def laws_folder(path: Path) -> Path:
    """Where the laws of a place go unless told."""
    return path / "laws"


def is_trial(path: Path) -> bool:
    """Whether a folder is a trial's."""
    return (path / "budgets").is_dir() or (path / "identity.json").is_file()


def trials_below(path: Path) -> Path:
    """The folder of trials of a runs folder; of a folder of trials, itself."""
    return path / "trials" if (path / "trials").is_dir() else path


def trials_of_sweep(sweep: Path) -> Path:
    """The folder in which the trials of a sweep lie, with those of others."""
    return sweep.parent.parent / "trials"


def trials_around(path: Path) -> Path:
    """The folder in which the trials lie of any place that `load_runs` reads."""
    if is_sweep(path):
        return trials_of_sweep(path)
    return path.parent if (path / "budgets").is_dir() else trials_below(path)


def budget(trial: Path, images: int) -> Path:
    """One annealed model of a trial."""
    return trial / "budgets" / str(images)


def budgets(trial: Path) -> list[Path]:
    """All of a trial, in rising order of images."""
    found = (child for child in (trial / "budgets").glob("*") if child.is_dir() and child.name.isdigit())
    return sorted(found, key=lambda child: int(child.name))


def picture(trial: Path, images: int) -> Path:
    """Of a budget: rows of one sample a class, below a line of names, gaps between; there, if it was asked for."""
    return budget(trial, images) / "samples.png"


def identity(trial: Path) -> dict:
    """What a trial is."""
    return read_json(trial / "identity.json")


def row_file(budget: Path) -> Path:
    """Its row, there if and only if it is trained."""
    return budget / "row.json"


def evaluation_files(budget: Path) -> list[Path]:
    """Its evaluations."""
    return sorted((budget / "evaluations").glob("*.json"))


def cause_of(trial: Path) -> str:
    """Why a trial has no row: the cause of its last attempt, or how far it is."""
    attempts = _attempts(trial)
    if not attempts:
        return "not started"
    end = attempts[-1] / "end.json"
    if not end.is_file():
        return "unfinished"
    cause = str(read_json(end).get("cause") or "unfinished")
    return "unfinished" if cause == "finished" else cause  # an attempt may end well and leave later budgets to the next


def read_json(path: Path) -> dict:
    """One JSON object.

    Raises:
        ValueError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadRequest(f"{path} holds a {type(content).__name__}; one JSON object was expected")
    return content


def read_journal(trial: Path) -> dict[str, dict[int, Line]]:
    """What was measured while a trial was trained: by phase, by images seen.

    Of several attempts the last one's line counts, for a resumed run goes over the same ground again. A torn last line,
    of a process that was killed while it wrote, is dropped.
    """
    found: dict[str, dict[int, Line]] = {}
    for attempt in _attempts(trial):
        for line in _lines(attempt / "journal.jsonl"):
            if "event" not in line and "phase" in line and line.get("images", 0) > 0:
                found.setdefault(str(line["phase"]), {})[int(line["images"])] = line
    return found


def _attempts(trial: Path) -> list[Path]:
    found = [child for child in (trial / "attempts").glob("*") if child.name.isdigit()]
    return sorted(found, key=lambda child: int(child.name))


def _lines(journal: Path) -> Iterable[Line]:
    try:
        text = journal.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
