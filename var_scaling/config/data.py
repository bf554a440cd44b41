"""Which images a study uses: the named sets, their facts, and the views that a token cache holds. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.config.image_manifest import PROVISIONAL, data_root, read_manifest
from var_scaling.errors import EnvironmentProblem


@dataclass(frozen=True)
class NamedSet:
    """What is known of a set without having it. `version` is raised by hand whenever the same name means new bytes."""

    version: str
    images: int
    validation_images: int
    classes: int
    channels: Literal[1, 3]
    resolutions: tuple[int, ...]  # () = any; the first is the default
    smallest_class: int
    smallest_validation_class: int
    views: int  # the default K
    flip: bool  # the default where there is more than one view
    jitter: int | None  # a random crop shifts by up to this many pixels; None: the paper's crop from 1.125 x


NAMED_SETS = {
    # Garments and digits have a handedness: flips cost 0.06 nats (measured, d4 at 180k images), so they are off.
    "fashion-mnist-mini": NamedSet("1", 20_000, 5_000, 10, 1, (32, 28), 2_000, 500, 1, False, 2),
    "fashion-mnist": NamedSet("1", 60_000, 10_000, 10, 1, (32, 28), 6_000, 1_000, 1, False, 2),
    "cifar10": NamedSet("1", 50_000, 10_000, 10, 3, (32,), 5_000, 1_000, 8, True, 4),
    # ILSVRC 2012: 732 to 1,300 training images a class, 50 validation images each.
    "imagenet": NamedSet("ilsvrc2012", 1_281_167, 50_000, 1000, 3, (), 732, 50, 8, True, None),
}
FOLDER_SETS = ("imagenet", "imagefolder")
FOLDER_RESOLUTION, FOLDER_VIEWS = 256, 8
SOURCE_SIDE = {"fashion-mnist-mini": 28, "fashion-mnist": 28, "cifar10": 32}  # side before padding


class DataConfig(Strict):
    """A set of images, all of it identity. `None` means "derived" (`resolve_data`).

    View 0 of an image is always the plain one (centre crop, no flip); views 1 .. K-1 are random crops and flips
    addressed by (image, view), so that view k of an image is the same in every run and on every machine.
    """

    name: Literal["fashion-mnist-mini", "fashion-mnist", "cifar10", "imagenet", "imagefolder"] = "fashion-mnist-mini"
    version: str | None = None  # declared for named sets, a hash of paths and sizes for imagefolder
    resolution: int | None = Field(None, ge=4, le=2048)  # pixels a side
    channels: Literal[1, 3] | None = None
    classes: int | None = Field(None, ge=2)
    unique_images: int | None = Field(None, ge=1)  # a class-balanced prefix of the training images; None: all
    validation_images: int | None = Field(None, ge=1)  # the same of the validation images
    views: int | None = Field(None, ge=1, le=1024)  # K
    crop: Literal["centre", "random"] | None = None  # of views 1 .. K-1
    flip: bool | None = None  # of views 1 .. K-1


def mirrors(config: DataConfig) -> bool:
    """Whether a mirrored image is one of the same kind: a property of the set, not of the views that a study caches."""
    return bool(config.flip) or (NAMED_SETS[config.name].flip if config.name in NAMED_SETS else True)


def folder_path(config: DataConfig, image_folder: str | None) -> Path:
    """Where a folder set lies: VAR_SCALING_DATA/imagenet, or `image_folder` under VAR_SCALING_DATA.

    Raises:
        ValueError: imagefolder without `image_folder`.
    """
    if config.name == "imagenet":
        return data_root() / (image_folder or "imagenet")
    if image_folder is None:
        raise ValueError(
            "data.name imagefolder needs placement.image_folder: a folder with train/ and val/, "
            "absolute or relative to VAR_SCALING_DATA"
        )
    return data_root() / image_folder


def resolve_data(config: DataConfig, *, image_folder: str | None = None, store: Path | None = None) -> DataConfig:
    """Fills every `None`. The result is identity: it holds no path and is the same on every machine.

    Args:
        config: what was asked for.
        image_folder: placement of an `imagefolder` (see `folder_path`).
        store: where `image_manifest.build_manifest` keeps the summaries of large folders; only read.

    Raises:
        ValueError: one sentence: the value, the rule, the way out.
        EnvironmentProblem: an image folder that is needed for its facts is missing or empty.
    """
    facts = NAMED_SETS[config.name] if config.name in NAMED_SETS else _folder_facts(config, image_folder, store)
    resolution = config.resolution or (facts.resolutions[0] if facts.resolutions else FOLDER_RESOLUTION)
    if facts.resolutions and resolution not in facts.resolutions:
        raise ValueError(
            f"data.resolution {resolution} is not a size of {config.name}; use {_either(facts.resolutions)}, "
            "or an imagefolder for any other"
        )
    channels = config.channels or facts.channels
    if channels != facts.channels and config.name not in FOLDER_SETS:
        raise ValueError(f"data.channels {channels} is not what {config.name} has: {facts.channels}; leave it out")
    version = config.version or facts.version
    if version != facts.version and config.name != "imagefolder":
        raise ValueError(
            f"data.version {version!r} of {config.name} is not known here; this release has {facts.version!r}: "
            "leave it out"
        )
    if config.classes is not None and config.classes != facts.classes:
        raise ValueError(f"data.classes {config.classes} is not what {config.name} has: {facts.classes}; leave it out")
    views = config.views or facts.views
    crop = config.crop or ("random" if views > 1 else "centre")
    flip = config.flip if config.flip is not None else facts.flip and views > 1
    if views == 1 and (crop == "random" or flip):
        given = "data.crop random" if crop == "random" else "data.flip true"
        raise ValueError(
            f"{given} has no effect with data.views 1, since view 0 is always the plain one; "
            "set data.views to 2 or more, or leave it out"
        )
    if views > 1 and crop == "centre" and not flip:
        raise ValueError(
            f"data.views {views} with a centre crop and no flip would be {views} equal copies; "
            "use data.views 1, or data.crop random, or data.flip true"
        )
    return DataConfig(
        name=config.name,
        version=version,
        resolution=resolution,
        channels=channels,
        classes=facts.classes,
        unique_images=_subset("unique_images", config.unique_images, facts.images, facts.classes, facts.smallest_class),
        validation_images=_subset(
            "validation_images",
            config.validation_images,
            facts.validation_images,
            facts.classes,
            facts.smallest_validation_class,
        ),
        views=views,
        crop=crop,
        flip=flip,
    )


def _subset(field: str, asked: int | None, images: int, classes: int, smallest_class: int) -> int:
    if asked is None or asked == images:
        return images
    most = classes * smallest_class
    if asked % classes or asked > most:
        nearest = min(max(round(asked / classes), 1), smallest_class) * classes
        raise ValueError(
            f"data.{field} {asked} is not class-balanced: a subset takes the same number of each of the {classes} "
            f"classes, of {smallest_class} at most; use {nearest}, or {images} for all"
        )
    return asked


def _folder_facts(config: DataConfig, image_folder: str | None, store: Path | None) -> NamedSet:
    folder = folder_path(config, image_folder)
    if not folder.is_dir():
        # A plan can still be made where the data are not, if the config says what the folder would.
        if config.classes and config.unique_images and config.validation_images:
            return NamedSet(
                version=config.version or PROVISIONAL,
                images=config.unique_images,
                validation_images=config.validation_images,
                classes=config.classes,
                channels=config.channels or 3,
                resolutions=(),
                smallest_class=-(-config.unique_images // config.classes),
                smallest_validation_class=-(-config.validation_images // config.classes),
                views=FOLDER_VIEWS,
                flip=True,
                jitter=None,
            )
        raise EnvironmentProblem(
            f"the image folder {folder} does not exist on this machine; put it there, point VAR_SCALING_DATA at its "
            "parent, or (to plan without it) give data.classes, data.unique_images and data.validation_images"
        )
    manifest = read_manifest(folder, store)
    if config.version is not None and PROVISIONAL not in (config.version, manifest.version):
        if config.version != manifest.version:
            raise EnvironmentProblem(
                f"the image folder {folder} is {manifest.version}, not the {config.version} that data.version asks "
                "for: files were added, removed or changed; restore it, or leave data.version out"
            )
    return NamedSet(
        version=manifest.version if manifest.version != PROVISIONAL else (config.version or PROVISIONAL),
        images=manifest.images,
        validation_images=manifest.validation_images,
        classes=manifest.classes,
        channels=config.channels or 3,
        resolutions=(),
        smallest_class=manifest.smallest_class,
        smallest_validation_class=manifest.smallest_validation_class,
        views=FOLDER_VIEWS,
        flip=True,
        jitter=None,
    )


def _either(values: tuple[int, ...]) -> str:
    return " or ".join(map(str, values))
