"""A study of a folder of pictures, proposed with a reason for each choice: what `var-sweep new` writes. Torch-free."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import EvaluateConfig, Features, images_needed
from var_scaling.config.image_manifest import Manifest, Manifests
from var_scaling.config.image_names import shown
from var_scaling.config.image_survey import Survey, survey
from var_scaling.errors import RequestProblem
from var_scaling.tokenizers.vq.config import VQConfig, resolve_tokenizer

SIDES = (32, 48, 64, 96, 128, 192, 256)
CPU_SIDE = 64  # a core trains four small models of so many pixels in an hour or two
SMALL_UP_TO = 48  # `small` keeps a quarter of the side: 144 positions here; `tiny` keeps an eighth
TINY_UP_TO = 128
MOST_VIEWS = 8
SAMPLES = 2_000
FEW = 1_000  # training pictures below which the largest budget is 15 passes or more
DEPTHS = (2, 3, 4, 5)


@dataclass(frozen=True)
class Choice:
    """One line of the study."""

    path: tuple[str, ...]
    value: str  # as YAML
    why: str = ""


@dataclass(frozen=True)
class Proposal:
    """What was found in a folder, and the study that is proposed for it."""

    found: tuple[str, ...]
    choices: tuple[Choice, ...]
    out: Path

    @property
    def text(self) -> str:
        """The study as a commented file."""
        name = shlex.quote(str(self.out))
        head = [
            "A study of your pictures, proposed by `var-sweep new`. Read it, change what you know better, then:",
            "",
            f"  var-sweep plan {name}",
            f"  var-sweep launch {name} && var-scaling fit-laws",
            "",
            *self.found,
        ]
        lines = [line for text in head for line in _comment(text, "")]
        open_path: tuple[str, ...] = ()
        for choice in self.choices:
            for depth, key in enumerate(choice.path[:-1]):
                if choice.path[: depth + 1] != open_path[: depth + 1]:
                    lines.append(f"{'  ' * depth}{key}:")
            open_path = choice.path[:-1]
            indent = "  " * len(open_path)
            lines += _comment(choice.why, indent) if choice.why else []
            lines.append(f"{indent}{choice.path[-1]}: {choice.value}")
        return "\n".join(lines) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        chosen = [{"field": ".".join(c.path), "value": c.value, "why": c.why} for c in self.choices]
        return {"file": str(self.out), "found": list(self.found), "choices": chosen}


def propose(folder: Path, out: Path, manifests: Manifests, resolution: int | None = None) -> Proposal:
    """Look at a folder and propose a study of it. Writes nothing.

    Args:
        folder: holds the pictures, in a layout of `config.image_folder`.
        out: where the study will be written; its name is the study's.
        manifests: looks into folders.
        resolution: side in pixels that is wanted; None: from the pictures.

    Raises:
        EnvironmentProblem: the folder is not there, or cannot be read as pictures.
        RequestProblem: its path is no text, or its pictures are smaller than 8 pixels.
    """
    manifest = manifests.of(folder)
    seen = survey(manifest.tree)
    if not seen.pictures:
        raise RequestProblem(f"none of the pictures of {shown(folder)} that were looked at can be read")
    path = manifest.tree.folder
    if shown(path) != str(path):
        raise RequestProblem(
            f"the name of {shown(path)} is no text in UTF-8, so a study cannot hold it; make a link of another name"
        )
    side, why_side = (resolution, "as was asked for") if resolution else _side(manifest, seen)
    grey = seen.grey == seen.pictures
    channels = 1 if grey else 3
    data = [
        Choice(("base", "data", "name"), "imagefolder"),
        Choice(("base", "data", "resolution"), str(side), why_side),
    ]
    if grey:
        data.append(Choice(("base", "data", "channels"), "1", f"no colour in the {seen.pictures} pictures looked at"))
    data += _value_range(manifest, path, side, channels)
    train, classes = manifest.tree.count("train"), manifest.classes
    budgets = (5_120, 15_360) if train < FEW else (10_240, 30_720)
    data += _views(manifest, seen, side, train, budgets[-1])
    passes = " and ".join(f"{budget / train:,.{0 if budget > 10 * train else 1}f}" for budget in budgets)
    choices = (
        Choice(("name",), _name(out)),
        *data,
        Choice(("base", "placement", "image_folder"), _quoted(str(path))),
        *_tokenizer(side, channels),
        Choice(("base", "model"), "{family: var, head_dim: 16}", "width is 16 x depth: small models, for one core"),
        Choice(("base", "train"), "{batch_size: 64, schedule: wsd}", "one training serves all budgets"),
        Choice(
            ("grid", "model.depth"),
            f"[{', '.join(map(str, DEPTHS))}]",
            "a law needs four sizes; add 6 and 8 if it holds",
        ),
        Choice(("grid", "seed"), "[0]", "[0, 1] shows how far apart two equal trainings end, at twice the cost"),
        Choice(
            ("budgets", "images"),
            f"[{', '.join(f'{budget:_}' for budget in budgets)}]",
            f"images seen: {passes} passes over the {train:,} training pictures. Add a third, three times the last, "
            "when the first two look right: what is trained is kept",
        ),
        _evaluation(train, manifest.tree.count("val"), classes),
    )
    return Proposal(tuple(_found(manifest, seen)), choices, out)


def _found(manifest: Manifest, seen: Survey) -> list[str]:
    tree = manifest.tree
    counts = {label: len(files) for label, files in tree.splits["train"].items()}
    by_size = sorted(counts, key=lambda label: counts[label])
    few, many = by_size[0], by_size[-1]
    spread = f": {counts[few]:,} ({shown(few)}) to {counts[many]:,} ({shown(many)}) for training"
    if counts[few] == counts[many]:
        spread = f": {counts[few]:,} of each for training" if len(counts) > 1 else ""
    found = [
        f"Found in {shown(tree.folder)}: {tree.count('train'):,} training and {tree.count('val'):,} validation "
        f"pictures of {len(counts)} class{'es' if len(counts) > 1 else ''}{spread}.",
        *(f"{said[0].upper()}{said[1:]}." for said in tree.how),
        f"Looked at {seen.pictures}: {', '.join(f'{number} {kind}' for kind, number in seen.kinds.items())}; "
        f"{'none has colour' if seen.grey == seen.pictures else f'{seen.grey} without colour'}; shorter sides "
        f"{min(seen.sides)} to {max(seen.sides)} px, half have {seen.median_side} or less.",
    ]
    if len(counts) > 1 and counts[many] > 4 * counts[few]:
        found.append("Classes are uneven: a model sees each as often as it has pictures, and so do FID's samples.")
    if tree.count("train") < FEW:
        found.append("So few pictures are learnt by heart: what holds of them may not hold of more.")
    left = [f"{why}: {n:,} ({shown(first)})" for why, (n, first) in sorted(tree.left_out.items())]
    if left:
        found.append(f"Left out: {'; '.join(left)}.")
    if bad := [name for names in manifest.unreadable.values() for name in names]:
        found.append(f"Not readable, a class-mate stands in: {', '.join(map(shown, bad[:5]))}.")
    return found


def _side(manifest: Manifest, seen: Survey) -> tuple[int, str]:
    sides = manifest.sides or seen.sides
    median = manifest.median_side or seen.median_side
    longest = manifest.longest or seen.longest
    if len(sides) == 1 and longest == median and median <= CPU_SIDE and not median % 4 and median >= 8:
        return median, "their own size: nothing is scaled"
    fitting = [side for side in SIDES if side <= min(median, CPU_SIDE)] or [median - median % 4]
    if fitting[-1] < 8:
        raise RequestProblem(
            f"half of the pictures of {shown(manifest.tree.folder)} have a shorter side of {median} px or less; a "
            "study needs 8 or more: give --resolution to enlarge them"
        )
    fuller = [side for side in SIDES if side <= median]
    more = (
        f"; they would allow {fuller[-1]}, at {(fuller[-1] // fitting[-1]) ** 2} times the cost and more (--resolution)"
        if fuller and fuller[-1] > fitting[-1]
        else ""
    )
    return fitting[-1], f"half of the pictures have {median} px or more on their shorter side{more}"


def _value_range(manifest: Manifest, path: Path, side: int, channels: int) -> list[Choice]:
    """What is black and white, only where the files do not say."""
    config = DataConfig(name="imagefolder", resolution=side, channels=1 if channels == 1 else 3)
    try:
        resolve_data(config, image_folder=str(path), manifests=_Known(manifest))
        return []
    except ValueError as error:
        deep = [values for kind, values in manifest.deep.items() if kind != "colour16"]
        if not deep or "value_range" not in str(error):
            raise RequestProblem(str(error)) from None
        low, high = min(low for _, low, _ in deep), max(high for _, _, high in deep)
        why = "the least and largest values found: nothing tells which is black and which white, so check them"
        return [Choice(("base", "data", "value_range"), f"[{low:.10g}, {max(high, low + 1):.10g}]", why)]


class _Known(Manifests):
    """One folder that was looked at already."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__()
        self.read[manifest.tree.folder] = manifest


def _views(manifest: Manifest, seen: Survey, side: int, train: int, most_seen: int) -> list[Choice]:
    room = (manifest.longest or seen.longest) > side
    most = MOST_VIEWS if room else 2
    views = next((k for k in (1, 2, 4, 8) if k * train >= most_seen or k >= most), most)
    crops = "crops and mirror images" if room else "the picture and its mirror image; no crop differs"
    if views == 1:
        return [
            Choice(
                ("base", "data", "views"),
                "1",
                f"the largest budget shows {most_seen:,} images, and there are {train:,}: none needs a second view "
                "(crops, mirror images), and each view is encoded and kept on disk",
            )
        ]
    return [
        Choice(
            ("base", "data", "views"),
            str(views),
            f"{train:,} pictures give {views * train:,} different ones ({crops}), against the {most_seen:,} that the "
            "largest budget shows; each is encoded and kept on disk",
        ),
        Choice(("base", "data", "flip"), "true", "false if a mirror image is wrong: writing, digits, garments, maps"),
    ]


def _tokenizer(side: int, channels: int) -> list[Choice]:
    if side <= SMALL_UP_TO and (channels == 3 or side % 8):
        asked, why = (
            VQConfig(preset="small"),
            "it reconstructs colour far better than `tiny` for the same training",
        )
    elif side <= TINY_UP_TO:
        asked, why = VQConfig(preset="tiny"), "an eighth of the side keeps an image at few tokens"
    else:
        asked, why = VQConfig(preset="tiny", channel_multipliers=(1, 2, 2)), "a sixteenth of the side, as the paper's"
    size = ""
    if not side % {"small": 4, "tiny": 8}[asked.preset]:
        whole = resolve_tokenizer(asked, resolution=side, channels=channels, flip=True)
        size = (
            f"{whole.tokens_per_image} tokens an image, the last map {whole.patch_nums[-1]} x {whole.patch_nums[-1]}; "  # type: ignore[index]
        )
    chosen = [Choice(("base", "tokenizer", "preset"), asked.preset, f"{size}{why} (docs/presets.md)")]
    if asked.channel_multipliers:
        chosen.append(Choice(("base", "tokenizer", "channel_multipliers"), str(list(asked.channel_multipliers))))
    return chosen


def _evaluation(train: int, validation: int, classes: int) -> Choice:
    path = ("evaluate", "fid")
    features: Features = "shape" if classes == 1 else "classifier"
    network = EvaluateConfig().network(features)
    needed = images_needed(features, network)
    if train < needed:
        return Choice(("evaluate",), "{}", f"no FID: it needs {needed} training pictures, and there are {train}")
    few = "" if validation >= needed else f"; no rFID, which needs {needed} validation pictures, not {validation}"
    learns = {
        "classifier": "to tell your classes apart; `shape` sees more of how things are put together",
        "shape": "to know each picture again, since there are no classes to tell apart",
    }
    why = f"features of a small network that learns {learns[features]}{few}"
    return Choice(path, f"{{samples: {SAMPLES:_}, features: {features}}}", why)


def name_of(folder: Path) -> str:
    """A study's name from a folder's."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in folder.name).strip("-.")
    return kept if kept and kept != "last" else "pictures"


def _name(out: Path) -> str:
    if name_of(Path(out.stem)) != out.stem:
        raise RequestProblem(
            f"{shown(out)}: the study takes its name from the file, and that becomes a folder: use letters, digits, "
            "`-`, `_` and `.`, as in --out photos.yaml"
        )
    return _quoted(out.stem)


def _quoted(text: str) -> str:
    """A YAML string of any characters."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


def _comment(text: str, indent: str) -> Sequence[str]:
    clean = "".join(c if c.isprintable() else "?" for c in text)
    if clean.startswith("  ") or not clean:
        return [f"{indent}# {clean}".rstrip()]
    return [f"{indent}# {line}" for line in textwrap.wrap(clean, 112 - len(indent), break_on_hyphens=False)]
