"""What a worker printed before its attempt had a log of its own: each launcher keeps that beside its launch.

<launch>/logs/<name>.log            local
<launch>/ray/<work>.log             Ray
<launch>/slurm/<id>_<i>_0_log.out   SLURM's own log of the task
"""

from __future__ import annotations

from glob import escape
from pathlib import Path

from var_scaling.launch.slurm.arrays import read_arrays
from var_scaling.launch.wishes import file_name


def early_log(runs: Path, work: str) -> Path | None:
    """The newest such log of a work (its folder below `runs`), over all launches; None where nothing was printed."""
    name = escape(Path(work).name)
    launches = runs / "sweeps"
    paths = [*launches.glob(f"*/launches/*/logs/{name}.log"), runs / "store" / "logs" / f"{Path(work).name}.log"]
    paths += launches.glob(f"*/launches/*/ray/{escape(file_name(work))}.log")
    for array in read_arrays(runs):
        if work in array.folders and array.job:
            paths.append(array.path.parent / f"{array.task(work)}_0_log.out")
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
