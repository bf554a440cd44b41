"""Every kind of tokenizer, found by its preset, or by that of imported weights. Torch-free."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from var_scaling.tokenizers.base import TokenizerConfig, TokenizerKind, TokenizerModule, WeightsConfig

OURS = ("vq", "kl")  # a line a kind: the name of its folder


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, TokenizerKind]:
    """Kinds by name; the first is the default."""
    return {name: importlib.import_module(f"var_scaling.tokenizers.{name}").KIND for name in OURS}


@lru_cache(maxsize=1)
def presets() -> Mapping[str, TokenizerKind]:
    """Kinds by the presets that they have."""
    return {preset: kind for kind in kinds().values() for preset in kind.presets}


@lru_cache(maxsize=1)
def imported_kinds() -> Mapping[str, TokenizerKind]:
    """Kinds by the preset of resolved configs whose weights are from elsewhere; nobody asks for one by that name."""
    return {kind.imported: kind for kind in kinds().values()}


def kind_of(config: TokenizerConfig) -> TokenizerKind:
    """The kind of a tokenizer's config; one whose weights nobody has looked at yet has none."""
    return presets().get(config.preset) or imported_kinds()[config.preset]


def config_type(raw: Mapping[str, Any]) -> type[TokenizerConfig]:
    """What the section `tokenizer` of a trial is read as: by its preset, or by its weights.

    Raises:
        ValueError: no such preset.
    """
    if "preset" not in raw:
        return WeightsConfig if raw.get("weights", "off") != "off" else next(iter(presets().values())).config
    preset = str(raw["preset"])
    if preset in imported_kinds() and raw.get("weights", "off") != "off":
        return imported_kinds()[preset].config
    if preset not in presets():
        raise ValueError(unknown_preset(preset))
    return presets()[preset].config


def read_tokenizer(raw: Mapping[str, Any]) -> TokenizerConfig:
    """A tokenizer's config from plain values, as a work's config.yaml holds them.

    Raises:
        ValueError: no such preset; as `pydantic.ValidationError`, any other problem.
    """
    return config_type(raw).model_validate(raw)


def module_of(config: TokenizerConfig) -> TokenizerModule:
    """The torch half of a tokenizer's kind; imports torch."""
    module: Any = importlib.import_module(kind_of(config).module)
    return module  # type: ignore[no-any-return]


def unknown_preset(name: object) -> str:
    """Why a name is no preset, and what is."""
    close = difflib.get_close_matches(str(name), presets(), n=1, cutoff=0.5)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    return f"{name!r} is no tokenizer preset{hint}; presets: {', '.join(presets())}"
