"""A package that offers a family, installed as pip would leave it, without pip: a folder and its metadata."""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCE = Path(__file__).parent / "positional"


def install(
    site: Path, name: str = "positional", value: str = "positional:FAMILY", package: str = "positional"
) -> Path:
    """Put the package where PYTHONPATH finds it; returns the folder of its code."""
    if not (site / "positional").exists():
        shutil.copytree(SOURCE, site / "positional", ignore=shutil.ignore_patterns("__pycache__"))
    metadata = site / f"{package}-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(f"[var_scaling.families]\n{name} = {value}\n")
    return site / "positional"
