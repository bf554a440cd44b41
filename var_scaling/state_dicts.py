"""A state dict from elsewhere against a module of ours: every difference is named before anything is loaded."""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

StateDict = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)
MOST_DEEP = 3  # keys above the weights: trainer.var_wo_ddp has two

log = logging.getLogger(__name__)


class Untold(ValueError):
    """Something of a checkpoint shows in no shape, and nobody said it."""


@dataclass(frozen=True)
class Given:
    """What no shape tells of weights; None: nobody said."""

    patch_nums: tuple[int, ...] | None = None
    heads: int | None = None
    norm_groups: int | None = None
    phi_ratio: float | None = None
    resolution: int | None = None  # of a continuous tokenizer, whose convolutions fit any
    latent_scale: float | None = None  # of a continuous tokenizer
    latent_mean: tuple[float, ...] | None = None  # the same, a number a channel
    latent_std: tuple[float, ...] | None = None
    target: str | None = None  # of a diffusion transformer

    def under(self, other: Given) -> Given:
        """This, where the other says nothing."""
        return replace(self, **{name: value for name, value in vars(other).items() if value is not None})

    def as_dict(self) -> dict[str, Any]:
        """What was said."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if value is not None
        }


def given_of(raw: Mapping[str, Any]) -> Given:
    """The same from plain values; names that are no fields are left out."""
    known = {name: value for name, value in raw.items() if name in Given.__dataclass_fields__}
    return Given(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})


def fit(model: Module, state: StateDict, what: str) -> Module:
    """The module with these weights, in evaluation mode.

    Args:
        model: of the sizes that were read from the state's own shapes.
        state: all of the module's names, and no other.
        what: the kind of model, for the error.

    Raises:
        ValueError: names or shapes that differ, all listed, each name with the nearest one on the other side.
    """
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in state.items()}
    missing, unknown = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    problems = [f"{name} is missing{nearest(name, unknown)}" for name in missing]
    problems += [f"{name} is unknown{nearest(name, missing)}" for name in unknown]
    problems += [
        f"{name} has shape {theirs[name]}, expected {ours[name]}"
        + (", its transpose" if len(ours[name]) > 1 and theirs[name] == ours[name][::-1] else "")
        for name in ours.keys() & theirs.keys()
        if ours[name] != theirs[name]
    ]
    if problems:
        raise ValueError(f"the checkpoint does not fit a {what} of its own sizes: " + "; ".join(sorted(problems)))
    model.load_state_dict(dict(state))
    return model.eval()


def locate(checkpoint: object, size_givers: Mapping[str, int], what: str) -> dict[str, Tensor]:
    """The weights in a checkpoint, wherever its training put them; what was done to find them is logged.

    They may lie below keys (state_dict, model, ema, trainer.var_wo_ddp, ...) and carry a prefix (module., _orig_mod.).
    Of several places an average (ema) is taken before others, as published results do, then the one least deep.

    Args:
        checkpoint: what `torch.load(path, weights_only=True)` gave. Arrays become tensors; what is no weight, such as
            an epoch beside them, is left out.
        size_givers: names that the sizes are read from, each with its number of dimensions.
        what: the kind of model, for errors.

    Raises:
        ValueError: the names are nowhere, or have other numbers of dimensions.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"this is not the state dict of {what}: it is a {type(checkpoint).__name__}, no mapping")
    found = sorted(
        _places(checkpoint, list(size_givers), ()),
        key=lambda place: (not any("ema" in key for key in place[0]), len(place[0]), len(place[1])),
    )
    if not found:
        missing = [f"{name}{nearest(name, checkpoint)}" for name in size_givers if name not in checkpoint]
        raise ValueError(f"this is not the state dict of {what}: it has no {', '.join(missing)}")
    keys, prefix, holder = found[0]
    inside = {str(name)[len(prefix) :]: value for name, value in holder.items() if str(name).startswith(prefix)}
    weights = {name: torch.as_tensor(value) for name, value in inside.items() if isinstance(value, Tensor | np.ndarray)}
    _tell(what, found, [name for name in inside if name not in weights])
    for name, dimensions in size_givers.items():
        shape = tuple(weights[name].shape) if name in weights else None
        if shape is None or len(shape) != dimensions or not all(shape):
            raise ValueError(
                f"this is not the state dict of {what}: {name} "
                f"{'is no tensor' if shape is None else f'has shape {shape}'} where one of {dimensions} dimensions is "
                "expected"
            )
    return as_float32(weights, what)


def as_float32(state: StateDict, what: str) -> dict[str, Tensor]:
    """Weights in float32, as everything here computes; what was converted for it is logged.

    Args:
        state: tensors by name; whole numbers (buffers) stay.
        what: they are of, for the words.

    Raises:
        ValueError: numbers that are no plain weights: quantised, complex, of 8 bits.
    """
    kinds: dict[str, int] = {}
    for name, value in state.items():
        kind = str(value.dtype).removeprefix("torch.")
        if value.is_complex() or value.is_quantized or (value.is_floating_point() and value.element_size() == 1):
            raise ValueError(f"{name} of {what} is {kind}; plain weights of 16, 32 or 64 bits are read")
        if value.is_floating_point() and value.dtype != torch.float32:
            kinds[kind] = kinds.get(kind, 0) + 1
    for kind, count in kinds.items():
        how = "rounded to" if kind == "float64" else "kept, without loss, as"
        log.warning("%d of %d tensors of %s are %s in the file, and are %s float32", count, len(state), what, kind, how)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


Place = tuple[tuple[str, ...], str, Mapping[Any, Any]]  # keys down to a mapping, prefix of its names, the mapping


def holds(checkpoint: object, names: Iterable[str]) -> bool:
    """Whether a checkpoint has all these names, wherever its training put them."""
    return isinstance(checkpoint, Mapping) and next(_places(checkpoint, list(names), ()), None) is not None


def _places(value: Mapping[Any, Any], names: list[str], keys: tuple[str, ...]) -> Iterator[Place]:
    ends = [str(name)[: -len(names[0])] for name in value if str(name).endswith(names[0])]
    for prefix in ends:
        if (not prefix or prefix.endswith(".")) and all(prefix + name in value for name in names):
            yield keys, prefix, value
    if len(keys) < MOST_DEEP:
        for key, below in value.items():
            if isinstance(below, Mapping):
                yield from _places(below, names, (*keys, str(key)))


def _tell(what: str, found: list[Place], left_out: list[str]) -> None:
    (keys, prefix, _), *others = found
    words = [f"below {'.'.join(keys)}"] if keys else []
    words += [f"without the prefix {prefix}"] if prefix else []
    if others:
        words.append("not from " + ", ".join(".".join((*k, p)).strip(".") or "the top" for k, p, _ in others))
    if words:
        log.warning("the weights of %s were taken from %s", what, ", ".join(words))
    if left_out:
        log.warning("left out of %s, for they are no tensors: %s", what, ", ".join(left_out))


def count(state: StateDict, pattern: str) -> int:
    """One more than the highest number that the pattern finds in the names."""
    return 1 + max((int(match[1]) for name in state if (match := re.match(pattern, name))), default=-1)


def nearest(name: str, names: Iterable[str]) -> str:
    """A remark that names the one most like `name`; nothing where none is."""
    near = difflib.get_close_matches(name, [other for other in names if isinstance(other, str)], n=1)
    return f" (nearest: {near[0]})" if near else ""


def weights_hash(module: nn.Module) -> str:
    """sha256 over names, shapes and bytes of a module's state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
