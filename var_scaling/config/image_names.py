"""Names of image folders and of the files in them: where relative ones start, and how odd ones are printed."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """The folder that holds data sets: VAR_SCALING_DATA, else the working folder."""
    return Path(os.environ.get("VAR_SCALING_DATA") or ".").expanduser()


def shown(name: str | Path) -> str:
    """A file name as text that can be printed and logged, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
