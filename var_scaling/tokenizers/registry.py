"""Every kind of tokenizer, found by its preset. Torch-free."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from var_scaling.tokenizers.base import TokenizerConfig, TokenizerKind, TokenizerModule

OURS = ("vq", "kl")  # a line a kind: the name of its folder


@lru_cache(maxsize=1)
def kinds() -> Mapping[str, TokenizerKind]:
    """Kinds by name; the first is the default."""
    return {name: importlib.import_module(f"var_scaling.tokenizers.{name}").KIND for name in OURS}


@lru_cache(maxsize=1)
def presets() -> Mapping[str, TokenizerKind]:
    """Kinds by the presets that they have."""
    return {preset: kind for kind in kinds().values() for preset in kind.presets}


def kind_of(config: TokenizerConfig) -> TokenizerKind:
    """The kind of a tokenizer's config."""
    return presets()[config.preset]


def read_tokenizer(raw: Mapping[str, Any]) -> TokenizerConfig:
    """A tokenizer's config from plain values, as a work's config.yaml holds them.

    Raises:
        ValueError: no such preset; as `pydantic.ValidationError`, any other problem.
    """
    preset = str(raw.get("preset", next(iter(presets()))))
    if preset not in presets():
        raise ValueError(unknown_preset(preset))
    return presets()[preset].config.model_validate(raw)


def module_of(config: TokenizerConfig) -> TokenizerModule:
    """The torch half of a tokenizer's kind; imports torch."""
    module: Any = importlib.import_module(kind_of(config).module)
    return module  # type: ignore[no-any-return]


def unknown_preset(name: object) -> str:
    """Why a name is no preset, and what is."""
    close = difflib.get_close_matches(str(name), presets(), n=1, cutoff=0.5)
    hint = f" (did you mean `{close[0]}`?)" if close else ""
    return f"{name!r} is no tokenizer preset{hint}; presets: {', '.join(presets())}"
