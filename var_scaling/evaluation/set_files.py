"""Images from files that anybody may have written, of which nothing is unpickled and a batch at a time is held.

- `.npz` with `arr_0`, uint8 (N, H, W, 3 or 1): what guided-diffusion's evaluator reads; `arr_1` (N) are classes.
- a folder of pictures, read as a viewer shows them (`pictures`), in the order of their paths; folders in it are
  classes.

Dimension key: N images, B of a batch, C channels, H, W sides in pixels.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_scaling import pictures, randomness
from var_scaling.evaluation.features import BATCH, alike_order

Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Set:
    """Images of one size from a file or folder, to be read batch by batch as often as wanted."""

    path: Path
    count: int
    size: Size
    channels: int
    labels: NDArray[np.int64] | None
    read: Callable[[], Iterator[NDArray[np.uint8]]]  # (B, H, W, C) each

    @property
    def balanced(self) -> bool:
        """Whether every class occurs as often, to one: then the shares are fixed, and no chance of the draw."""
        return self.labels is not None and int(np.ptp(np.unique(self.labels, return_counts=True)[1])) <= 1

    def order(self) -> NDArray[np.int64]:
        """Rows so that every prefix is like the whole: by class shares, or shuffled where no classes are known.

        A folder that is sorted by class is then not compared by halves of different classes.
        """
        if self.labels is not None:
            return alike_order(np.unique(self.labels, return_inverse=True)[1])
        return randomness.permutation(0, "images-of-a-file", 0, self.count)


def open_set(path: Path, resize: Size | None = None) -> Set:
    """The images of a file or folder.

    Args:
        path: `.npz` or a folder.
        resize: pictures of a folder that have another height and width are scaled (shorter side, Lanczos) and cut to
            their middle. None: all must have the first one's.

    Raises:
        ValueError: nothing that can be read; the sentence says what was found and what is expected.
    """
    if path.is_dir():
        return _open_folder(path, resize)
    if not path.exists():
        raise ValueError(f"{path} is not there; give an .npz file or a folder of pictures")
    return _open_npz(path)


def _open_npz(path: Path) -> Set:
    names = npz_names(path)
    if "arr_0" not in names:
        found = ", ".join(sorted(names)) or "nothing"
        raise ValueError(f"{path} holds no arr_0 (it holds {found}); images are expected there: uint8, (N, H, W, 3)")
    shape, dtype = _header(path, "arr_0")
    if dtype != np.uint8:
        raise ValueError(
            f"arr_0 of {path} is of {dtype}; images are expected as uint8, 0 to 255: "
            "(images.clip(0, 1) * 255).round().astype('uint8')"
        )
    if len(shape) != 4 or shape[-1] not in (1, 3):
        hint = "; channels come last: arr_0.transpose(0, 2, 3, 1)" if len(shape) == 4 and shape[1] in (1, 3) else ""
        raise ValueError(f"arr_0 of {path} has shape {shape}; (N, H, W, 3) or (N, H, W, 1) is expected{hint}")
    if shape[0] < 1:
        raise ValueError(f"arr_0 of {path} holds no image")
    labels = None
    if "arr_1" in names:
        found_labels = small_array(path, "arr_1")
        if found_labels.shape == shape[:1] and found_labels.dtype.kind in "iu":
            labels = found_labels.astype(np.int64)
    return Set(path, shape[0], (shape[1], shape[2]), shape[3], labels, lambda: _rows(path, "arr_0"))


def npz_names(path: Path) -> set[str]:
    """The arrays of an .npz file.

    Raises:
        ValueError: it is none, or torn.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        if path.suffix.lower() != ".npz":
            raise ValueError(f"{path} is no .npz file; give one, or a folder of pictures") from None
        raise ValueError(f"{path} is no whole .npz file ({error}); it may be truncated: copy it again") from None


def _torn(path: Path, name: str, error: object) -> ValueError:
    return ValueError(f"{name} of {path} cannot be read to its end ({error}); the file is truncated or damaged")


READING = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError)


def _read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(stream)
    return tuple(shape), by_columns, dtype


def _header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            shape, by_columns, dtype = _read_header(stream)
    except READING as error:
        raise _torn(path, name, error) from None
    if by_columns:
        raise ValueError(f"{name} of {path} lies in Fortran order; save it with np.ascontiguousarray")
    return shape, dtype


def small_array(path: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as content:
            return np.asarray(content[name])
    except (*READING, KeyError) as error:
        raise _torn(path, name, error) from None


def _rows(path: Path, name: str) -> Iterator[NDArray[np.uint8]]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            shape, _, _ = _read_header(stream)
            one = int(np.prod(shape[1:]))
            for start in range(0, shape[0], BATCH):
                count = min(BATCH, shape[0] - start)
                content = stream.read(count * one)
                if len(content) < count * one:
                    raise EOFError(f"{start + len(content) // one} of {shape[0]} images are there")
                yield np.frombuffer(content, np.uint8).reshape(count, *shape[1:])
            stream.read(1)  # the end, where the checksum is compared
    except READING as error:
        raise _torn(path, name, error) from None


def _open_folder(path: Path, resize: Size | None) -> Set:
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in pictures.SUFFIXES and not p.name.startswith("."))
    if not files:
        raise ValueError(f"there is no picture in the folder {path}, nor in folders in it")
    first = _picture(files[0], None)
    size = resize or (first.shape[0], first.shape[1])
    parents = [file.parent.relative_to(path).as_posix() for file in files]
    labels = None if len(set(parents)) == 1 else np.unique(parents, return_inverse=True)[1].astype(np.int64)
    labels = _labels_of_ours(path, len(files)) if labels is None else labels

    def read() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(files), BATCH):
            found = [_picture(file, resize) for file in files[start : start + BATCH]]
            for file, pixels in zip(files[start : start + BATCH], found, strict=True):
                if pixels.shape[:2] != size:
                    raise ValueError(
                        f"{file} has {pixels.shape[1]}x{pixels.shape[0]} pixels and the first picture of the folder "
                        f"{size[1]}x{size[0]}; samples have one size"
                    )
            yield np.stack(found)

    return Set(path, len(files), size, 3, labels, read)


def _labels_of_ours(path: Path, count: int) -> NDArray[np.int64] | None:
    """The classes of a set that `sample --count` drew."""
    from var_scaling.evaluation.sets import ABOUT, labels_of
    from var_scaling.runs import store

    about = store.read_json(path / ABOUT)
    if not isinstance(about, dict) or about.get("count") != count or not about.get("classes"):
        return None
    return labels_of(0, count, about["classes"])


def _picture(file: Path, resize: Size | None) -> NDArray[np.uint8]:
    """(H, W, 3)."""
    from PIL import Image

    try:
        image = pictures.read_alone(file, 3)
    except pictures.Unreadable as problem:
        raise ValueError(f"{file}: {problem}; remove it, or mend it") from None
    if resize is not None and (image.height, image.width) != resize:
        height, width = resize
        scale = max(height / image.height, width / image.width)
        tall, wide = max(height, round(image.height * scale)), max(width, round(image.width * scale))
        image = image.resize((wide, tall), Image.Resampling.LANCZOS)
        left, top = (wide - width) // 2, (tall - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image, np.uint8)
