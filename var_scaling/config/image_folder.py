"""What lies in an image folder (`train/<class>/...`, `val/<class>/...`), by names alone: no file is opened.

Sub-folders of a class count, links to files and folders are followed, and whatever is left out is counted with its
reason, so that a plan can say it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from var_scaling.errors import EnvironmentProblem
from var_scaling.pictures import SUFFIXES

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")


def data_root() -> Path:
    """The folder that holds data sets: VAR_SCALING_DATA, else the working folder."""
    return Path(os.environ.get("VAR_SCALING_DATA") or ".").expanduser()


def shown(name: str | Path) -> str:
    """A file name as text that can be printed and logged, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class File:
    """One picture file, by its path relative to the folder (with `/`), and what a change of it would alter."""

    name: str
    stamp: tuple[int, int, int] = (0, 0, 0)  # bytes, and the times of the last change of content and of inode, in ns


@dataclass(frozen=True)
class Tree:
    """The picture files of both splits, by class in alphabetical order, and what was left out."""

    folder: Path
    splits: Mapping[Split, Mapping[str, tuple[File, ...]]]
    left_out: Mapping[str, tuple[int, str]]  # reason -> how many, and one of them

    def count(self, split: Split) -> int:
        return sum(map(len, self.splits[split].values()))

    def smallest(self, split: Split) -> int:
        """Pictures of the smallest class."""
        return min(map(len, self.splits[split].values()))

    @property
    def files(self) -> list[File]:
        return [file for split in self.splits.values() for files in split.values() for file in files]


@dataclass
class _LeftOut:
    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        count, first = self.found.get(reason, (0, name))
        self.found[reason] = (count + 1, first)


def walk(folder: Path, stamps: bool = True) -> Tree:
    """Every picture file of a folder.

    Args:
        folder: holds `train` and `val`.
        stamps: False leaves the stamps at 0, which spares a question to the file system for each file.

    Raises:
        EnvironmentProblem: a split is missing, has fewer than 2 class folders or one without a picture, the two do not
            have the same classes, or a folder cannot be read.
    """
    left_out = _LeftOut()
    try:
        splits = {split: _split(folder, split, stamps, left_out) for split in SPLITS}
    except OSError as error:
        where = shown(error.filename or folder)
        raise EnvironmentProblem(
            f"the image folder {shown(folder)} cannot be read: {where}: {error.strerror}"
        ) from None
    train, validation = (splits[split] for split in SPLITS)
    if list(train) != list(validation):
        odd = [shown(name) for name in sorted(set(train) ^ set(validation))]
        raise EnvironmentProblem(
            f"train/ and val/ of {shown(folder)} must have the same class folders; only one of them has "
            f"{', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}"
        )
    return Tree(folder, splits, left_out.found)


def _split(folder: Path, split: Split, stamps: bool, left_out: _LeftOut) -> dict[str, tuple[File, ...]]:
    root = folder / split
    if not root.is_dir():
        raise EnvironmentProblem(
            f"the image folder {shown(folder)} has no {split}/; it needs train/ and val/, each with one folder a class"
            f"{_instead(folder)}"
        )
    names = []
    for entry in os.scandir(root):
        here = f"{split}/{entry.name}"
        if entry.name.startswith("."):
            if entry.is_dir():
                left_out.add("hidden folders", here)
        elif entry.is_dir():
            names.append(entry.name)
        elif entry.is_symlink() and not os.path.exists(entry.path):
            left_out.add("broken links", here)
        else:
            left_out.add("files outside a class folder", here)
    classes = {}
    for name in sorted(names):
        files: list[File] = []
        _collect(folder, f"{split}/{name}", stamps, left_out, files, ())
        if not files:
            raise EnvironmentProblem(
                f"the class folder {shown(root / name)} holds no picture ({', '.join(sorted(SUFFIXES))}), but "
                f"{_contents(root / name)}; fill it or remove it"
            )
        classes[name] = tuple(sorted(files, key=lambda file: file.name))
    if len(classes) < 2:
        only = f" ({shown(next(iter(classes)))})" if classes else ""
        raise EnvironmentProblem(
            f"{shown(root)} needs at least 2 class folders, found {len(classes)}{only}: models here are conditional on "
            "a class; sort the pictures into two or more folders"
        )
    return classes


def _collect(
    folder: Path, here: str, stamps: bool, left_out: _LeftOut, files: list[File], above: tuple[tuple[int, int], ...]
) -> None:
    """Add the picture files at and below one folder; `above` are the folders that it lies in, so that a link ends."""
    place = os.stat(folder / here)
    path = (*above, (place.st_dev, place.st_ino))
    for entry in os.scandir(folder / here):
        name = f"{here}/{entry.name}"
        picture = os.path.splitext(entry.name)[1].lower() in SUFFIXES
        if entry.is_dir():
            if entry.name.startswith("."):
                left_out.add("hidden folders", name)
            elif entry.is_symlink() and (entry.stat().st_dev, entry.stat().st_ino) in path:
                left_out.add("links to a folder that they lie in", name)
            else:
                _collect(folder, name, stamps, left_out, files, path)
        elif entry.is_symlink() and not os.path.exists(entry.path):
            left_out.add("broken links", name)
        elif entry.name.startswith("."):
            if picture:
                left_out.add("hidden files", name)
        elif not picture:
            left_out.add(f"{shown(os.path.splitext(entry.name)[1].lower()) or 'suffixless'} files", name)
        elif not entry.is_file():
            left_out.add("pipes, sockets and devices", name)
        else:
            files.append(File(name, _stamp(entry.stat()) if stamps else (0, 0, 0)))


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    assert stat.S_ISREG(found.st_mode)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _contents(folder: Path) -> str:
    """What a folder holds, in a few words."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    folders = [shown(entry.name) for entry in entries if entry.is_dir()]
    files = [shown(entry.name) for entry in entries if not entry.is_dir()]
    parts = [
        f"{len(names)} {kind}{'s'[: len(names) - 1]} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, kind in ((folders, "folder"), (files, "file"))
        if names
    ]
    return " and ".join(parts) or "nothing"


def _instead(folder: Path) -> str:
    """What a user may have meant by a folder without its splits."""
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and (p / "train").is_dir() and (p / "val").is_dir())
    if inside:
        return f"; {shown(inside[0])} has them"
    return f"; it holds {_contents(folder)}"
