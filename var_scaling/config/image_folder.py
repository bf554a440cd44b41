"""What lies in an image folder, by names alone: no picture is opened.

The layouts, the first that fits:

    train/<class>/...   val/<class>/...      the splits by folders
    train/<class>/...                        without a validation split: a share of each class is set aside
    labels.csv                               a row for each picture: its file, its label, perhaps its split
    <class>/...                              the same without train/
    pictures in train/ or in the folder      one class: what learns them is unconditional

What is set aside is chosen by a hash of each file's path, so that it is the same on every machine. Sub-folders of a
class count, links to files and folders are followed, and whatever is left out is counted with its reason, so that a
plan can say it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from var_scaling.config.image_labels import LABELS_FILE, read_labels
from var_scaling.config.image_names import shown
from var_scaling.errors import EnvironmentProblem
from var_scaling.pictures import SUFFIXES
from var_scaling.runs import layout

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
# What the folder of a split may be called; its own name comes first.
NAMES_OF: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test"),
}
SET_ASIDE = 10  # one in so many pictures of a class is for validation, where nothing says which are
ONE_CLASS = "pictures"  # the class of pictures that lie in none


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
    how: tuple[str, ...] = ()  # how splits and classes were told, where it is not by train/<class> and val/<class>

    @property
    def assignment(self) -> bytes:
        """Which picture is of which split and class; nothing, where its path says it."""
        if not self.how:
            return b""
        rows = [(s, label, file.name) for s in SPLITS for label, files in self.splits[s].items() for file in files]
        return os.fsencode("\n".join("\0".join(row) for row in rows))

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

    def forget(self, reason: str) -> None:
        """One less for a reason."""
        count, first = self.found.pop(reason)
        if count > 1:
            self.found[reason] = (count - 1, first)


def walk(folder: Path, stamps: bool = True) -> Tree:
    """Every picture file of a folder, in one of the layouts at the top of this file.

    Args:
        folder: holds the pictures.
        stamps: False leaves the stamps at 0, which spares a question to the file system for each file.

    Raises:
        EnvironmentProblem: no layout fits, a class has no picture (or one, and one is to be set aside), the two splits
            do not have the same classes, or a folder cannot be read.
    """
    left_out = _LeftOut()
    try:
        if (folder / LABELS_FILE).is_file() and not _has_class_folders(folder, left_out):
            splits, how = _by_labels(folder, stamps, left_out)
        else:
            splits, how = _by_folders(folder, stamps, left_out)
    except OSError as error:
        where = shown(error.filename or folder)
        raise EnvironmentProblem(
            f"the image folder {shown(folder)} cannot be read: {where}: {error.strerror}"
        ) from None
    if "val" not in splits:
        splits, said = _set_aside(folder, splits["train"])
        how = (*how, said)
    train, validation = (splits[split] for split in SPLITS)
    if list(train) != list(validation):
        odd = [shown(name) for name in sorted(set(train) ^ set(validation))]
        raise EnvironmentProblem(
            f"train/ and val/ of {shown(folder)} must have the same class folders; only one of them has "
            f"{', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}"
        )
    return Tree(folder, splits, left_out.found, how)


Classes = dict[str, tuple[File, ...]]


def _has_class_folders(folder: Path, left_out: _LeftOut) -> bool:
    """Whether train/ is divided into folders, so that a table beside it is not asked; it is said to be left out."""
    for name in NAMES_OF["train"]:
        if (folder / name).is_dir():
            if found := any(e.is_dir() and not e.name.startswith(".") for e in os.scandir(folder / name)):
                left_out.add("tables beside class folders", LABELS_FILE)
            return found
    return False


def _by_folders(folder: Path, stamps: bool, left_out: _LeftOut) -> tuple[dict[Split, Classes], tuple[str, ...]]:
    """Splits and classes as folders tell them; without "val" where there is none, and how they were told."""
    places = {split: [name for name in names if (folder / name).is_dir()] for split, names in NAMES_OF.items()}
    if not places["train"]:
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and (p / "train").is_dir())
        if inside or places["val"]:
            also = f"{shown(inside[0])} has one" if inside else f"it holds {_contents(folder)}"
            raise EnvironmentProblem(f"the image folder {shown(folder)} has no train/; {also}")
        classes = _classes(folder, "", stamps, left_out)
        how = "the folder has no train/, so its sub-folders are the classes"
        return {"train": classes}, (how if list(classes) != [ONE_CLASS] else "its pictures lie in no class folders",)
    splits: dict[Split, Classes] = {}
    said = []
    for split, names in places.items():
        if not names:
            continue
        splits[split] = _classes(folder, names[0], stamps, left_out)
        if names[0] != split:
            said.append(f"{names[0]}/ is its {'training' if split == 'train' else 'validation'} split")
        for name in names[1:]:
            left_out.add("folders of a further split", name)
        if list(splits[split]) == [ONE_CLASS]:
            said.append(f"the pictures of {names[0]}/ lie in no class folders")
    return splits, tuple(said)


def _classes(folder: Path, here: str, stamps: bool, left_out: _LeftOut) -> Classes:
    """The classes below one place of the folder ("" is the folder itself), at least one."""
    names: list[str] = []
    loose: list[os.DirEntry[str]] = []
    for entry in os.scandir(folder / here):
        name = f"{here}/{entry.name}" if here else entry.name
        if entry.name.startswith("."):
            if entry.is_dir():
                left_out.add("hidden folders", name)
        elif entry.is_dir():
            names.append(entry.name)
        else:
            loose.append(entry)
    classes: Classes = {}
    empty = []
    for name in sorted(names):
        if not here and layout.is_runs(folder / name):
            left_out.add("folders of studies", name)  # somebody launched among the pictures
            continue
        files: list[File] = []
        _collect(folder, f"{here}/{name}" if here else name, stamps, left_out, files, ())
        if files:
            classes[name] = tuple(sorted(files, key=lambda file: file.name))
        else:
            empty.append(name)
    for name in empty:
        if here and (classes or not any(_is_picture(entry.name) for entry in loose)):
            raise EnvironmentProblem(
                f"the class folder {shown(folder / here / name)} holds no picture ({', '.join(sorted(SUFFIXES))}), but "
                f"{_contents(folder / here / name)}; fill it or remove it"
            )
        left_out.add("folders without a picture", f"{here}/{name}" if here else name)
    if classes:
        for entry in loose:
            broken = entry.is_symlink() and not os.path.exists(entry.path)
            name = f"{here}/{entry.name}" if here else entry.name
            left_out.add("broken links" if broken else "files outside a class folder", name)
        return classes
    flat: list[File] = []
    for entry in loose:
        _add_file(entry, f"{here}/{entry.name}" if here else entry.name, stamps, left_out, flat)
    if not flat:
        raise EnvironmentProblem(
            f"{shown(folder / here)} holds no picture ({', '.join(sorted(SUFFIXES))}) and no folder of pictures, but "
            f"{_contents(folder / here)}{_another_format(folder / here)}"
        )
    return {ONE_CLASS: tuple(sorted(flat, key=lambda file: file.name))}


def _set_aside(folder: Path, classes: Classes) -> tuple[dict[Split, Classes], str]:
    """The two splits of pictures that nothing divides: of each class, those whose paths have the smallest hashes."""
    train: Classes = {}
    validation: Classes = {}
    for label, files in classes.items():
        if len(files) < 2:
            raise EnvironmentProblem(
                f"class {shown(label)} of {shown(folder)} has one picture, and one of each class is set aside for "
                "validation where there is no val/; add pictures, or a val/ of your own"
            )
        by_hash = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest())
        aside = {file.name for file in by_hash[: max(1, len(files) // SET_ASIDE)]}
        train[label] = tuple(file for file in files if file.name not in aside)
        validation[label] = tuple(file for file in files if file.name in aside)
    said = f"no val/ is given, so 1 in {SET_ASIDE} pictures of each class is set aside for it, by a hash of its path"
    return {"train": train, "val": validation}, said


def _by_labels(folder: Path, stamps: bool, left_out: _LeftOut) -> tuple[dict[Split, Classes], tuple[str, ...]]:
    """Splits and classes as `labels.csv` tells them."""
    files: list[File] = []
    _collect(folder, "", stamps, left_out, files, ())
    here = {file.name: file for file in files}
    left_out.forget(f"{os.path.splitext(LABELS_FILE)[1]} files")
    found: dict[Split, dict[str, list[File]]] = {}
    labels, column = read_labels(folder / LABELS_FILE)
    for name, (label, split_name) in labels.items():
        split = next((s for s, names in NAMES_OF.items() if split_name.lower() in names), None)
        if split is None and column:
            raise EnvironmentProblem(
                f"{shown(folder / LABELS_FILE)}: the split `{split_name}` of {shown(name)} is none of "
                f"{', '.join(each for names in NAMES_OF.values() for each in names)}"
            )
        if name in here:
            found.setdefault(split or "train", {}).setdefault(label, []).append(here.pop(name))
        else:
            left_out.add(f"pictures that {LABELS_FILE} names and that are not there", name)
    for name in here:
        left_out.add(f"pictures that {LABELS_FILE} does not name", name)
    if not found.get("train"):
        first = next(iter(labels), None)
        raise EnvironmentProblem(
            f"{shown(folder / LABELS_FILE)} names no training picture that is there"
            f"{f' (its first is {shown(first)})' if first else ''}; a file's name is its path below {shown(folder)}, "
            "with its suffix"
        )
    splits: dict[Split, Classes] = {
        split: {label: tuple(sorted(of, key=lambda file: file.name)) for label, of in sorted(classes.items())}
        for split, classes in found.items()
    }
    return splits, (f"{LABELS_FILE} says what each picture is",)


def _collect(
    folder: Path, here: str, stamps: bool, left_out: _LeftOut, files: list[File], above: tuple[tuple[int, int], ...]
) -> None:
    """Add the picture files at and below one folder; `above` are the folders that it lies in, so that a link ends."""
    place = os.stat(folder / here)
    path = (*above, (place.st_dev, place.st_ino))
    for entry in os.scandir(folder / here):
        name = f"{here}/{entry.name}" if here else entry.name
        if not entry.is_dir():
            _add_file(entry, name, stamps, left_out, files)
        elif entry.name.startswith("."):
            left_out.add("hidden folders", name)
        elif entry.is_symlink() and (entry.stat().st_dev, entry.stat().st_ino) in path:
            left_out.add("links to a folder that they lie in", name)
        else:
            _collect(folder, name, stamps, left_out, files, path)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _add_file(entry: os.DirEntry[str], name: str, stamps: bool, left_out: _LeftOut, files: list[File]) -> None:
    """Add one entry that is no folder, or say why it is left out."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        left_out.add("broken links", name)
    elif entry.name.startswith("."):
        if _is_picture(name):
            left_out.add("hidden files", name)
    elif not _is_picture(name):
        left_out.add(f"{shown(os.path.splitext(name)[1].lower()) or 'suffixless'} files", name)
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


def _another_format(folder: Path) -> str:
    """What to do with a data set that is not made of picture files, where it is recognised."""
    suffixes = {path.suffix.lower() for path in folder.iterdir() if path.is_file()}
    if suffixes & {".arrow", ".parquet"}:
        return (
            ". It looks like a data set of Hugging Face: write its pictures out as files, e.g. "
            'd["image"].save(f"photos/{label}/{i}.png") for each row'
        )
    for suffix, command in ((".zip", "unzip"), (".tar", "tar -xf")):
        if suffix in suffixes:
            return f". Unpack it first ({command} ...)"
    return ""
