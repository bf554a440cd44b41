"""Image sets by name, with addressed access: the same (image, view) gives the same pixels anywhere.

Rows are ordered rank by rank (one image of each class, then the next of each), so that `unique_images` is a prefix:
class-balanced, and contained in every larger one.

Dimension key: N images of a split, B batch, C channels, H height, W width. Pixels are uint8 in the sets and float32 in
[-1, 1] in a batch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from var_scaling import pictures, randomness
from var_scaling.config.data import (
    FOLDER_SETS,
    NAMED_SETS,
    SOURCE_SIDE,
    ZOOM,
    DataConfig,
    folder_path,
    missing_folder,
)
from var_scaling.config.image_folder import Split as FolderSplit
from var_scaling.config.image_folder import Tree, walk
from var_scaling.config.image_manifest import PROVISIONAL, Manifests, check_unreadable
from var_scaling.config.image_names import data_root, shown
from var_scaling.data import world
from var_scaling.data.make_embedded import DEBIAN_FOLDER, EMBEDDED_FILE, read_idx
from var_scaling.errors import EnvironmentProblem

log = logging.getLogger(__name__)

Split = Literal["train", "validation"]
FOLDER_OF: dict[Split, FolderSplit] = {"train": "train", "validation": "val"}
MEMORY_LIMIT_BYTES = 4 << 30  # a folder set larger than this is read batch by batch only
STRIP_AREA = 16  # a scaled picture larger than so many crops is scaled crop by crop: a strip of 1 x 3000 took 0.9 GB

# sha256 over images and labels of both splits, all of them and in our order (`content_hash`): what version "1" means.
KNOWN_CONTENT = {
    "fashion-mnist-mini": "96bd1d18b32f734fdbc376c968a107f465a4899e7be6ec671808fad42ce0cb41",
    "fashion-mnist": "37b46cfafa2177d7d19e731d10b874c95433a01090c653bc58dc3bf3d8fe9556",
}


class Images:
    """One set: `train`, `validation` (N, H, W, C) uint8, their labels (N,) int64, a content hash, and `batch`."""

    def __init__(
        self, config: DataConfig, train_labels: NDArray[np.int64], validation_labels: NDArray[np.int64]
    ) -> None:
        assert None not in config.model_dump().values(), "resolve the data config first"
        self.config = config
        self.train_labels = train_labels
        self.validation_labels = validation_labels
        self.content_hash = ""
        # Why an image could not be read, by its path; a class-mate stands in for each.
        self.unreadable: dict[Split, dict[str, str]] = {split: {} for split in get_args(Split)}

    train: NDArray[np.uint8]
    validation: NDArray[np.uint8]

    def count(self, split: Split) -> int:
        return len(self.labels(split))

    def labels(self, split: Split) -> NDArray[np.int64]:
        return self.train_labels if split == "train" else self.validation_labels

    def batch(
        self, indices: NDArray[np.int64] | list[int], views: NDArray[np.int64] | int = 0, split: Split = "train"
    ) -> Tensor:
        """Pixels of some images, each in one of its views: (B, C, H, W) float32 in [-1, 1].

        Args:
            indices: rows of the split.
            views: one view for all or one each; 0 is the plain view (centre crop, no flip).
            split: which rows `indices` counts.
        """
        rows = np.asarray(indices, np.int64)
        each = np.broadcast_to(np.asarray(views, np.int64), rows.shape)
        images_BHWC = self._pixels(rows, each, split)
        flipped = self._flipped(rows, each)
        images_BHWC[flipped] = images_BHWC[flipped, :, ::-1]
        return torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0).contiguous()

    def _flipped(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not self.config.flip:
            return np.zeros(rows.shape, bool)
        return (views > 0) & (randomness.uniform(0, "view-flip", rows, views) < 0.5)

    def _offsets(
        self, axis: str, rows: NDArray[np.int64], views: NDArray[np.int64], margins: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        """Where a crop starts along one axis, in [0, margin]: the centre for view 0 and for crop "centre"."""
        room = np.broadcast_to(np.asarray(margins, np.int64), rows.shape)
        centre = np.rint(room / 2).astype(np.int64)
        if self.config.crop == "centre":
            return centre
        drawn = (randomness.uniform(0, f"view-crop-{axis}", rows, views) * (room + 1)).astype(np.int64)
        return np.where(views > 0, drawn, centre)

    def _pixels(self, rows: NDArray[np.int64], views: NDArray[np.int64], split: Split) -> NDArray[np.uint8]:
        """Cropped but not flipped, a fresh (B, H, W, C) array."""
        raise NotImplementedError


class ArrayImages(Images):
    """A set that lies in memory; a random crop is a shift by up to `jitter` pixels, black coming in from outside."""

    def __init__(
        self,
        config: DataConfig,
        train: NDArray[np.uint8],
        train_labels: NDArray[np.int64],
        validation: NDArray[np.uint8],
        validation_labels: NDArray[np.int64],
        jitter: int,
    ) -> None:
        super().__init__(config, train_labels, validation_labels)
        self.train, self.validation, self.jitter = train, validation, jitter
        self.content_hash = content_hash(train, train_labels, validation, validation_labels)

    def _pixels(self, rows: NDArray[np.int64], views: NDArray[np.int64], split: Split) -> NDArray[np.uint8]:
        images_BHWC = (self.train if split == "train" else self.validation)[rows]
        if self.config.crop == "centre" or not views.any():
            return images_BHWC
        side, pad = images_BHWC.shape[1], self.jitter
        padded = np.pad(images_BHWC, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        top = self._offsets("y", rows, views, 2 * pad)
        left = self._offsets("x", rows, views, 2 * pad)
        ys = top[:, None, None] + np.arange(side)[None, :, None]
        xs = left[:, None, None] + np.arange(side)[None, None, :]
        return padded[np.arange(len(rows))[:, None, None], ys, xs]


class FolderImages(Images):
    """A folder of image files, decoded in threads when asked for (Pillow decodes and resizes without the lock).

    The paper's recipe: shorter side to `zoom` (1.125) x the resolution with Lanczos, then a centre or random crop. With
    decoding 2 a picture that has the resolution is never enlarged: between 1 and `zoom` x it is cropped as it is.
    """

    def __init__(self, config: DataConfig, tree: Tree, workers: int) -> None:
        self.folder = tree.folder
        train, train_labels = _ranked_files(tree, "train", config.unique_images or 0)
        validation, validation_labels = _ranked_files(tree, "val", config.validation_images or 0)
        super().__init__(config, train_labels, validation_labels)
        self.files: dict[Split, list[str]] = {"train": train, "validation": validation}
        self.workers = max(workers, 1)
        self._whole: dict[Split, NDArray[np.uint8]] = {}
        self._lock = threading.Lock()
        how = _how(config)
        digest = hashlib.sha256(f"{config.version}\0{config.resolution}\0{config.channels}{how}".encode())
        for name in (*train, *validation):
            digest.update(os.fsencode(name) + b"\0")
        self.content_hash = digest.hexdigest()

    @property
    def train(self) -> NDArray[np.uint8]:  # type: ignore[override]
        return self._in_memory("train")

    @property
    def validation(self) -> NDArray[np.uint8]:  # type: ignore[override]
        return self._in_memory("validation")

    def _in_memory(self, split: Split) -> NDArray[np.uint8]:
        if split not in self._whole:
            side, channels = self.config.resolution or 0, self.config.channels or 0
            size = self.count(split) * side * side * channels
            if size > MEMORY_LIMIT_BYTES:
                raise ValueError(
                    f"{self.count(split):,} images of {side} pixels are {size / 2**30:.1f} GiB, above the "
                    f"{MEMORY_LIMIT_BYTES >> 30} GiB that is held in memory; use Images.batch, or a smaller subset"
                )
            rows = np.arange(self.count(split))
            self._whole[split] = self._pixels(rows, np.zeros_like(rows), split)
        return self._whole[split]

    def _pixels(self, rows: NDArray[np.int64], views: NDArray[np.int64], split: Split) -> NDArray[np.uint8]:
        side, channels = self.config.resolution or 0, self.config.channels or 0
        pixels = np.empty((len(rows), side, side, channels), np.uint8)
        unique, of_place = np.unique(rows, return_inverse=True)

        def fill(number: int) -> None:
            image = self._read(int(unique[number]), split)  # once, however many views of it are asked for
            places = np.flatnonzero(of_place == number)
            for place, crop in zip(places, self._crops(image, rows[places], views[places]), strict=True):
                pixels[place] = crop

        if self.workers == 1 or len(unique) < 2:
            for number in range(len(unique)):
                fill(number)
        else:
            with ThreadPoolExecutor(min(self.workers, len(unique))) as pool:
                list(pool.map(fill, range(len(unique))))
        return pixels

    def _read(self, row: int, split: Split) -> Image.Image:
        """The picture of a row, or a class-mate's where it cannot be read."""
        image = self._decode(self.files[split][row], split)
        if image is None:
            labels = self.labels(split)
            mates = np.flatnonzero(labels == labels[row])
            others = np.roll(mates, -int(np.searchsorted(mates, row)))[1:]
            found = (self._decode(self.files[split][other], split) for other in others)
            image = next((other for other in found if other is not None), None)
        if image is None:
            raise EnvironmentProblem(f"no image of class {self.labels(split)[row]} of {shown(self.folder)} can be read")
        return image

    def _decode(self, name: str, split: Split) -> Image.Image | None:
        config = self.config
        assert config.channels and config.value_range and config.decoding
        try:
            return pictures.read(self.folder / name, config.channels, config.value_range, config.decoding)
        except pictures.Unreadable as problem:
            with self._lock:
                bad = self.unreadable[split]
                if name not in bad:
                    bad[name] = str(problem)
                    log.warning("cannot read the image %s: %s", shown(self.folder / name), problem)
                check_unreadable(self.folder, FOLDER_OF[split], bad, len(self.files[split]))
            return None

    def _crops(
        self, image: Image.Image, rows: NDArray[np.int64], views: NDArray[np.int64]
    ) -> Iterator[NDArray[np.uint8]]:
        """Some views of one picture: scaled once and cropped, or, of a long strip, only what each crop shows scaled."""
        side, size = self.config.resolution or 0, self._scaled_size(image)
        top = self._offsets("y", rows, views, size[1] - side)
        left = self._offsets("x", rows, views, size[0] - side)
        strip = size[0] * size[1] > STRIP_AREA * side * side
        whole = image if strip or size == image.size else image.resize(size, Image.Resampling.LANCZOS)
        for x, y in zip(left.tolist(), top.tolist(), strict=True):
            crop = _part(image, size, (x, y), side) if strip else whole.crop((x, y, x + side, y + side))
            yield np.asarray(crop, np.uint8).reshape(side, side, -1)

    def _scaled_size(self, image: Image.Image) -> tuple[int, int]:
        """Width and height of a picture before the crop; torchvision's rounding: the longer side is truncated."""
        width, height = image.size
        side = self.config.resolution or 0
        shorter = round((self.config.zoom or ZOOM) * side)
        if self.config.decoding != 1:
            shorter = min(shorter, max(side, min(width, height)))
        if shorter == min(width, height):
            return width, height
        return (shorter, shorter * height // width) if width <= height else (shorter * width // height, shorter)


def _part(image: Image.Image, size: tuple[int, int], corner: tuple[int, int], side: int) -> Image.Image:
    """A square of the picture scaled to `size`, of which nothing else is scaled; the filter looks beyond its edges."""
    (left, right), (top, bottom) = (
        (start * full / scaled, min((start + side) * full / scaled, full))
        for full, scaled, start in zip(image.size, size, corner, strict=True)
    )
    return image.resize((side, side), Image.Resampling.LANCZOS, (left, top, right, bottom))


def load_images(
    config: DataConfig, *, image_folder: str | None = None, workers: int = 1, store: Path | None = None
) -> Images:
    """Opens a set by its resolved config.

    Args:
        config: from `resolve_data`.
        image_folder: placement of an `imagefolder`; for imagenet, another place than VAR_SCALING_DATA/imagenet.
        workers: decoding threads of a folder set.
        store: where a launch has kept what it read of an `imagefolder`; None reads every byte.

    Raises:
        EnvironmentProblem: the files are missing, incomplete, or not the declared version.
    """
    if config.name in FOLDER_SETS:
        return _open_folder(config, folder_path(config, image_folder), workers, store)
    if config.name == "world":
        return _open_world(config)
    if config.name == "cifar10":
        splits = [_cifar10(train) for train in (True, False)]
    elif config.name == "fashion-mnist":
        splits = _fashion_mnist()
    else:
        with np.load(EMBEDDED_FILE) as archive:
            splits = [(archive[s], archive[f"{s}_labels"]) for s in ("train", "validation")]
    facts = NAMED_SETS[config.name]
    (train, train_labels), (validation, validation_labels) = (
        _by_rank(_padded(images, config.resolution or 0, SOURCE_SIDE[config.name]), labels.astype(np.int64))
        for images, labels in splits
    )
    expected = (facts.images, facts.validation_images)
    if (len(train), len(validation)) != expected:
        raise EnvironmentProblem(
            f"{config.name} should have {expected[0]:,} training and {expected[1]:,} validation images; "
            f"the files found here hold {len(train):,} and {len(validation):,}: fetch them again"
        )
    known = KNOWN_CONTENT.get(config.name)
    if known is not None and config.resolution == facts.resolutions[0]:
        found = content_hash(train, train_labels, validation, validation_labels)
        if found != known:
            raise EnvironmentProblem(
                f"the files of {config.name} are not version {config.version!r} (content {found[:12]}, declared "
                f"{known[:12]}): fetch them again"
            )
    unique, held_out = config.unique_images or 0, config.validation_images or 0
    return ArrayImages(
        config,
        train[:unique],
        train_labels[:unique],
        validation[:held_out],
        validation_labels[:held_out],
        jitter=facts.jitter or 0,
    )


def _open_world(config: DataConfig) -> ArrayImages:
    """Draws the world: about 10 CPU seconds for 25,000 images of 32 px, 4 times that for 64."""
    side, classes = config.resolution or 0, config.classes or 0
    train = _world("train", config.unique_images or 0, side)
    validation = _world("validation", config.validation_images or 0, side)
    first = content_hash(train[:classes], validation[:classes])
    if first != world.KNOWN_CONTENT[side]:
        raise EnvironmentProblem(
            f"this machine draws another world than version {config.version!r} (content {first[:12]}, declared "
            f"{world.KNOWN_CONTENT[side][:12]}): the code was changed, or numpy {np.__version__} counts wrongly here"
        )
    labels, validation_labels = (np.arange(len(images)) % classes for images in (train, validation))
    return ArrayImages(config, train, labels, validation, validation_labels, jitter=NAMED_SETS["world"].jitter or 0)


@lru_cache(maxsize=2)
def _world(split: Literal["train", "validation"], count: int, side: int) -> NDArray[np.uint8]:
    """The first images of a split; kept, for one process may open the set several times."""
    images = world.draw(split, np.arange(count), side)
    images.flags.writeable = False
    return images


def content_hash(*arrays: NDArray[np.generic]) -> str:
    """sha256 over shapes, types and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _by_rank(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    order = np.lexsort((labels, _ranks(labels)))
    return images[order], labels[order]


def _ranks(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many earlier rows have the same label."""
    ranks = np.empty(len(labels), np.int64)
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        ranks[rows] = np.arange(len(rows))
    return ranks


def _padded(images: NDArray[np.uint8], resolution: int, source: int) -> NDArray[np.uint8]:
    """Black borders up to the resolution, and a channel axis where there is none."""
    pad = (resolution - source) // 2
    images = images[..., None] if images.ndim == 3 else images
    return np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def _ranked_files(tree: Tree, split: FolderSplit, count: int) -> tuple[list[str], NDArray[np.int64]]:
    """The first `count` files, rank by rank; a class's own order is by hash, for names may follow time or place."""
    ranked = []
    for label, files in enumerate(tree.splits[split].values()):
        by_hash = sorted((file.name for file in files), key=lambda n: hashlib.sha256(os.fsencode(n)).digest())
        ranked += [(rank, label, name) for rank, name in enumerate(by_hash)]
    ranked.sort()
    return [name for _, _, name in ranked[:count]], np.array([label for _, label, _ in ranked[:count]], np.int64)


def _how(config: DataConfig) -> str:
    """What else than the files makes the pixels, as text; nothing for decoding 1, whose hashes are older."""
    return "" if config.decoding == 1 else f"\0{config.decoding}\0{config.zoom}\0{config.value_range}"


def _open_folder(config: DataConfig, folder: Path, workers: int, store: Path | None) -> FolderImages:
    if not folder.is_dir():
        raise EnvironmentProblem(missing_folder(config, folder))
    if config.name == "imagenet":
        tree = walk(folder, stamps=False)  # a million questions to a file system less
        facts = NAMED_SETS["imagenet"]
        found = (tree.count("train"), tree.count("val"), len(tree.splits["train"]))
        if found != (facts.images, facts.validation_images, facts.classes):
            raise EnvironmentProblem(
                f"{shown(folder)} is not ImageNet-1k (ILSVRC 2012): it holds {found[0]:,} training and {found[1]:,} "
                f"validation images of {found[2]:,} classes, not {facts.images:,}, {facts.validation_images:,} and "
                f"{facts.classes:,}; for a part of it use data.name imagefolder"
            )
        return FolderImages(config, tree, workers)
    manifest = Manifests(store, build=True, tell=log.info).of(folder)
    if config.version not in (PROVISIONAL, manifest.version):
        raise EnvironmentProblem(
            f"{shown(folder)} has changed since this study was planned: it is {manifest.version}, the study asks for "
            f"{config.version}; restore it, or launch again to make it a new set"
        )
    return FolderImages(config, manifest.tree, workers)


def _fashion_mnist() -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    root = data_root()
    places = [root / "fashion-mnist", root / "FashionMNIST" / "raw", root, DEBIAN_FOLDER]
    for place in places:
        for suffix in (".gz", ""):
            stems = [f"{s}-{kind}-ubyte{suffix}" for s in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
            if all((place / stem).is_file() for stem in stems):
                try:
                    train, train_labels, test, test_labels = (read_idx(place / stem) for stem in stems)
                except (OSError, EOFError, ValueError) as error:
                    raise EnvironmentProblem(
                        f"fashion-mnist in {place} cannot be read: {error}; fetch it again"
                    ) from None
                return [(train, train_labels), (test, test_labels)]
    from torchvision.datasets import FashionMNIST

    folder = _download_folder()
    sets = [_torchvision("fashion-mnist", FashionMNIST, folder, train, places) for train in (True, False)]
    return [(s.data.numpy(), s.targets.numpy()) for s in sets]


def _cifar10(train: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from torchvision.datasets import CIFAR10

    places = [data_root(), data_root() / "cifar10", Path("/usr/share/datasets/cifar10")]
    for place in places:
        if (place / CIFAR10.base_folder).is_dir():
            try:
                found = CIFAR10(str(place), train=train, download=False)
            except (RuntimeError, OSError, EOFError) as error:
                raise EnvironmentProblem(f"cifar10 in {place} cannot be read: {error}; fetch it again") from None
            return found.data, np.array(found.targets)
    found = _torchvision("cifar10", CIFAR10, _download_folder(), train, places)
    return found.data, np.array(found.targets)


def _download_folder() -> Path:
    if os.environ.get("VAR_SCALING_DATA"):
        return data_root()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "var-scaling"


def _torchvision(name: str, kind: type, folder: Path, train: bool, places: list[Path]):  # noqa: ANN202
    """The copy of torchvision, downloaded where there is a network; it checks the files' md5."""
    try:
        return kind(str(folder), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"{name} is not on this machine and cannot be downloaded ({error}); put its files into one of "
            f"{', '.join(str(p) for p in places)}, or set VAR_SCALING_DATA to the folder that holds them"
        ) from None
