"""Images and statistics from files that anybody may have written, as the metrics take them.

- `.npz` with `arr_0`, uint8 (N, H, W, 3 or 1): what guided-diffusion's evaluator reads; `arr_1` (N) are classes.
- `.npz` with `mu` and `sigma`: moments of a reference in the feature space that is measured in.
- a folder of pictures, read as a viewer shows them (`pictures`), in the order of their paths; folders in it are
  classes.

Nothing is unpickled, and nothing is held in memory but a batch.

Dimension key: N images, B of a batch, C channels, H, W sides in pixels, D features.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_scaling import pictures, randomness
from var_scaling.evaluation.features import BATCH, KEPT_FEATURES, Extractor, ReferenceFeatures, alike_order
from var_scaling.evaluation.frechet import Gaussian, Moments

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


# ---- .npz ------------------------------------------------------------------------------------------------------------


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
        found_labels = _small(path, "arr_1")
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


def _small(path: Path, name: str) -> NDArray[Any]:
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


# ---- a folder --------------------------------------------------------------------------------------------------------


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


# ---- what metrics take -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SetFeatures:
    """Features of a set in an order in which every prefix is like the whole; see `Set.order`."""

    features: NDArray[np.float32]  # (N, D)
    logits: NDArray[np.float32] | None
    strata: NDArray[np.int64] | None  # classes, where their shares are fixed
    moments: Gaussian  # of all
    hash: str  # of the pixels, as three channels


def set_features(
    images: Set,
    extractor: Extractor,
    channels: int,
    beat: Callable[[int, int], None] = lambda done, total: None,
) -> SetFeatures:
    """Features of all images.

    Args:
        images: the set.
        extractor: the feature network.
        channels: that it wants (3, or those of the data it was trained on).
        beat: called with (images done, images in all).

    Raises:
        ValueError: colour where grey is wanted, or a file that breaks off.
    """
    hashed, moments = hashlib.sha256(), Moments()
    parts, logits, done = [], [], 0
    for batch_BHWC in images.read():
        hashed.update(np.broadcast_to(batch_BHWC, (*batch_BHWC.shape[:3], 3)).tobytes())
        features_BD, logits_BY = extractor(_tensor(batch_BHWC, channels, images.path))
        moments.add(features_BD)
        parts.append(features_BD)
        if logits_BY is not None:
            logits.append(logits_BY)
        done += len(batch_BHWC)
        beat(done, images.count)
    order = images.order()
    strata = images.labels[order] if images.labels is not None and images.balanced else None
    return SetFeatures(
        np.concatenate(parts)[order],
        np.concatenate(logits)[order] if logits else None,
        strata,
        moments.gaussian(),
        hashed.hexdigest(),
    )


def _tensor(images_BHWC: NDArray[np.uint8], channels: int, path: Path) -> Tensor:
    if channels == 1 and images_BHWC.shape[-1] == 3:
        if (images_BHWC != images_BHWC[..., :1]).any():
            raise ValueError(
                f"{path} holds colour, and the features are of a network for grey pictures; make them grey, or use "
                "--features inception"
            )
        images_BHWC = images_BHWC[..., :1]
    if channels == 3:
        images_BHWC = np.broadcast_to(images_BHWC, (*images_BHWC.shape[:3], 3))
    return torch.from_numpy(np.ascontiguousarray(images_BHWC.transpose(0, 3, 1, 2)))


@dataclass(frozen=True)
class FileReference:
    """A reference from a file: what the metrics compare with, and its name."""

    features: ReferenceFeatures
    name: str  # of the file, and a hash of what it holds
    images: int | None  # None: only moments are known, not of how many


UNKNOWN = 2**40  # images of moments that do not say how many they are of: nothing is corrected for their number


def open_reference(
    path: Path,
    extractor: Extractor,
    channels: int,
    size: Size,
    beat: Callable[[int, int], None] = lambda done, total: None,
) -> FileReference:
    """A reference from `mu` and `sigma`, from `arr_0`, or from a folder of pictures.

    Where a file has both, the moments are the reference of FID and the images that of the other metrics, as the
    evaluator of guided-diffusion has it.

    Args:
        path: of the file or folder.
        extractor: the feature network.
        channels: that it wants.
        size: height and width of the samples: pictures of a folder are brought to it.
        beat: called with (images done, images in all).

    Raises:
        ValueError: nothing that can be a reference here.
    """
    moments, hashed = None, hashlib.sha256()
    names = set() if path.is_dir() or not path.exists() else npz_names(path)
    if {"mu", "sigma"} <= names:
        mean, covariance = (_small(path, name) for name in ("mu", "sigma"))
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or mean.dtype.kind != "f":
            raise ValueError(
                f"mu of {path} has shape {mean.shape} and sigma {covariance.shape}; (D,) and (D, D) are expected"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ValueError(f"mu or sigma of {path} hold values that are not numbers")
        moments = Gaussian(mean.astype(np.float64), covariance.astype(np.float64), UNKNOWN)
        hashed.update(mean.tobytes() + covariance.tobytes())
    elif names and "arr_0" not in names:
        raise ValueError(f"{path} holds {', '.join(sorted(names))}; a reference has mu and sigma, or images in arr_0")
    found = None
    if moments is None or "arr_0" in names:
        images = open_set(path, size)
        if images.size != size:
            raise ValueError(
                f"the images of {path} have {images.size[1]}x{images.size[0]} pixels and the samples "
                f"{size[1]}x{size[0]}; a reference has the size of what is measured"
            )
        found = set_features(images, extractor, channels, beat)
        hashed.update(found.hash.encode())
        moments = moments or found.moments
    dimension = extractor_dimension(extractor, channels, size)
    if len(moments.mean) != dimension:
        raise ValueError(
            f"mu of {path} has {len(moments.mean)} numbers and {extractor.features} features {dimension}; take the "
            "features that the file was made with (--features; published statistics are of inception)"
        )
    empty = np.zeros((0, dimension), np.float32)
    kept = empty if found is None else found.features[:KEPT_FEATURES]
    labels = np.zeros(len(kept), np.int64)
    if found is not None and found.strata is not None:
        labels = found.strata[: len(kept)]
    name = f"{path.resolve().stem}@{hashed.hexdigest()[:8]}"
    count = None if found is None or moments.count == UNKNOWN else moments.count
    return FileReference(ReferenceFeatures(moments, kept, labels), name, count)


def extractor_dimension(extractor: Extractor, channels: int, size: Size) -> int:
    """D of a feature network, asked with a black image."""
    black = torch.zeros((1, channels, *size), dtype=torch.uint8)
    return int(extractor(black)[0].shape[1])


def measure_set(
    samples: Path,
    extractor: Extractor,
    *,
    channels: int,
    reference: FileReference | Path,
    beat: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Every metric of somebody's samples, by the rules of our own (`fid.measure`).

    Args:
        samples: a file or folder (`open_set`).
        extractor: the feature network.
        channels: that it wants.
        reference: opened, or a file or folder (`open_reference`).
        beat: called with (images done, images in all), of samples and of reference.

    Returns:
        As `evaluate_model`, with the hashes of both sides; `label` names the reference with its hash.

    Raises:
        ValueError: files that are not what they should be; the sentence says so.
    """
    from var_scaling.config.evaluate import FidConfig
    from var_scaling.evaluation.fid import measure
    from var_scaling.planning.identity import digest

    images = open_set(samples)
    if isinstance(reference, Path):
        reference = open_reference(reference, extractor, channels, images.size, beat)
    found = set_features(images, extractor, channels, beat)
    numerics = FidConfig.model_fields["numerics"].default
    same = digest({"network": extractor.identity, "reference": reference.name, "numerics": numerics})[:6]
    shares = "-balanced" if images.balanced else ""
    return {
        "kind": "fid",
        "label": f"{extractor.features}-{reference.name}-{images.count}{shares}-{same}",
        "features": extractor.features,
        "network": extractor.identity,
        "reference": reference.name,
        **({} if reference.images is None else {"reference_images": reference.images}),
        "samples": images.count,
        "samples_from": str(samples),
        "samples_hash": found.hash,
        "class_shares": "balanced" if images.balanced else "as they are",
        **measure(found.features, reference.features, found.logits, found.strata),
    }
