"""Weights from elsewhere as a plan sees them: found by a path or a name, known by their content. Torch-free.

    store/weights/<hash>/weights.safetensors   tensors under our names, float32; the hash is of their content
    store/weights/files/<hash of a path>.json  what was read of a file: its stamp, its weights, the config they make

A plan reads these notes and writes nothing. A launch reads the file itself where there is no note of it as it is now:
in a process of its own (`var_scaling.work.importing`), since this wing has no torch. Until then the identity of the
tokenizer is "provisional" like that of an image folder, and nothing is trained under such an id.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from var_scaling.config import yaml
from var_scaling.config.image_manifest import PROVISIONAL
from var_scaling.config.image_names import data_root, shown
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import layout, store
from var_scaling.tokenizers.base import TokenizerConfig, WeightsConfig
from var_scaling.tokenizers.registry import imported_kinds, kind_of, kinds

FORMAT = 1
HASH_DIGITS = 16  # of a content's sha256, in names and identities


@dataclass(frozen=True)
class Known:
    """What was read of a file of weights."""

    weights: str  # hash of the content
    what: str  # "tokenizer" or "model"
    name: str  # of its kind or family
    config: Mapping[str, Any]  # resolved but for `weights`, as plain values
    source: str  # the file that it came from
    parameters: int = 0
    said: tuple[str, ...] = ()  # what was done to read it, a sentence each


def weights_path(runs: Path, weights: str) -> Path:
    """Where the tensors of a content lie."""
    return layout.imported_weights(runs, weights)


def note_path(runs: Path, file: Path) -> Path:
    """Where what was read of a file is kept."""
    return layout.imported_note(runs, hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:HASH_DIGITS])


def stamp(file: Path) -> list[int]:
    """Equal, if a file has not changed."""
    about = file.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def write_note(runs: Path, file: Path, before: list[int], given: Mapping[str, Any], known: Known) -> None:
    """Keep what was read of a file that had this stamp before it was read."""
    path = note_path(runs, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {"format": FORMAT, "stamp": before, "given": given, **vars(known), "said": list(known.said)}
    store.write_json(path, json.loads(json.dumps(note)))


def _known(note: Any) -> Known | None:
    if not isinstance(note, dict) or note.get("format") != FORMAT:
        return None
    fields = {name: note[name] for name in Known.__dataclass_fields__}
    return Known(**{**fields, "said": tuple(note["said"])})


@dataclass
class Imports:
    """What one plan knows of imported weights.

    Args:
        runs: the runs folder.
        build: read files of which nothing is known yet.
        tell: told what takes long.
    """

    runs: Path = field(default_factory=lambda: Path(os.environ.get("VAR_SCALING_RUNS", "runs")))
    build: bool = False
    tell: Callable[[str], None] = lambda text: None
    _resolved: dict[Any, TokenizerConfig] = field(default_factory=dict)  # a thousand trials share their tokenizer

    def find(self, text: str, given: Mapping[str, Any] | None = None) -> Known | None:
        """What a path or a name means; None where it is nothing that is here, or has not been read yet.

        Args:
            text: a file, or of an imported or trained tokenizer: the file's name, or the start of an id or hash.
            given: what no shape tells; a note that was made with another scale of latents is no note of this.

        Raises:
            RequestProblem: a name that several have; or, where files are read, one that cannot be.
        """
        if (file := self.file(text)) is not None:
            return self._of_file(file, given or {})
        found: dict[str, Known] = {}
        for path in layout.imported_notes(self.runs):
            known = _known(store.read_json(path))
            if known and (known.weights.startswith(text) or text in (Path(known.source).name, Path(known.source).stem)):
                found[known.weights] = known
        for folder in self._tokenizers(text):
            raw = yaml.load(layout.config(folder))[0]["tokenizer"]
            if raw.get("weights", "off") != "off":
                kind = imported_kinds()[raw["preset"]].name
                found[raw["weights"]] = Known(raw["weights"], "tokenizer", kind, raw, shown(folder))
            elif known := self._of_file(layout.weights(layout.result(folder)), {}):
                found[known.weights] = known
        if len(found) > 1:
            listed = ", ".join(f"{known.weights[:8]} ({known.source})" for known in found.values())
            raise RequestProblem(f"`{text}` names {len(found)} imported weights: {listed}; give more of one's hash")
        return next(iter(found.values()), None)

    def file(self, text: str) -> Path | None:
        """The file that a text names, looked for here and in VAR_SCALING_DATA."""
        places = [Path(text).expanduser(), data_root() / Path(text).expanduser()]
        return next((place for place in places if place.is_file()), None)

    def _tokenizers(self, text: str) -> list[Path]:
        """Finished tokenizers of the store by the start of an id."""
        wanted = layout.short_name(text).removeprefix("tokenizer/")
        stages = layout.stages(self.runs, "tokenizer") if len(wanted) >= 4 else ()
        return [stage for stage in stages if stage.name.startswith(wanted) and layout.result(stage).is_dir()]

    def _of_file(self, file: Path, given: Mapping[str, Any]) -> Known | None:
        note = store.read_json(note_path(self.runs, file)) or {}
        scale = given.get("latent_scale")
        fresh = note.get("stamp") == stamp(file) and (scale is None or note["given"].get("latent_scale") == scale)
        known = _known(note) if fresh else None
        if known and weights_path(self.runs, known.weights).is_file():
            return known
        return self._read(file, given) if self.build else None

    def _read(self, file: Path, given: Mapping[str, Any]) -> Known | None:
        """Let a process of its own read it, and keep what it found."""
        self.tell(f"reading the weights in {shown(file)}, once")
        said = {name: value for name, value in given.items() if value is not None}
        command = [sys.executable, "-m", "var_scaling.work.importing", str(self.runs), str(file), json.dumps(said)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode == 2:
            raise RequestProblem(done.stderr.strip())
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EnvironmentProblem(f"the weights in {shown(file)} could not be read: {last}")
        return _known(store.read_json(note_path(self.runs, file)))

    def tokenizer(self, asked: TokenizerConfig, resolution: int, channels: int, flip: bool) -> TokenizerConfig:
        """The resolved config of a tokenizer whose weights are asked for.

        Raises:
            RequestProblem: no such weights, or weights of something else.
            ValueError: sizes that do not fit the data, or what was written beside them.
        """
        key = (asked, resolution, channels, flip)
        if key not in self._resolved:
            self._resolved[key] = self._resolve(asked, {"resolution": resolution, "channels": channels, "flip": flip})
        return self._resolved[key]

    def _resolve(self, asked: TokenizerConfig, sizes: Mapping[str, Any]) -> TokenizerConfig:
        if asked.preset in imported_kinds() and not isinstance(asked, WeightsConfig):
            resolved: TokenizerConfig = kind_of(asked).resolve(asked, **sizes)
            return resolved
        said = {name: getattr(asked, name, None) for name in ("patch_nums", "norm_groups", "phi_ratio", "latent_scale")}
        scale = said["latent_scale"]
        known = self.find(asked.weights, {**said, "latent_scale": scale if isinstance(scale, float) else None})
        if known is None:
            return self._unread(asked, sizes)
        if known.what != "tokenizer":
            raise RequestProblem(
                f"tokenizer.weights {asked.weights} are those of a model ({known.name}), and no tokenizer's; name the "
                "tokenizer that it was trained on"
            )
        kind = kinds()[known.name]
        config = kind.config.model_validate({**yaml.tuples(dict(known.config)), "weights": known.weights})
        config = kind.imported_as(config, asked, sizes["resolution"])
        _check_said(asked, config)
        resolved = kind.resolve(config, **sizes)
        return resolved

    def _unread(self, asked: TokenizerConfig, sizes: Mapping[str, Any]) -> TokenizerConfig:
        """A plan before the file was read, with the sizes of a preset."""
        there = self.file(asked.weights) is not None
        what = "have not been read yet" if there else "are no file here, and the name of none that was imported"
        if self.build:
            raise EnvironmentProblem(
                f"tokenizer.weights {asked.weights} {what}; put the file there, or `var-scaling import` it into this "
                "runs folder (the study can be planned without it, with tokenizer.preset)"
            )
        if isinstance(asked, WeightsConfig):
            way_out = f"`var-scaling import {asked.weights}` reads them" if there else "import them"
            raise RequestProblem(
                f"tokenizer.weights {asked.weights} {what}; {way_out}, or, to plan without, give tokenizer.preset "
                "beside it, whose sizes they have (paper: VAR's, paper-kl: DiT's)"
            )
        kind = kind_of(asked)
        resolved = kind.resolve(asked.model_copy(update={"weights": "off"}), **sizes)
        config: TokenizerConfig = resolved.model_copy(
            update={"weights": PROVISIONAL, "preset": kind.imported, "train": type(resolved.train)()}
        )
        return config


def _check_said(asked: TokenizerConfig, config: TokenizerConfig) -> None:
    """Sizes that a study gives beside weights are those of the weights.

    Raises:
        ValueError: one differs.
    """
    if isinstance(asked, WeightsConfig):
        return
    if type(asked) is not type(config):
        raise ValueError(
            f"tokenizer.preset {asked.preset} is of another kind than the weights {asked.weights}; leave it out"
        )
    for name in ("vocab_size", "latent_dim", "latent_channels", "channels", "channel_multipliers", "blocks"):
        given, theirs = getattr(asked, name, None), getattr(config, name, None)
        if given is not None and given != theirs:
            raise ValueError(f"tokenizer.{name} is {given} but the weights {asked.weights} have {theirs}; leave it out")
