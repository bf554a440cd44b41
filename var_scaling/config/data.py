"""Which images a study uses: the named sets, their facts, and the views that a token cache holds. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from var_scaling.config.base import Neutral, Strict
from var_scaling.config.image_manifest import PROVISIONAL, Manifest, Manifests
from var_scaling.config.image_names import data_root, shown
from var_scaling.errors import EnvironmentProblem
from var_scaling.pictures import DECODING, bit_depth


@dataclass(frozen=True)
class NamedSet:
    """What is known of a set without having it. `version` is raised by hand whenever the same name means new bytes."""

    version: str
    images: int
    validation_images: int
    classes: int
    channels: Literal[1, 3]
    resolutions: tuple[int, ...]  # () = any; the first is the default
    smallest_class: int  # images that every class has; of a set without an end more than images / classes
    smallest_validation_class: int
    views: int  # the default K
    flip: bool  # the default where there is more than one view
    jitter: int | None  # a random crop shifts by up to this many pixels; None: the paper's crop from 1.125 x


NAMED_SETS = {
    # Garments and digits have a handedness: flips cost 0.06 nats (measured, d4 at 180k images), so they are off.
    "fashion-mnist-mini": NamedSet("1", 20_000, 5_000, 10, 1, (32, 28), 2_000, 500, 1, False, 2),
    "fashion-mnist": NamedSet("1", 60_000, 10_000, 10, 1, (32, 28), 6_000, 1_000, 1, False, 2),
    # Drawn by code, so it has no end: 20,000 + 5,000 images unless told, ten and four times as many if asked. Half of
    # them show letters, and most letters are none when mirrored: no flips.
    "world": NamedSet("1", 20_000, 5_000, 100, 3, (32, 64), 2_000, 200, 1, False, 2),
    "cifar10": NamedSet("1", 50_000, 10_000, 10, 3, (32,), 5_000, 1_000, 8, True, 4),
    # ILSVRC 2012: 732 to 1,300 training images a class, 50 validation images each.
    "imagenet": NamedSet("ilsvrc2012", 1_281_167, 50_000, 1000, 3, (), 732, 50, 8, True, None),
}
FOLDER_SETS = ("imagenet", "imagefolder")
FOLDER_RESOLUTION, FOLDER_VIEWS = 256, 8
ZOOM = 1.125  # the paper's
SOURCE_SIDE = {"fashion-mnist-mini": 28, "fashion-mnist": 28, "cifar10": 32}  # of sets in files: side before padding


class DataConfig(Strict):
    """A set of images, all of it identity. `None` means "derived" (`resolve_data`).

    View 0 of an image is always the plain one (centre crop, no flip); views 1 .. K-1 are random crops and flips
    addressed by (image, view), so that view k of an image is the same in every run and on every machine.
    """

    name: Literal["fashion-mnist-mini", "fashion-mnist", "world", "cifar10", "imagenet", "imagefolder"] = (
        "fashion-mnist-mini"
    )
    version: str | None = None  # declared for named sets, a hash of the files' paths and bytes for imagefolder
    resolution: int | None = Field(None, ge=4, le=2048)  # pixels a side; of an imagefolder 256, if its pictures have it
    channels: Literal[1, 3] | None = None
    classes: int | None = Field(None, ge=1)
    unique_images: int | None = Field(None, ge=1)  # a class-balanced prefix of the training images; None: all
    validation_images: int | None = Field(None, ge=1)  # the same of the validation images
    views: int | None = Field(None, ge=1, le=1024)  # K
    crop: Literal["centre", "random"] | None = None  # of views 1 .. K-1
    flip: bool | None = None  # of views 1 .. K-1; false for a folder also keeps its tokenizer from mirroring
    # Files only. The shorter side is brought to zoom x resolution before the crop, but in an imagefolder no picture is
    # enlarged beyond the resolution: what has it already is neither enlarged nor blurred.
    zoom: Annotated[float | None, Field(ge=1, le=4), Neutral(ZOOM)] = None
    # Of grey pictures with more than 8 bits a value, what becomes black and what white. From the files: 0 and the
    # largest value of their bit depth, or 0 and 1 for floats within.
    value_range: Annotated[tuple[float, float] | Literal["bytes"] | None, Neutral("bytes")] = None
    decoding: Annotated[Literal[1, 2] | None, Neutral(1)] = None  # how files become pixels (`var_scaling.pictures`)


def mirrors(config: DataConfig) -> bool:
    """Whether a mirrored image is one of the same kind: a property of the set, not of the views that a study caches.

    Args:
        config: as written; a resolved one says of its views alone whether they are mirrored.
    """
    if config.name in NAMED_SETS:
        return bool(config.flip) or NAMED_SETS[config.name].flip
    return config.flip is not False


def folder_path(config: DataConfig, image_folder: str | None) -> Path:
    """Where a folder set lies: VAR_SCALING_DATA/imagenet, or `image_folder` under VAR_SCALING_DATA; `~` is the home.

    Raises:
        ValueError: imagefolder without `image_folder`.
    """
    if config.name == "imagenet":
        return data_root() / Path(image_folder or "imagenet").expanduser()
    if image_folder is None:
        raise ValueError(
            "data.name imagefolder needs placement.image_folder: a folder of pictures, "
            "absolute or relative to VAR_SCALING_DATA (the working folder, unless set); `var-sweep new FOLDER` writes "
            "such a study"
        )
    return data_root() / Path(image_folder).expanduser()


def missing_folder(config: DataConfig, folder: Path) -> str:
    """One sentence on an image folder that is not there, with the place that was looked at."""
    place = shown(folder.resolve())
    if folder.exists():
        return (
            f"{place} is a file, and {config.name} needs a folder: unpack it, and name the folder that it becomes "
            "(train/<class>/ and val/<class>/, or simply <class>/)"
        )
    return (
        f"{config.name} is not on this machine: {place} does not exist; put train/ and val/ there (one folder a "
        "class), or set VAR_SCALING_DATA to the folder that a relative path starts from"
    )


def resolve_data(
    config: DataConfig, *, image_folder: str | None = None, manifests: Manifests | None = None
) -> DataConfig:
    """Fills every `None`. The result is identity: it holds no path and is the same on every machine.

    Args:
        config: what was asked for.
        image_folder: placement of an `imagefolder` (see `folder_path`).
        manifests: looks into image folders, each once; None: afresh, keeping nothing.

    Raises:
        ValueError: one sentence: the value, the rule, the way out.
        EnvironmentProblem: an image folder that is needed for its facts is missing or empty.
    """
    manifest = None
    if config.name in NAMED_SETS:
        facts = NAMED_SETS[config.name]
    else:
        folder = folder_path(config, image_folder)
        manifest = (manifests or Manifests()).of(folder) if folder.is_dir() else None
        facts = _manifest_facts(config, manifest) if manifest else _declared_facts(config, folder)
    resolution = config.resolution or (facts.resolutions[0] if facts.resolutions else _resolution(manifest))
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
    views = config.views or _views(facts, manifest, resolution)
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
        zoom=_of_files("zoom", config, ZOOM),
        value_range=_value_range(config, manifest),
        decoding=_decoding(config),
    )


def _of_files(field: str, config: DataConfig, default: float) -> float:
    given: float | None = getattr(config, field)
    if given not in (None, default) and config.name not in FOLDER_SETS:
        raise ValueError(
            f"data.{field} {given} is for sets of image files ({_either(FOLDER_SETS)}), and {config.name} is none; "
            "leave it out"
        )
    return default if given is None else given


def _decoding(config: DataConfig) -> Literal[1, 2]:
    """How files are decoded; a resolved config of another release is told, not decoded otherwise."""
    ours = DECODING if config.name == "imagefolder" else 1
    if config.decoding not in (None, ours):
        raise ValueError(f"data.decoding {config.decoding} is not how {config.name} is read here: {ours}; leave it out")
    return ours


def _value_range(config: DataConfig, manifest: Manifest | None) -> tuple[float, float] | Literal["bytes"]:
    """What is black and what is white in the pictures of more than 8 bits a value, where a folder has such."""
    if isinstance(config.value_range, tuple):
        low, high = config.value_range
        if config.name != "imagefolder":
            raise ValueError(f"data.value_range is for an imagefolder, and {config.name} is none; leave it out")
        if not low < high:
            raise ValueError(f"data.value_range [{low}, {high}]: black must lie below white, as in [0, 4095]")
        return (low, high)
    deep = manifest.deep if manifest else {}
    if "colour16" in deep:
        number, _, high = deep["colour16"]
        if bit_depth(high) != 16:
            raise ValueError(
                f"{number} pictures of {shown(manifest.tree.folder)} hold colour in 16 bits a channel, of which only "  # type: ignore[union-attr]
                f"{bit_depth(high)} are used, so they would be nearly black; save them with 8 bits a channel, scaled"
            )
    kinds = [kind for kind in deep if kind != "colour16"]
    if not kinds:
        return "bytes"
    low, high = min(deep[kind][1] for kind in kinds), max(deep[kind][2] for kind in kinds)
    if kinds == ["integers"] and low >= 0 and (bits := bit_depth(high)):
        return (0.0, 2.0**bits - 1)
    if kinds == ["floats"] and low >= 0 and high <= 1 and high > 0:
        return (0.0, 1.0)
    assert manifest is not None
    what = " and ".join(f"{deep[kind][0]} pictures of {kind}" for kind in kinds)
    raise ValueError(
        f"{shown(manifest.tree.folder)} holds {what} with values from {low:.6g} to {high:.6g}, and no rule says "
        f"which of them is black and which white; give data.value_range, e.g. [{low:.6g}, {max(high, low + 1):.6g}]"
    )


def _resolution(manifest: Manifest | None) -> int:
    """256 pixels, if the pictures have them: a set is not enlarged because nothing was said."""
    median = manifest.median_side if manifest else None
    if manifest is not None and median is not None and median < FOLDER_RESOLUTION:
        raise ValueError(
            f"data.resolution is not given, and the {FOLDER_RESOLUTION} px of an imagefolder are more than its "
            f"pictures have: the median of their shorter sides is {median} px (smallest {manifest.smallest_side}); "
            f"give data.resolution, e.g. {max(median - median % 8, min(median, 8))}"
        )
    return FOLDER_RESOLUTION


def _views(facts: NamedSet, manifest: Manifest | None, resolution: int) -> int:
    """The set's own number; 2 (plain and mirrored) where no picture is large enough to be cropped in two ways."""
    return 2 if manifest and manifest.sides and manifest.longest <= resolution else facts.views


def folder_notes(config: DataConfig, manifest: Manifest) -> list[str]:
    """What a plan says of an image folder, a sentence each.

    Args:
        config: resolved.
        manifest: of its folder.
    """
    tree, resolution = manifest.tree, config.resolution or 0
    notes = [
        f"{shown(tree.folder)}: {tree.count('train'):,} training and {tree.count('val'):,} validation images of "
        f"{manifest.classes} class{'' if manifest.classes == 1 else 'es'}, {config.views} views of each at "
        f"{resolution} px"
    ]
    notes += [f"{shown(tree.folder)}: {said}" for said in tree.how]
    if manifest.classes == 1:
        notes.append("one class: models of it are unconditional, and guidance has nothing to strengthen")
    if tree.left_out:
        left = "; ".join(
            f"{why}: {number} ({shown(first)}{', ...' if number > 1 else ''})"
            for why, (number, first) in sorted(tree.left_out.items())
        )
        notes.append(f"left out: {left}")
    if small := manifest.smaller_than(resolution):
        notes.append(
            f"{small:,} pictures are smaller than data.resolution {resolution} and are enlarged to it (the smallest "
            f"has {manifest.smallest_side} px)"
        )
    if isinstance(config.value_range, tuple):
        low, high = config.value_range
        of_kinds = ", ".join(
            f"{number} pictures of {kind} from {least:.6g} to {most:.6g}"
            for kind, (number, least, most) in manifest.deep.items()
        )
        notes.append(f"{low:g} is black and {high:g} white in {of_kinds or 'pictures of more than 8 bits a value'}")
    if bad := [name for names in manifest.unreadable.values() for name in names]:
        notes.append(
            f"{len(bad)} cannot be read, and a class-mate stands in for each: {', '.join(map(shown, bad[:10]))}"
            f"{', ...' if len(bad) > 10 else ''}"
        )
    return notes


def _subset(field: str, asked: int | None, images: int, classes: int, smallest_class: int) -> int:
    if asked is None or asked == images:
        return images
    most = classes * smallest_class
    if asked % classes or asked > most:
        if asked > max(most, images):  # of a set that is drawn on demand there are more than it has as usual
            why = f"more than the {max(most, images)} there are"
        else:
            why = f"not class-balanced: a subset takes the same number of each class, of {smallest_class} at most"
        nearest = min(max(round(asked / classes), 1), smallest_class) * classes
        usual = (
            f", or {images} {'for all' if most <= images else 'as usual'}" if nearest != images else ", which is all"
        )
        raise ValueError(f"data.{field} {asked} is {why} ({classes} classes); use {nearest}{usual}")
    return asked


def _declared_facts(config: DataConfig, folder: Path) -> NamedSet:
    """A plan can still be made where the data are not, if the config says what the folder would."""
    if folder.exists() or not (config.classes and config.unique_images and config.validation_images):
        way_out = (
            ""
            if folder.exists()
            else ("; to plan without it, give data.classes, data.unique_images and data.validation_images")
        )
        raise EnvironmentProblem(missing_folder(config, folder) + way_out)
    return _set_of_files(
        config,
        config.version or PROVISIONAL,
        (config.unique_images, config.validation_images),
        config.classes,
        (-(-config.unique_images // config.classes), -(-config.validation_images // config.classes)),
    )


def _manifest_facts(config: DataConfig, manifest: Manifest) -> NamedSet:
    tree = manifest.tree
    if config.version is not None and PROVISIONAL not in (config.version, manifest.version):
        if config.version != manifest.version:
            raise EnvironmentProblem(
                f"the image folder {shown(tree.folder)} is {manifest.version}, not the {config.version} that "
                "data.version asks for: files were added, removed or changed (or an earlier release named it, by sizes "
                "alone); restore it, or leave data.version out"
            )
    return _set_of_files(
        config,
        manifest.version if manifest.version != PROVISIONAL else (config.version or PROVISIONAL),
        (tree.count("train"), tree.count("val")),
        manifest.classes,
        (tree.smallest("train"), tree.smallest("val")),
    )


def _set_of_files(
    config: DataConfig, version: str, images: tuple[int, int], classes: int, smallest: tuple[int, int]
) -> NamedSet:
    return NamedSet(
        version=version,
        images=images[0],
        validation_images=images[1],
        classes=classes,
        channels=config.channels or 3,
        resolutions=(),
        smallest_class=smallest[0],
        smallest_validation_class=smallest[1],
        views=FOLDER_VIEWS,
        flip=True,
        jitter=None,
    )


def _either(values: tuple[object, ...]) -> str:
    return " or ".join(map(str, values))
