"""Code frozen at launch: our package, stored under the hash of its sources, imported by workers and by nothing else.

A job that queues for hours, or is requeued, runs what was there when it was launched, whatever the checkout holds by
then.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import store

PACKAGE = Path(__file__).parents[1]
ENVIRONMENT = "VAR_SCALING_CODE"


def sources(package: Path = PACKAGE) -> Iterator[Path]:
    """The Python files of a package, in order."""
    return iter(sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts))


def code_hash(package: Path = PACKAGE) -> str:
    """Twelve hex digits of the hash of a package's sources, names and contents."""
    whole = hashlib.sha256()
    for path in sources(package):
        whole.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:12]


def check_path(runs: Path) -> None:
    """Refuse a runs folder whose name no worker could import from.

    Raises:
        RequestProblem: it has a colon, which parts the entries of PYTHONPATH.
    """
    if os.pathsep in str(runs.resolve()):
        raise RequestProblem(
            f"the runs folder {runs.resolve()} has a `{os.pathsep}` in its path, and workers import the code of their "
            "launch from there: to Python's search path that is the end of a folder's name; choose another with --runs"
        )


def freeze(runs: Path, package: Path = PACKAGE) -> Path:
    """Store the package as it is now; returns the folder that a worker's PYTHONPATH begins with.

    Raises:
        EnvironmentProblem: it cannot be written there.
        RequestProblem: nothing could be imported from there.
    """
    check_path(runs)
    final = runs.resolve() / "store" / "code" / code_hash(package)
    if final.is_dir():
        return final
    prepared = final.with_name(f".{uuid.uuid4().hex}")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    try:
        shutil.copytree(package, prepared / package.name, ignore=ignore)
        if code_hash(prepared / package.name) == final.name:
            store.publish(prepared, final)
            return final
    except OSError as error:
        # copytree tells of every file that it could not copy: one is enough
        words = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise EnvironmentProblem(
            f"the code of this launch could not be stored in {final.parent} ({words}); nothing was started: free "
            "space or mend its permissions, then launch again"
        ) from None
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
    return freeze(runs, package)  # it was edited while it was copied


def environment(frozen: Path) -> dict[str, str]:
    """What a worker needs to import the frozen copy: first on the path, and nothing from where it is started."""
    before = os.environ.get("PYTHONPATH", "")
    path = f"{frozen}:{before}" if before else str(frozen)
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", ENVIRONMENT: str(frozen)}


def check(env: Mapping[str, str] = os.environ) -> None:
    """Refuse to work with other code than that of the launch.

    Raises:
        EnvironmentProblem: the package that was imported is not the frozen copy, or the copy has been changed.
    """
    wanted = env.get(ENVIRONMENT)
    if not wanted:
        return
    if not PACKAGE.is_relative_to(Path(wanted)):
        raise EnvironmentProblem(
            f"this worker imported {PACKAGE}, not the code that was frozen at launch in {wanted}; something on this "
            f"node comes before PYTHONPATH (sys.path begins {sys.path[:3]}); clear it in the profile's `setup`"
        )
    if code_hash() != Path(wanted).name:
        raise EnvironmentProblem(f"the frozen code in {wanted} has been changed; launch again, which stores a new copy")


def changed_files(runs: Path, code: str, package: Path = PACKAGE) -> list[str] | None:
    """Files of the package that differ from a stored copy; None where that copy is not stored here."""
    old = runs / "store" / "code" / code / package.name
    if not old.is_dir():
        return None
    mine = {p.relative_to(package).as_posix(): p.read_bytes() for p in sources(package)}
    other = {p.relative_to(old).as_posix(): p.read_bytes() for p in sources(old)}
    return sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))
