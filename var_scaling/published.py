"""The public door to published weights: state dicts as modules of ours, and ours under the published names.

Each loader takes what `torch.load(path, weights_only=True)` gives: the state dict, or a training's checkpoint around
it. What is known of a format stands with its family or tokenizer (`Format`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from var_scaling.families.dit import published as dit
from var_scaling.families.dit.published import load_dit
from var_scaling.families.var import published as var
from var_scaling.families.var.published import load_var
from var_scaling.state_dicts import Given, holds, nearest
from var_scaling.tokenizers.kl import published as kl
from var_scaling.tokenizers.kl.published import load_kl_tokenizer
from var_scaling.tokenizers.vq import published as vq
from var_scaling.tokenizers.vq.published import load_tokenizer

__all__ = ["FORMATS", "Format", "load_dit", "load_kl_tokenizer", "load_tokenizer", "load_var", "recognise"]

What = Literal["model", "tokenizer"]


class Format(Protocol):
    """A published format: a module (file) with these."""

    WHAT: str
    SIZE_GIVERS: Mapping[str, int]

    def read(self, checkpoint: Mapping[str, Any], given: Given) -> Any:
        """The module in evaluation mode.

        Raises:
            ValueError: names or shapes that differ, or what no shape tells and nobody gave.
        """

    def config_of(self, module: Any) -> Any:
        """The resolved config that builds such a module."""

    def names_of(self, module: Any) -> dict[str, Tensor]:
        """Its state dict under the published names."""

    def given_of(self, module: Any) -> Given:
        """What no shape tells of it."""


# By the name of the family or kind of tokenizer, and which of the two it is.
FORMATS: Mapping[str, tuple[What, Format]] = {
    "var": ("model", var),
    "dit": ("model", dit),
    "vq": ("tokenizer", vq),
    "kl": ("tokenizer", kl),
}


def recognise(checkpoint: object) -> str:
    """Which of `FORMATS` a checkpoint is of.

    Raises:
        ValueError: of none; the one that most of its names are of is named, and what it lacks of it.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"it is a {type(checkpoint).__name__}, no mapping of names to tensors")
    for name, (_, form) in FORMATS.items():
        if holds(checkpoint, form.SIZE_GIVERS):
            return name
    names = [str(name) for name in _names(checkpoint)]
    shares = {
        name: sum(holds(checkpoint, [giver]) for giver in form.SIZE_GIVERS) / len(form.SIZE_GIVERS)
        for name, (_, form) in FORMATS.items()
    }
    best = max(shares, key=lambda name: shares[name])
    whats = ", ".join(form.WHAT for _, form in FORMATS.values())
    if not shares[best]:
        some = ", ".join(names[:5]) or "none"
        raise ValueError(f"it is none of the formats that are known here ({whats}); its names: {some}")
    form = FORMATS[best][1]
    lacks = [f"{name}{nearest(name, names)}" for name in form.SIZE_GIVERS if not holds(checkpoint, [name])]
    raise ValueError(f"it is most like {form.WHAT}, and has no {', '.join(lacks)}")


def _names(checkpoint: Mapping[Any, Any], deep: int = 3) -> list[str]:
    found = []
    for name, value in checkpoint.items():
        found += _names(value, deep - 1) if isinstance(value, Mapping) and deep else [str(name)]
    return found


def check_finite(module: nn.Module) -> None:
    """Refuse weights that are not numbers.

    Raises:
        ValueError: the first tensors that hold such, with how many.
    """
    bad = {name: int((~value.isfinite()).sum()) for name, value in module.state_dict().items()}
    bad = {name: count for name, count in bad.items() if count}
    if bad:
        listed = ", ".join(f"{count} in {name}" for name, count in list(bad.items())[:5])
        raise ValueError(f"numbers that are not finite: {listed}; the file is damaged, or its training diverged")
