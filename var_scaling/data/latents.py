"""The latent cache: K views of every training image and the plain view of every validation image, encoded once.

    train_<array>.npy        (N, K, ...)      each array that the tokenizer makes of an image (`Tokenizer.shape`)
    train_labels.npy         (N,)             int64
    validation_*.npy         the same of the M validation images, one view: (M, 1, ...), (M,)
    meta.json                hashes of tokenizer and data, a checksum of each file; written last

An array that follows from these (`Tokenizer.derived`: what a transformer reads of the tokens) is kept beside them while
it is small, and computed for each batch where it is not. The files are memory-mapped, so trials side by side share one
copy. Rows are in the order of `Images`: the first n are the class-balanced subset of n images.

Dimension key: N images, K views, B batch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_scaling.config.data import DataConfig
from var_scaling.config.image_names import shown
from var_scaling.data.images import Images, Split
from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import layout, store
from var_scaling.state_dicts import weights_hash
from var_scaling.tokenizers.base import DERIVED_LIMIT_BYTES

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt
    from var_scaling.tokenizers.base import Tokenizer


FORMAT = 1
CHUNK = 2_048  # images encoded between two saved pieces; about a second of `tiny`
ENCODE_BATCH = 256  # fixed: another batch might round a tie between two codes the other way


def build_latents(
    data: DataConfig, images: Images, tokenizer: Tokenizer, *, attempt: Attempt, out: Path, device: torch.device | str
) -> dict[str, Any]:
    """Encodes the set into `out`, an empty folder; whoever publishes it renames it into place.

    Pieces of `CHUNK` images are saved as checkpoints of the attempt, so a later attempt goes on where this one stopped.

    Returns:
        What meta.json holds.

    Raises:
        Stopped, Lost: through the attempt.
        EnvironmentProblem: too many unreadable images.
    """
    views = data.views
    assert views is not None, "resolve the data config first"
    tokenizer = tokenizer.to(device).eval()
    tokenizer_hash = weights_hash(tokenizer)
    total = images.count("train") * views + images.count("validation")
    kept = {
        name: (dtype, shape)
        for name, (dtype, shape) in tokenizer.derived.items()
        if total * math.prod(shape) * np.dtype(dtype).itemsize <= DERIVED_LIMIT_BYTES
    }
    done = 0
    pieces: list[str] = []
    for split in ("train", "validation"):
        count, of_split = images.count(split), views if split == "train" else 1
        files = {
            name: _create(layout.latents_array(out, split, name), (count, of_split, *shape), dtype)
            for name, (dtype, shape) in {**tokenizer.shape, **kept}.items()
        }
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            name = f"tokens_{split}_{start}"
            saved = attempt.load_checkpoint(name)
            if saved is None or saved["tokenizer"] != tokenizer_hash:
                piece = _encode(images, tokenizer, split, start, stop, of_split, device)
                attempt.save_checkpoint(name, {**piece, "tokenizer": tokenizer_hash})
            else:
                piece = {array: saved[array] for array in tokenizer.shape}
            pieces.append(name)
            for array, values in {**piece, **_derive(tokenizer, kept, piece, device)}.items():
                files[array][start:stop] = values.numpy().reshape(stop - start, of_split, *values.shape[1:])
            done += (stop - start) * of_split
            attempt.progress(done, total, f"{split} images encoded")
            attempt.journal.write(phase="tokens", images=done)
            attempt.check_owner()
            if attempt.stop_requested():
                raise attempt.stopped()
        for file in files.values():
            file.flush()
        np.save(layout.latents_array(out, split, "labels"), images.labels(split))
    meta = {
        "format": FORMAT,
        "images": images.count("train"),
        "validation_images": images.count("validation"),
        "views": views,
        "arrays": [*tokenizer.shape, *kept],
        "tokenizer_hash": tokenizer_hash,
        "data_hash": images.content_hash,
        "unreadable_images": [shown(name) for names in images.unreadable.values() for name in names],
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": store.digest(path)}
            for path in sorted(out.glob("*.npy"))
        },
    }
    store.write_json(layout.latents(out), meta)
    for name in pieces:
        attempt.drop_checkpoint(name)
    return meta


def _create(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _encode(
    images: Images, tokenizer: Tokenizer, split: Split, start: int, stop: int, views: int, device: torch.device | str
) -> dict[str, Tensor]:
    """The arrays of images start .. stop, all views of an image side by side, in the dtypes of their files."""
    rows = np.repeat(np.arange(start, stop), views)
    each = np.tile(np.arange(views), stop - start)
    parts = [slice(begin, begin + ENCODE_BATCH) for begin in range(0, len(rows), ENCODE_BATCH)]
    encoded: list[dict[str, Tensor]] = []
    # The next batch is read while this one is encoded: image files and a GPU then work side by side.
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(images.batch, rows[parts[0]], each[parts[0]], split)
        for number in range(len(parts)):
            batch = waiting.result()
            if number + 1 < len(parts):
                ahead = parts[number + 1]
                waiting = reader.submit(images.batch, rows[ahead], each[ahead], split)
            encoded.append({name: array.cpu() for name, array in tokenizer.latents(batch.to(device)).items()})
    return {
        name: torch.cat([part[name] for part in encoded]).to(getattr(torch, dtype))
        for name, (dtype, _) in tokenizer.shape.items()
    }


def _derive(
    tokenizer: Tokenizer, names: Iterable[str], piece: Mapping[str, Tensor], device: torch.device | str
) -> dict[str, Tensor]:
    count = len(next(iter(piece.values())))
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for begin in range(0, count, ENCODE_BATCH) if found else ():
        part = {name: widened(values[begin : begin + ENCODE_BATCH]).to(device) for name, values in piece.items()}
        for name, parts in found.items():
            parts.append(tokenizer.derive(name, part).cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def widened(array: Tensor) -> Tensor:
    """Whole numbers as torch's layers take them; real numbers as they are."""
    return array if array.is_floating_point() else array.long()


class LatentCache:
    """An open cache. `batch` is what training reads, `validation_batch` what the validation loss reads.

    Args:
        folder: published by `build_latents`.
        meta: its meta.json.
        tokenizer: needed for arrays that are derived and not kept.
    """

    def __init__(self, folder: Path, meta: dict[str, Any], tokenizer: Tokenizer | None) -> None:
        self.folder, self.meta, self.tokenizer = folder, meta, tokenizer
        self.views: int = meta["views"]
        names = {file.removesuffix(".npy").partition("_")[2] for file in meta["files"]} - {"labels"}
        self._train = {name: self._open("train", name) for name in sorted(names)}
        self._validation = {name: self._open("validation", name)[:, 0] for name in sorted(names)}
        self.train_labels: NDArray[np.int64] = np.load(layout.latents_array(folder, "train", "labels"))
        self.validation_labels: NDArray[np.int64] = np.load(layout.latents_array(folder, "validation", "labels"))

    def _open(self, split: str, name: str) -> NDArray[Any]:
        return np.load(layout.latents_array(self.folder, split, name), mmap_mode="r")

    def batch(
        self, indices: NDArray[np.int64], views: NDArray[np.int64] | int, names: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Labels (B,) int64 and the named arrays (B, ...) of training images.

        Args:
            indices: rows of the training images.
            views: one for all, or one each, in 0 .. K-1.
            names: arrays of the tokenizer, stored or derived.
        """
        rows, each = np.asarray(indices), np.broadcast_to(np.asarray(views), np.shape(indices))
        return torch.from_numpy(self.train_labels[rows]), self._arrays(
            names, {name: lambda array=array: array[rows, each] for name, array in self._train.items()}
        )

    def validation_batch(self, start: int, stop: int, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The same as `batch` of validation images start .. stop, in their order."""
        return torch.from_numpy(self.validation_labels[start:stop]), self._arrays(
            names, {name: lambda array=array: np.array(array[start:stop]) for name, array in self._validation.items()}
        )

    @torch.no_grad()
    def _arrays(self, names: Sequence[str], stored: Mapping[str, Callable[[], NDArray[Any]]]) -> dict[str, Tensor]:
        read = lru_cache(maxsize=None)(lambda name: widened(torch.from_numpy(stored[name]())))
        found: dict[str, Tensor] = {}
        for name in names:
            if name in stored:
                found[name] = read(name)
                continue
            assert self.tokenizer is not None, f"this cache keeps no {name}: open_latents(folder, tokenizer)"
            device = next(self.tokenizer.parameters()).device
            sources = {source: read(source).to(device) for source in self.tokenizer.shape}
            found[name] = self.tokenizer.derive(name, sources)
        return found


def open_latents(folder: Path, tokenizer: Tokenizer | None = None) -> LatentCache:
    """Opens a published cache; its checksums are verified the first time, and again whenever a file has changed.

    Args:
        folder: what `build_latents` filled.
        tokenizer: checked against the cache, and used where derived arrays were not kept.

    Raises:
        EnvironmentProblem: missing, damaged, of another format, or made with another tokenizer.
    """
    meta = store.read_json(layout.latents(folder))
    if meta is None:
        raise EnvironmentProblem(f"{folder} holds no finished latent cache; delete it and launch again")
    if meta.get("format") != FORMAT:
        raise EnvironmentProblem(
            f"the latent cache {folder} has format {meta.get('format')}, this release reads {FORMAT}; delete it and "
            "launch again"
        )
    _verify(folder, meta)
    if tokenizer is not None and weights_hash(tokenizer) != meta["tokenizer_hash"]:
        raise EnvironmentProblem(
            f"the latent cache {folder} was made with other tokenizer weights ({meta['tokenizer_hash'][:12]}) than "
            f"those at hand ({weights_hash(tokenizer)[:12]}); delete it and launch again"
        )
    return LatentCache(folder, meta, tokenizer)


def _verify(folder: Path, meta: dict[str, Any]) -> None:
    stamps = {}
    for name, expected in meta["files"].items():
        try:
            found = (folder / name).stat()
        except OSError:
            raise EnvironmentProblem(f"the latent cache {folder} lacks {name}; delete it and launch again") from None
        if found.st_size != expected["bytes"]:
            raise EnvironmentProblem(
                f"the latent cache {folder} is damaged: {name} has {found.st_size:,} bytes, not {expected['bytes']:,}; "
                "delete it and launch again"
            )
        stamps[name] = [found.st_size, found.st_mtime_ns, found.st_ino]
    marker = folder / ".verified.json"
    if store.read_json(marker) == stamps:
        return
    for name, expected in meta["files"].items():
        if store.digest(folder / name) != expected["sha256"]:
            raise EnvironmentProblem(
                f"the latent cache {folder} is damaged: {name} differs from its checksum; delete it and launch again"
            )
    try:
        partial = marker.with_name(f".verified.{os.getpid()}")
        partial.write_text(json.dumps(stamps), encoding="utf-8")
        os.replace(partial, marker)
    except OSError:
        pass  # a read-only store is verified each time
