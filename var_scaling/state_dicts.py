"""A state dict from elsewhere against a module of ours: every difference is named before anything is loaded."""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

StateDict = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)
MOST_DEEP = 3  # keys above the weights: trainer.var_wo_ddp has two

log = logging.getLogger(__name__)


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
    return weights


Place = tuple[tuple[str, ...], str, Mapping[Any, Any]]  # keys down to a mapping, prefix of its names, the mapping


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
