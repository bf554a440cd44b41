"""Samples and references that others made, measured by our rules: sets of images (`set_files`), or their moments.

Moments are an `.npz` with `mu` and `sigma`, in the feature space that is measured in.

Dimension key: N images, B of a batch, C channels, H, W sides in pixels, D features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_scaling.evaluation.features import KEPT_FEATURES, Extractor, ReferenceFeatures
from var_scaling.evaluation.frechet import Gaussian, Moments
from var_scaling.evaluation.set_files import Set, Size, npz_names, open_set, small_array


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
        mean, covariance = (small_array(path, name) for name in ("mu", "sigma"))
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
