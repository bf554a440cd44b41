"""What an image folder contains, to the byte: its version, the kinds and sizes of its pictures, what is unreadable.

The version is a hash of every file's relative path and of the bytes in it, and the two counts of pictures. What was
read of a file is kept in the store (`store/manifests/`) and read again only where its size or one of its times has
changed. A launch reads what is needed and keeps it; a plan writes nothing and reads little: above that, the version is
"provisional" and so is every id made from it, and nothing is trained under such an id.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from var_scaling.config.image_folder import SPLITS, File, Split, Tree, walk
from var_scaling.config.image_names import shown
from var_scaling.errors import EnvironmentProblem
from var_scaling.pictures import Facts, Unreadable, facts
from var_scaling.runs import layout

PROVISIONAL = "provisional"
PLAN_FILES, PLAN_BYTES = 5_000, 64 << 20  # a plan reads so much at most: half a second (benchmarks/image_manifest.py)
READERS = 8  # threads; a file system is waited for, and hashing leaves Python's lock
SETTLED_NS = 2_000_000_000  # a file changed later than this before it was read may change again within one tick
UNREADABLE_SHARE = 0.001  # of a split; above it the set is refused
UNSETTLED = (0, 0, 0)
FORMAT = 2


@dataclass(frozen=True)
class Entry:
    """One file as it was read."""

    stamp: tuple[int, int, int]
    sha256: str
    facts: Facts | None  # None: unreadable
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Manifest:
    """The torch-free facts of one image folder."""

    tree: Tree
    version: str
    sides: Mapping[int, int] = field(default_factory=dict)  # shorter side in pixels -> pictures; none while provisional
    longest: int = 0  # the longest side of any
    deep: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)  # kind -> pictures, least, largest value
    unreadable: Mapping[Split, Mapping[str, str]] = field(default_factory=dict)  # name -> why

    @property
    def classes(self) -> int:
        return len(self.tree.splits["train"])

    def smaller_than(self, side: int) -> int:
        """How many pictures have a shorter side below this."""
        return sum(count for found, count in self.sides.items() if found < side)

    @property
    def smallest_side(self) -> int:
        return min(self.sides)

    @property
    def median_side(self) -> int | None:
        """The side that at least half of the pictures have; None while provisional."""
        half = (sum(self.sides.values()) + 1) // 2
        return next((side for side in sorted(self.sides) if self.smaller_than(side + 1) >= half), None)


class Manifests:
    """Manifests of image folders, each looked at once: what one plan stands on.

    Args:
        store: where what was read is kept; None keeps nothing.
        build: read all that is needed, and keep it; else see the top of this file.
        tell: told what takes long.
    """

    def __init__(
        self, store: Path | None = None, build: bool = False, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        self.store, self.build, self.tell = store, build, tell
        self.read: dict[Path, Manifest] = {}

    def of(self, folder: Path) -> Manifest:
        """The manifest of a folder as it was when it was first asked for.

        Raises:
            EnvironmentProblem: see `image_folder.walk`; or too many pictures cannot be read.
        """
        place = folder.resolve()
        if place not in self.read:
            self.read[place] = self._read(place)
        return self.read[place]

    def _read(self, folder: Path) -> Manifest:
        tree = walk(folder)
        files = tree.files
        listing = _listing(tree)
        if summary := _kept_summary(folder, self.store, listing):
            return _checked(Manifest(tree, **summary))
        kept = _kept(folder, self.store)
        known = {file.name: kept[file.name] for file in files if _same(kept.get(file.name), file)}
        unknown = [file for file in files if file.name not in known]
        size = sum(file.stamp[0] for file in unknown)
        little = len(unknown) <= PLAN_FILES and size <= PLAN_BYTES
        if not (self.build or little):
            return Manifest(tree, PROVISIONAL)
        if not little:
            self.tell(f"reading {len(unknown):,} pictures of {shown(folder)} ({size / 1e6:,.0f} MB), once")
        with ThreadPoolExecutor(READERS) as pool:
            fresh = zip(unknown, pool.map(lambda file: _examine(folder, file), unknown), strict=True)
            entries = known | {file.name: entry for file, entry in fresh}
        summary = _summary(tree, entries)
        if self.build and self.store is not None:
            settled = all(entry.stamp != UNSETTLED for entry in entries.values())
            _keep(folder, self.store, entries, summary, listing if settled else "")
        return _checked(Manifest(tree, **summary))


def _listing(tree: Tree) -> str:
    """A hash of all names and stamps: equal, if nothing has changed."""
    digest = hashlib.sha256(tree.assignment)
    for file in tree.files:
        digest.update(os.fsencode(f"{file.name}\0{file.stamp}\0"))
    return digest.hexdigest()


def _same(entry: Entry | None, file: File) -> bool:
    return entry is not None and entry.stamp == file.stamp


def _examine(folder: Path, file: File) -> Entry:
    """Hash and facts of a file; one that may still be changing gets a stamp that never fits, so it is read again."""
    path = folder / file.name
    before = time.time_ns()
    try:
        data = path.read_bytes()
    except OSError as error:
        return Entry(UNSETTLED, "", None, error.strerror or str(error))
    stamp = file.stamp if max(file.stamp[1:]) + SETTLED_NS < before else UNSETTLED
    digest = hashlib.sha256(data).hexdigest()
    try:
        return Entry(stamp, digest, facts(data))
    except Unreadable as problem:
        return Entry(stamp, digest, None, str(problem))


def _summary(tree: Tree, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The fields of a manifest besides its tree."""
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(os.fsencode(name) + b"\0" + entries[name].sha256.encode() + b"\n")
    digest.update(tree.assignment)
    read = [entry.facts for entry in entries.values() if entry.facts]
    deep = {}
    for kind in ("integers", "floats", "colour16"):
        if of_kind := [f for f in read if f.kind == kind]:
            deep[kind] = (len(of_kind), min(f.low for f in of_kind), max(f.high for f in of_kind))
    unreadable = {
        split: {
            file.name: entries[file.name].problem
            for files in tree.splits[split].values()
            for file in files
            if entries[file.name].facts is None
        }
        for split in SPLITS
    }
    return {
        "version": f"contents-{digest.hexdigest()[:16]}-{tree.count('train')}-{tree.count('val')}",
        "sides": dict(sorted(Counter(f.shorter for f in read).items())),
        "longest": max((f.longer for f in read), default=0),
        "deep": deep,
        "unreadable": unreadable,
    }


def _checked(manifest: Manifest) -> Manifest:
    for split, problems in manifest.unreadable.items():
        check_unreadable(manifest.tree.folder, split, problems, manifest.tree.count(split))
    return manifest


def check_unreadable(folder: Path, split: Split, problems: Mapping[str, str], images: int) -> None:
    """Refuse a split of which too many pictures cannot be read.

    Args:
        folder: the image folder.
        split: one of its two.
        problems: name -> why, of the pictures that cannot be read.
        images: pictures of the split.

    Raises:
        EnvironmentProblem: more than `UNREADABLE_SHARE` of them; up to ten are named.
    """
    if len(problems) > UNREADABLE_SHARE * images:
        named = "; ".join(f"{shown(folder / name)}: {shown(why)}" for name, why in list(problems.items())[:10])
        raise EnvironmentProblem(
            f"{len(problems)} of {images} images of {split}/ in {shown(folder)} cannot be read, above the "
            f"{UNREADABLE_SHARE:.1%} that is let pass: {named}{'; ...' if len(problems) > 10 else ''}. "
            "Restore or remove them"
        )


def counts_of(version: str) -> tuple[int, int] | None:
    """Training and validation images of the whole folder, from its version; None where it is provisional."""
    parts = version.split("-")
    return (int(parts[-2]), int(parts[-1])) if parts[0] == "contents" and len(parts) == 4 else None


# ---- what is kept in the store --------------------------------------------------------------------------------------


def _place(folder: Path, store: Path, what: str) -> Path:
    return layout.manifest(store, hashlib.sha256(os.fsencode(folder)).hexdigest()[:16], what)


def _kept_summary(folder: Path, store: Path | None, listing: str) -> dict[str, Any] | None:
    """What was found of a folder of exactly this listing; the entries of its files are not looked at."""
    try:
        whole = json.loads(_place(folder, store, "summary").read_bytes()) if store else {}
        if (whole.get("format"), whole.get("listing")) != (FORMAT, listing):
            return None
        found: dict[str, Any] = whole["summary"]
        found["sides"] = {int(side): count for side, count in found["sides"].items()}
        return found
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _kept(folder: Path, store: Path | None) -> dict[str, Entry]:
    """What the store knows of a folder's files: nothing, where its own file is missing, torn or another release's."""
    if store is None:
        return {}
    try:
        whole = json.loads(_place(folder, store, "files").read_bytes())
        if whole["format"] != FORMAT:
            return {}
        return {
            name: Entry(tuple(stamp), sha256, Facts(*known) if known else None, problem)
            for name, (stamp, sha256, known, problem) in whole["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _keep(folder: Path, store: Path, entries: Mapping[str, Entry], summary: Mapping[str, Any], listing: str) -> None:
    about = {"format": FORMAT, "folder": shown(folder)}
    files = {name: _row(entry) for name, entry in sorted(entries.items())}
    try:
        # The summary last: it is believed for its listing alone.
        for what, whole in (("files", {"files": files}), ("summary", {"listing": listing, "summary": summary})):
            path = _place(folder, store, what)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
            partial.write_text(json.dumps(about | whole) + "\n", encoding="ascii")
            os.replace(partial, path)
    except OSError as error:
        raise EnvironmentProblem(
            f"{store} cannot be written ({error.strerror or error}); free space, mend its permissions, or choose "
            "another runs folder with --runs"
        ) from None


def _row(entry: Entry) -> list[Any]:
    return [entry.stamp, entry.sha256, entry.facts and list(asdict(entry.facts).values()), entry.problem]
