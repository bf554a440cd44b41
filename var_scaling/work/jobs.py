"""Which file does which kind of work; each is imported when it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from var_scaling.runs.ranks import Meeting
from var_scaling.runs.store import Attempt
from var_scaling.work.context import Context

_FILES = {
    "tokenizer": "tokenizer",
    "classifier": "classifier",
    "shape": "shape",
    "tokens": "latents",
    "reconstruction": "reconstruction",
    "trial": "trial",
    "import": "imported",
}


def do(kind: str, runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt) -> None:
    """Do what is missing in a work folder that this attempt holds."""
    importlib.import_module(f"var_scaling.work.{_FILES[kind]}").do(Context(runs, folder, config, attempt))


def lend(runs: Path, folder: Path, config: Mapping[str, Any], attempt: Attempt, meeting: Meeting, rank: int) -> None:
    """Compute a share of the trial that rank 0's attempt runs.

    Raises:
        Lost: rank 0 is gone.
    """
    from var_scaling.work import trial

    trial.lend(Context(runs, folder, config, attempt), meeting, rank)
