"""Sets of samples as reviewers ask for them: so many of each class, in one file or folder, drawn in as many processes.

The classes take turns: sample i is of class i modulo their number, and a function of i and the seed alone. Samples are
drawn in blocks of `SAMPLES_AT_ONCE`, always whole, from a generator of the block; a block appears whole and once.
Which process drew it, in which order, and how often the work was interrupted, is nowhere in the result.

    samples.npz         `arr_0` (N, H, W, 3) uint8, grey as three equal channels, and `arr_1` (N) the classes: what the
                        evaluator of guided-diffusion reads
    samples.npz.parts/  while it is drawn: its blocks, and `set.json`, what is being drawn
    samples.json        what was drawn, beside it; `images_hash` is of arr_0's bytes

    FOLDER/000123.png   or a folder of pictures, with its `set.json` in it

Dimension key: N samples, B of a block, C channels, H = W side in pixels.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_scaling.evaluation.generation import Parts, Trained, draw_block, evaluating
from var_scaling.families.base import SamplerConfig
from var_scaling.planning.flops import SAMPLES_AT_ONCE
from var_scaling.runs import store
from var_scaling.state_dicts import weights_hash

ABOUT = "set.json"
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Drawn:
    """What a call left: samples that are there, and blocks that are not."""

    samples: int
    blocks_missing: int
    about: dict[str, Any]

    @property
    def complete(self) -> bool:
        return self.blocks_missing == 0


def labels_of(start: int, stop: int, classes: Sequence[int]) -> NDArray[np.int64]:
    """The classes of samples start .. stop - 1: they take turns."""
    return np.asarray(classes, np.int64)[np.arange(start, stop) % len(classes)]


def draw_set(
    model: Trained,
    sampler: SamplerConfig,
    out: Path,
    *,
    count: int,
    classes: Sequence[int],
    seed: int = 0,
    part: tuple[int, int] = (1, 1),
    at_once: int = SAMPLES_AT_ONCE,
    about: dict[str, Any] | None = None,
    beat: Callable[[int, int], None] = lambda done, total: None,
) -> Drawn:
    """Draws what is missing of a part of a set; whoever draws the last block puts the file together.

    Args:
        model: draws them.
        sampler: of the model's family.
        out: a file `*.npz`, or a folder for PNG files.
        count: N.
        classes: that take turns.
        seed: of the samples.
        part: (i, n): every n-th block from the i-th on, counted from 1.
        at_once: samples that are computed together; no part of the set, for the memory of the device.
        about: said of the set in its `set.json`, and part of what it is (trial, budget).
        beat: called with (samples of the part that are there, samples of the part).

    Returns:
        What is there.

    Raises:
        ValueError: another set is there already; the sentence says what differs.
    """
    what = {
        "schema": 1,
        **(about or {}),
        "weights": weights_hash(model.module)[:16],
        "tokenizer": weights_hash(model.tokenizer)[:16],  # type: ignore[arg-type]
        "precision": model.precision,
        "sampler": sampler.model_dump(mode="json"),
        "seed": seed,
        "count": count,
        "classes": [int(number) for number in classes],
    }
    kept = (_Npz if out.suffix == ".npz" else _Folder)(out, count)
    if (done := kept.finished(what)) is not None:
        return Drawn(count, 0, done)
    kept.begin(what)
    number, of = part
    blocks = range(number - 1, -(-count // SAMPLES_AT_ONCE), of)
    todo = [block for block in blocks if block not in kept.blocks()]
    sizes = {block: min(SAMPLES_AT_ONCE, count - block * SAMPLES_AT_ONCE) for block in blocks}
    there, total = sum(sizes.values()) - sum(sizes[block] for block in todo), sum(sizes.values())
    parts = Parts(at_once)
    with evaluating(model.module):
        beat(there, total)
        for block in todo:
            first = block * SAMPLES_AT_ONCE
            labels_B = labels_of(first, first + SAMPLES_AT_ONCE, classes)  # whole, so that no sample knows N
            images_BCHW = draw_block(model, labels_B, sampler, seed, block, SAMPLES_AT_ONCE, parts)
            kept.save(block, images_BCHW[: sizes[block]].permute(0, 2, 3, 1).numpy())
            there += sizes[block]
            beat(there, total)
    missing = set(range(-(-count // SAMPLES_AT_ONCE))) - kept.blocks()
    if missing and (done := kept.finished(what)) is None:
        lacking = sum(min(SAMPLES_AT_ONCE, count - block * SAMPLES_AT_ONCE) for block in missing)
        return Drawn(count - lacking, len(missing), what)
    return Drawn(count, 0, kept.finish(what))


def _differences(there: dict[str, Any], asked: dict[str, Any]) -> str:
    names = [name for name in dict.fromkeys([*asked, *there]) if there.get(name) != asked.get(name)]
    shown = (f"{name} is {there.get(name)} and {asked.get(name)} was asked for" for name in names[:3])
    return "; ".join(shown)


def _check(place: Path, there: dict[str, Any] | None, what: dict[str, Any]) -> None:
    if there is None:
        raise ValueError(f"{place} is there and no set of samples of ours; remove it, or choose another --out")
    known = {name: value for name, value in there.items() if name != "images_hash"}
    if known != what:
        raise ValueError(f"{place} holds another set: {_differences(known, what)}; remove it, or choose another --out")


class _Npz:
    """A set as one file, its blocks beside it until it is whole."""

    def __init__(self, out: Path, count: int) -> None:
        self.out, self.count = out, count
        self.folder = out.with_name(f"{out.name}.parts")
        self.beside = out.with_suffix(".json")

    def finished(self, what: dict[str, Any]) -> dict[str, Any] | None:
        """What stands beside the whole file; None where there is none yet."""
        if not self.out.exists():
            return None
        there = store.read_json(self.beside)
        _check(self.out, there, what)
        found: dict[str, Any] = there
        return found

    def begin(self, what: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / ABOUT).exists():
            _check(self.folder, store.read_json(self.folder / ABOUT), what)
        store.write_json(self.folder / ABOUT, what)

    def blocks(self) -> set[int]:
        return {int(path.stem) for path in self.folder.glob("[0-9]*.npy")}

    def save(self, block: int, images_BHWC: Bytes) -> None:
        buffer = io.BytesIO()
        np.save(buffer, images_BHWC)
        store.write_bytes(self.folder / f"{block:06d}.npy", buffer.getvalue())

    def finish(self, what: dict[str, Any]) -> dict[str, Any]:
        """The whole file; two that do it at once write the same."""
        partial = self.out.with_name(f".{self.out.name}.{os.getpid()}")
        try:
            digest = self._write(partial, what)
        except FileNotFoundError:  # another process has put it together and cleared up meanwhile
            partial.unlink(missing_ok=True)
            if (done := self.finished(what)) is None:
                raise
            return done
        done = what | {"images_hash": digest}
        store.write_json(self.beside, done)
        partial.replace(self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
        return done

    def _write(self, partial: Path, what: dict[str, Any]) -> str:
        hashed = hashlib.sha256()
        first = np.load(self.folder / "000000.npy", mmap_mode="r")
        shape = (self.count, *first.shape[1:3], 3)
        with open(partial, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open(_member("arr_0.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for start in range(0, self.count, SAMPLES_AT_ONCE):
                    images_BHWC = np.load(self.folder / f"{start // SAMPLES_AT_ONCE:06d}.npy")
                    content = np.broadcast_to(images_BHWC, (*images_BHWC.shape[:3], 3)).tobytes()
                    hashed.update(content)
                    stream.write(content)
            with archive.open(_member("arr_1.npy"), "w") as stream:
                np.lib.format.write_array(stream, labels_of(0, self.count, what["classes"]))
            archive.close()
            file.flush()
            os.fsync(file.fileno())
        return hashed.hexdigest()


def _member(name: str) -> zipfile.ZipInfo:
    """With no time of day in it: equal sets are equal files."""
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


class _Folder:
    """A set as a folder of PNG files."""

    def __init__(self, out: Path, count: int) -> None:
        self.out, self.count = out, count
        self.digits = max(6, len(str(count - 1)))

    def finished(self, what: dict[str, Any]) -> dict[str, Any] | None:
        there = store.read_json(self.out / ABOUT)
        if there is None or "images_hash" not in there:
            return None
        _check(self.out, there, what)
        found: dict[str, Any] = there
        return found

    def begin(self, what: dict[str, Any]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if any(path for path in self.out.iterdir() if path.name[0] != "."):  # a dot: another process's, in the making
            _check(self.out, store.read_json(self.out / ABOUT), what)
        store.write_json(self.out / ABOUT, what)

    def blocks(self) -> set[int]:
        found = [int(name[:-4]) for name in os.listdir(self.out) if name.endswith(".png") and name[:-4].isdecimal()]
        counts = np.bincount(np.array(found, np.int64) // SAMPLES_AT_ONCE) if found else np.zeros(0)
        sizes = [min(SAMPLES_AT_ONCE, self.count - start) for start in range(0, self.count, SAMPLES_AT_ONCE)]
        return {block for block, size in enumerate(sizes) if block < len(counts) and counts[block] == size}

    def save(self, block: int, images_BHWC: Bytes) -> None:
        from PIL import Image

        for number, image in enumerate(images_BHWC, block * SAMPLES_AT_ONCE):
            buffer = io.BytesIO()
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
            store.write_bytes(self._file(number), buffer.getvalue(), durable=False)

    def finish(self, what: dict[str, Any]) -> dict[str, Any]:
        """Says what it is; every file is read for it, so that one that a crash left torn is found."""
        hashed = hashlib.sha256()
        for pixels_HWC in self._pixels():
            hashed.update(np.broadcast_to(pixels_HWC, (*pixels_HWC.shape[:2], 3)).tobytes())
        for left in self.out.glob(".*.png.*"):  # of processes that were killed
            left.unlink(missing_ok=True)
        done = what | {"images_hash": hashed.hexdigest()}
        store.write_json(self.out / ABOUT, done)
        return done

    def _pixels(self) -> Iterator[Bytes]:
        from PIL import Image

        for number in range(self.count):
            try:
                with Image.open(self._file(number)) as image:
                    pixels = np.asarray(image, np.uint8)
            except (OSError, SyntaxError, ValueError):
                with suppress(OSError):
                    self._file(number).unlink()
                raise ValueError(
                    f"{self._file(number)} was left torn and has been removed; the same command draws it again"
                ) from None
            yield pixels.reshape(*pixels.shape[:2], -1)

    def _file(self, number: int) -> Path:
        return self.out / f"{number:0{self.digits}d}.png"
