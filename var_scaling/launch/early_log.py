"""What a worker printed before its attempt had a log of its own: each launcher keeps that beside its launch."""

from __future__ import annotations

from pathlib import Path

from var_scaling.launch.slurm.arrays import read_arrays
from var_scaling.runs import layout


def early_log(runs: Path, work: str) -> Path | None:
    """The newest such log of a work (its folder below `runs`), over all launches; None where nothing was printed."""
    paths = layout.early_logs(runs, work)
    for array in read_arrays(runs):
        if work in array.folders and array.job:
            paths.append(layout.array_log(array.path, array.task(work)))
    return max(filter(_printed, paths), key=lambda path: path.stat().st_mtime, default=None)


def last_line(path: Path) -> str:
    """What was said last there, which is why it ended."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    own = [line for line in lines if not line.startswith("srun: ")]  # which only says that a task has ended
    return (own or lines or [""])[-1]


def _printed(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
