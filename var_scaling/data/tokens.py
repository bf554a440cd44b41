"""The token cache: K views of every training image and the plain view of every validation image, encoded once.

    train_tokens.npy         (N, K, L)        int16 or int32: codes of all scales, coarse to fine
    train_features.npy       (N, K, L', Z)    float32: the teacher-forcing input, where it is small enough to keep
    train_labels.npy         (N,)             int64
    validation_*.npy         the same of the M validation images, one view: (M, L), (M, L', Z), (M,)
    meta.json                shapes, hashes of tokenizer and data, a checksum of each file; written last

The arrays are memory-mapped, so trials side by side share one copy. Rows are in the order of `Images`: the first n are
the class-balanced subset of n images.

Dimension key: N images, K views, B batch, L tokens of an image, L' = L less the first scale, Z latent channels.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling.config.data import DataConfig
from var_scaling.config.image_names import shown
from var_scaling.data.images import Images, Split
from var_scaling.errors import EnvironmentProblem
from var_scaling.planning.prices import FEATURES_LIMIT_BYTES
from var_scaling.runs import store

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt
    from var_scaling.tokenizers.vq.model import Tokenizer


FORMAT = 1
CHUNK = 2_048  # images encoded between two saved pieces; about a second of `tiny`
ENCODE_BATCH = 256  # fixed: another batch might round a tie between two codes the other way


def weights_hash(module: nn.Module) -> str:
    """sha256 over names, shapes and bytes of a state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def build_tokens(
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
    done = 0
    narrow = np.int16 if tokenizer.vocab_size <= 2**15 else np.int32
    per_feature = _features_per_image(tokenizer)
    keep_features = total * per_feature * 4 <= FEATURES_LIMIT_BYTES
    pieces: list[str] = []
    for split in ("train", "validation"):
        count, of_split = images.count(split), views if split == "train" else 1
        length = sum(side * side for side in tokenizer.patch_nums)
        tokens_NKL = _create(out / f"{split}_tokens.npy", (count, of_split, length), narrow)
        features_NKLZ = None
        if keep_features:
            shape = (count, of_split, length - tokenizer.patch_nums[0] ** 2, tokenizer.latent_dim)
            features_NKLZ = _create(out / f"{split}_features.npy", shape, np.float32)
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            name = f"tokens_{split}_{start}"
            saved = attempt.load_checkpoint(name)
            if saved is None or saved["tokenizer"] != tokenizer_hash:
                piece = _encode(images, tokenizer, split, start, stop, of_split, device)
                attempt.save_checkpoint(
                    name, {"tokens": torch.from_numpy(piece.astype(narrow)), "tokenizer": tokenizer_hash}
                )
            else:
                piece = saved["tokens"].numpy()
            pieces.append(name)
            tokens_NKL[start:stop] = piece
            if features_NKLZ is not None:
                flat = torch.from_numpy(piece.astype(np.int64)).reshape(-1, length)
                features_NKLZ[start:stop] = _features(flat, tokenizer, device).reshape(
                    stop - start, of_split, *features_NKLZ.shape[2:]
                )
            done += (stop - start) * of_split
            attempt.progress(done, total, f"{split} images encoded")
            attempt.journal.write(phase="tokens", images=done)
            attempt.check_owner()
            if attempt.stop_requested():
                raise attempt.stopped()
        tokens_NKL.flush()
        if features_NKLZ is not None:
            features_NKLZ.flush()
        np.save(out / f"{split}_labels.npy", images.labels(split))
    meta = {
        "format": FORMAT,
        "images": images.count("train"),
        "validation_images": images.count("validation"),
        "views": views,
        "patch_nums": list(tokenizer.patch_nums),
        "vocab_size": tokenizer.vocab_size,
        "latent_dim": tokenizer.latent_dim,
        "features": keep_features,
        "tokenizer_hash": tokenizer_hash,
        "data_hash": images.content_hash,
        "unreadable_images": [shown(name) for names in images.unreadable.values() for name in names],
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": store.digest(path)}
            for path in sorted(out.glob("*.npy"))
        },
    }
    store.write_json(out / "meta.json", meta)
    for name in pieces:
        attempt.drop_checkpoint(name)
    return meta


def _create(path: Path, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _features_per_image(tokenizer: Tokenizer) -> int:
    return sum(side * side for side in tokenizer.patch_nums[1:]) * tokenizer.latent_dim


def _encode(
    images: Images, tokenizer: Tokenizer, split: Split, start: int, stop: int, views: int, device: torch.device | str
) -> NDArray[Any]:
    rows = np.repeat(np.arange(start, stop), views)
    each = np.tile(np.arange(views), stop - start)
    parts = [slice(begin, begin + ENCODE_BATCH) for begin in range(0, len(rows), ENCODE_BATCH)]
    encoded = []
    # The next batch is read while this one is encoded: image files and a GPU then work side by side.
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(images.batch, rows[parts[0]], each[parts[0]], split)
        for number in range(len(parts)):
            batch = waiting.result()
            if number + 1 < len(parts):
                ahead = parts[number + 1]
                waiting = reader.submit(images.batch, rows[ahead], each[ahead], split)
            encoded.append(torch.cat(tokenizer.encode(batch.to(device)), dim=1).cpu().numpy())
    return np.concatenate(encoded).reshape(stop - start, views, -1)


@torch.no_grad()
def _features(tokens_BL: Tensor, tokenizer: Tokenizer, device: torch.device | str) -> NDArray[Any]:
    parts = []
    for begin in range(0, len(tokens_BL), ENCODE_BATCH):
        maps = split_scales(tokens_BL[begin : begin + ENCODE_BATCH].to(device), tokenizer.patch_nums)
        parts.append(tokenizer.teacher_forcing_input(maps).float().cpu().numpy())
    return np.concatenate(parts)


def split_scales(tokens_BL: Tensor, patch_nums: tuple[int, ...]) -> list[Tensor]:
    """Flat tokens as one (B, p * p) map a scale."""
    return list(tokens_BL.split([side * side for side in patch_nums], dim=1))


class TokenCache:
    """An open cache. `batch` is what training reads, `validation_batch` what the validation loss reads.

    Args:
        folder: published by `build_tokens`.
        meta: its meta.json.
        tokenizer: needed where the features were too large to keep (`meta["features"]` is false).
    """

    def __init__(self, folder: Path, meta: dict[str, Any], tokenizer: Tokenizer | None) -> None:
        self.folder, self.meta, self.tokenizer = folder, meta, tokenizer
        self.views: int = meta["views"]
        self.patch_nums = tuple(meta["patch_nums"])
        self.tokens_per_image = sum(side * side for side in self.patch_nums)
        self.train_tokens = self._open("train_tokens")
        self.train_labels: NDArray[np.int64] = np.load(folder / "train_labels.npy")
        self.validation_tokens = self._open("validation_tokens")[:, 0]
        self.validation_labels: NDArray[np.int64] = np.load(folder / "validation_labels.npy")
        self._train_features = self._open("train_features") if meta["features"] else None
        self._validation_features = self._open("validation_features")[:, 0] if meta["features"] else None

    def _open(self, name: str) -> NDArray[Any]:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def batch(self, indices: NDArray[np.int64], views: NDArray[np.int64] | int) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (B,), tokens (B, L), both int64, and teacher-forcing features (B, L', Z) of training images.

        Args:
            indices: rows of the training images.
            views: one for all, or one each, in 0 .. K-1.
        """
        rows, each = np.asarray(indices), np.broadcast_to(np.asarray(views), np.shape(indices))
        tokens_BL = torch.from_numpy(self.train_tokens[rows, each].astype(np.int64))
        return torch.from_numpy(self.train_labels[rows]), tokens_BL, self.features(rows, each, tokens_BL)

    def features(
        self, indices: NDArray[np.int64], views: NDArray[np.int64] | int, tokens_BL: Tensor | None = None
    ) -> Tensor:
        """Teacher-forcing features (B, L', Z) float32 of training images, kept or computed."""
        rows, each = np.asarray(indices), np.broadcast_to(np.asarray(views), np.shape(indices))
        if self._train_features is not None:
            return torch.from_numpy(self._train_features[rows, each])
        if tokens_BL is None:
            tokens_BL = torch.from_numpy(self.train_tokens[rows, each].astype(np.int64))
        return self.teacher_forcing(tokens_BL)

    def validation_batch(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same as `batch` of validation images start .. stop, in their order."""
        tokens_BL = torch.from_numpy(self.validation_tokens[start:stop].astype(np.int64))
        labels_B = torch.from_numpy(self.validation_labels[start:stop])
        if self._validation_features is not None:
            return labels_B, tokens_BL, torch.from_numpy(np.array(self._validation_features[start:stop]))
        return labels_B, tokens_BL, self.teacher_forcing(tokens_BL)

    @torch.no_grad()
    def teacher_forcing(self, tokens_BL: Tensor, tokenizer: Tokenizer | None = None) -> Tensor:
        """Features (B, L', Z) computed from tokens, on the tokenizer's device."""
        tokenizer = tokenizer or self.tokenizer
        assert tokenizer is not None, "this cache keeps no features: open_tokens(folder, tokenizer)"
        device = next(tokenizer.parameters()).device
        return tokenizer.teacher_forcing_input(split_scales(tokens_BL.to(device), self.patch_nums))


def open_tokens(folder: Path, tokenizer: Tokenizer | None = None) -> TokenCache:
    """Opens a published cache; its checksums are verified the first time, and again whenever a file has changed.

    Args:
        folder: what `build_tokens` filled.
        tokenizer: checked against the cache, and used where features were not kept.

    Raises:
        EnvironmentProblem: missing, damaged, of another format, or made with another tokenizer.
    """
    meta = store.read_json(folder / "meta.json")
    if meta is None:
        raise EnvironmentProblem(f"{folder} holds no finished token cache; delete it and launch again")
    if meta.get("format") != FORMAT:
        raise EnvironmentProblem(
            f"the token cache {folder} has format {meta.get('format')}, this release reads {FORMAT}; delete it and "
            "launch again"
        )
    _verify(folder, meta)
    if tokenizer is not None and weights_hash(tokenizer) != meta["tokenizer_hash"]:
        raise EnvironmentProblem(
            f"the token cache {folder} was made with other tokenizer weights ({meta['tokenizer_hash'][:12]}) than "
            f"those at hand ({weights_hash(tokenizer)[:12]}); delete it and launch again"
        )
    return TokenCache(folder, meta, tokenizer)


def _verify(folder: Path, meta: dict[str, Any]) -> None:
    stamps = {}
    for name, expected in meta["files"].items():
        try:
            found = (folder / name).stat()
        except OSError:
            raise EnvironmentProblem(f"the token cache {folder} lacks {name}; delete it and launch again") from None
        if found.st_size != expected["bytes"]:
            raise EnvironmentProblem(
                f"the token cache {folder} is damaged: {name} has {found.st_size:,} bytes, not {expected['bytes']:,}; "
                "delete it and launch again"
            )
        stamps[name] = [found.st_size, found.st_mtime_ns, found.st_ino]
    marker = folder / ".verified.json"
    if store.read_json(marker) == stamps:
        return
    for name, expected in meta["files"].items():
        if store.digest(folder / name) != expected["sha256"]:
            raise EnvironmentProblem(
                f"the token cache {folder} is damaged: {name} differs from its checksum; delete it and launch again"
            )
    try:
        partial = marker.with_name(f".verified.{os.getpid()}")
        partial.write_text(json.dumps(stamps), encoding="utf-8")
        os.replace(partial, marker)
    except OSError:
        pass  # a read-only store is verified each time
