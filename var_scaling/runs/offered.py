"""Packages that offer a family by an entry point: where their code lies, found without importing any of it.

A package offers one by

    [project.entry-points."var_scaling.families"]
    unigram = "my_package.unigram:FAMILY"
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path

GROUP = "var_scaling.families"


def points(folder: Path | None = None) -> list[EntryPoint]:
    """Entry points of families, by name: of what is installed here, or of what lies in a folder."""
    if folder is None:
        found: Iterable[EntryPoint] = entry_points(group=GROUP)
    else:
        found = (p for dist in distributions(path=[str(folder)]) for p in dist.entry_points if p.group == GROUP)
    return sorted(found, key=lambda point: (point.name, point.value))


def root(module: str, folder: Path | None = None) -> tuple[str, Path] | None:
    """The outermost package, or lone file, that holds a module; None where there is none.

    Of a namespace that several projects share, only the part below it that is one of theirs.

    Args:
        module: dotted name.
        folder: where to look; None is wherever an import would.

    Returns:
        Its dotted name, and its folder or file.
    """
    name, *below = module.split(".")
    found = _look([folder], name) if folder else _installed(name)
    while isinstance(found, list) and below:
        part = below.pop(0)
        name, found = f"{name}.{part}", _look(found, part)
    return None if isinstance(found, list) else (name, found)


def _installed(name: str) -> Path | list[Path]:
    """Where an import would find a top-level name: a package's folder, a file, or the parts of a namespace."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.origin and Path(spec.origin).is_file():
        return Path(spec.origin) if spec.submodule_search_locations is None else Path(spec.origin).parent
    return [Path(place) for place in spec.submodule_search_locations or ()]


def _look(folders: list[Path], part: str) -> Path | list[Path]:
    for folder in folders:
        if (folder / part / "__init__.py").is_file():
            return folder / part
        if (folder / f"{part}.py").is_file():
            return folder / f"{part}.py"
    return [folder / part for folder in folders if (folder / part).is_dir()]


def roots(folder: Path | None = None) -> dict[str, Path]:
    """Folder or file of each package behind an entry point, by its dotted name."""
    found = [place for point in points(folder) if (place := root(point.module, folder))]
    return dict(sorted((name, path) for name, path in found if name != "var_scaling"))


def write_metadata(folder: Path) -> None:
    """Make a folder with copies of these packages offer their families by itself, wherever it is imported from."""
    for dist in {point.dist.name: point.dist for point in points() if point.dist}.values():
        texts = {"METADATA": _metadata(dist), "entry_points.txt": dist.read_text("entry_points.txt") or ""}
        name = re.sub(r"[-_.]+", "_", dist.name).lower()
        place = folder / f"{name}-{dist.version}.dist-info"
        place.mkdir(parents=True)
        for file, text in texts.items():
            (place / file).write_text(text, encoding="utf-8")


def _metadata(dist: Distribution) -> str:
    return dist.read_text("METADATA") or dist.read_text("PKG-INFO") or f"Name: {dist.name}\nVersion: {dist.version}\n"
