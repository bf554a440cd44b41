"""Code frozen at launch: our package and those that offer families, stored under the hash of their sources.

Workers import it, and nothing else does.

    <runs>/store/code/<hash>/var_scaling/        ours
    <runs>/store/code/<hash>/<package>/          another's, with its entry points in <package>-<version>.dist-info/

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
from var_scaling.runs import layout, offered, store

PACKAGE = Path(__file__).parents[1]
ENVIRONMENT = "VAR_SCALING_CODE"


def sources(package: Path = PACKAGE) -> Iterator[Path]:
    """The Python files of a package, in order."""
    return iter(sorted(p for p in package.rglob("*.py") if "__pycache__" not in p.parts))


def _contents(package: Path, folder: Path | None) -> Iterator[tuple[str, bytes]]:
    """Names, relative to our package, and contents of all that is frozen: from a folder, or from what is installed."""
    for path in sources(package):
        yield path.relative_to(package).as_posix(), path.read_bytes()
    for name, place in offered.roots(folder).items():
        inside = f"../{name.replace('.', '/')}"
        if place.is_file():
            yield f"{inside}.py", place.read_bytes()
        else:
            for path in sources(place):
                yield f"{inside}/{path.relative_to(place).as_posix()}", path.read_bytes()
    for point in offered.points(folder):
        yield f"{offered.GROUP}: {point.name}", point.value.encode()


def _frozen_here() -> Path | None:
    """The frozen copy that this process has imported us from, if it has."""
    wanted = os.environ.get(ENVIRONMENT)
    return Path(wanted) if wanted and PACKAGE.is_relative_to(wanted) else None


def code_hash(package: Path = PACKAGE, folder: Path | None = None) -> str:
    """Twelve hex digits of the hash of the sources of our package and of those that offer families, by name.

    Args:
        package: ours, or a copy of it.
        folder: where the others lie; None is where this process imports them from.
    """
    whole = hashlib.sha256()
    for name, content in _contents(package, folder or _frozen_here()):
        whole.update(name.encode() + b"\0" + content)
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
    """Store the code as it is now; returns the folder that a worker's PYTHONPATH begins with.

    Raises:
        EnvironmentProblem: it cannot be written there.
        RequestProblem: nothing could be imported from there.
    """
    check_path(runs)
    final = layout.code(runs.resolve(), code_hash(package))
    if final.is_dir():
        return final
    prepared = final.with_name(f".{uuid.uuid4().hex}")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    try:
        shutil.copytree(package, prepared / package.name, ignore=ignore)
        for name, place in offered.roots().items():
            copy = prepared.joinpath(*name.split("."))
            if place.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(place, copy.with_name(f"{copy.name}.py"))
            else:
                shutil.copytree(place, copy, ignore=ignore)
        offered.write_metadata(prepared)
        if code_hash(prepared / package.name, prepared) == final.name:
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
    places = [PACKAGE, *(place for name in offered.roots(Path(wanted)) if (place := _imported_from(name)))]
    if astray := [place for place in places if not place.is_relative_to(wanted)]:
        raise EnvironmentProblem(
            f"this worker imported {astray[0]}, not the code that was frozen at launch in {wanted}; something on this "
            f"node comes before PYTHONPATH (sys.path begins {sys.path[:3]}); clear it in the profile's `setup`"
        )
    if code_hash() != Path(wanted).name:
        raise EnvironmentProblem(f"the frozen code in {wanted} has been changed; launch again, which stores a new copy")


def _imported_from(package: str) -> Path | None:
    found = offered.root(package)
    return found[1] if found else None


def changed_files(runs: Path, code: str, package: Path = PACKAGE) -> list[str] | None:
    """Files that differ from a stored copy, relative to our package; None where that copy is not stored here."""
    old = layout.code(runs, code) / package.name
    if not old.is_dir():
        return None
    mine, other = dict(_contents(package, None)), dict(_contents(old, old.parent))
    return sorted(name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name))
