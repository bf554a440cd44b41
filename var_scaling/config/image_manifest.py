"""What an image folder holds (`train/<class>/...`, `val/<class>/...`), known without opening an image.

The version of a folder is a hash of every file's relative path and size, sorted, and the two counts of images. A small
folder is walked whenever it is asked for; a large one once, by `build_manifest`, which keeps the summary in the store.
Until then its version is "provisional", and so is every id made from it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from var_scaling.errors import EnvironmentProblem

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff"})
SMALL_FOLDER = 20_000  # files that are listed and measured in about 0.2 s on a local disk (guess for networks)
PROVISIONAL = "provisional"


@dataclass(frozen=True)
class Manifest:
    """The torch-free facts of one image folder."""

    version: str
    classes: int
    images: int
    validation_images: int
    smallest_class: int  # training images of the smallest class: a balanced subset holds no more of each
    smallest_validation_class: int


def data_root() -> Path:
    """The folder that holds data sets: VAR_SCALING_DATA, else the working folder."""
    return Path(os.environ.get("VAR_SCALING_DATA") or ".")


def list_split(folder: Path, split: str) -> dict[str, list[str]]:
    """Image paths relative to `folder`, by class in alphabetical order; sub-folders of a class count.

    Raises:
        EnvironmentProblem: the split is missing, has no class folder, or a class folder holds no image.
    """
    root = folder / split
    if not root.is_dir():
        raise EnvironmentProblem(
            f"the image folder {folder} has no {split}/; it needs train/ and val/, each with one folder a class"
        )
    classes: dict[str, list[str]] = {}
    for name in sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")):
        files = []
        for here, folders, names in os.walk(root / name):
            folders.sort()
            files += [
                os.path.relpath(os.path.join(here, n), folder)
                for n in names
                if os.path.splitext(n)[1].lower() in IMAGE_SUFFIXES and not n.startswith(".")
            ]
        if not files:
            raise EnvironmentProblem(
                f"the class folder {root / name} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}); "
                "fill it or remove it"
            )
        classes[name] = sorted(Path(f).as_posix() for f in files)
    if len(classes) < 2:
        raise EnvironmentProblem(f"{root} needs at least 2 class folders, found {len(classes)}")
    return classes


def scan(folder: Path, limit: int | None = None) -> Manifest:
    """Walks the folder; above `limit` files the sizes are not read and the version is "provisional".

    Raises:
        EnvironmentProblem: see `list_split`; or the two splits do not have the same classes.
    """
    train, validation = list_split(folder, "train"), list_split(folder, "val")
    if list(train) != list(validation):
        odd = sorted(set(train) ^ set(validation))
        raise EnvironmentProblem(
            f"train/ and val/ of {folder} must have the same class folders; only one of them has "
            f"{', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}"
        )
    files = [f for split in (train, validation) for names in split.values() for f in names]
    counts = [sum(map(len, split.values())) for split in (train, validation)]
    version = PROVISIONAL
    if limit is None or len(files) <= limit:
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(f"{name}\0{(folder / name).stat().st_size}\n".encode())
        version = f"manifest-{digest.hexdigest()[:16]}-{counts[0]}-{counts[1]}"
    return Manifest(
        version=version,
        classes=len(train),
        images=counts[0],
        validation_images=counts[1],
        smallest_class=min(map(len, train.values())),
        smallest_validation_class=min(map(len, validation.values())),
    )


def counts_of(version: str) -> tuple[int, int] | None:
    """Training and validation images of the whole folder, from its version; None where it is provisional."""
    parts = version.split("-")
    return (int(parts[-2]), int(parts[-1])) if parts[0] == "manifest" and len(parts) == 4 else None


def _cached_at(folder: Path, store: Path) -> Path:
    return store / "manifests" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"


def build_manifest(folder: Path, store: Path) -> Manifest:
    """Walks the folder and keeps the summary in the store; a launch does so before it computes ids."""
    manifest = scan(folder)
    path = _cached_at(folder, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(
        json.dumps({"folder": str(folder.resolve()), **asdict(manifest)}, indent=1) + "\n", encoding="utf-8"
    )
    os.replace(partial, path)
    return manifest


def read_manifest(folder: Path, store: Path | None) -> Manifest:
    """The kept summary where there is one, else a fresh walk (provisional for a large folder). Writes nothing."""
    if store is not None:
        try:
            kept = json.loads(_cached_at(folder, store).read_text(encoding="utf-8"))
            kept.pop("folder")
            return Manifest(**kept)
        except (OSError, ValueError, TypeError, KeyError):
            pass  # none yet, or torn: the walk below is the truth
    return scan(folder, limit=SMALL_FOLDER)
