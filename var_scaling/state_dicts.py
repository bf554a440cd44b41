"""A state dict from elsewhere against a module of ours: every difference is named before anything is loaded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from torch import Tensor, nn

StateDict = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


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


def require(state: StateDict, names: Iterable[str], what: str) -> None:
    """Raises ValueError unless all names are there: those that the sizes are read from."""
    missing = [f"{name}{nearest(name, state)}" for name in names if name not in state]
    if missing:
        raise ValueError(f"this is not the state dict of {what}: it has no {', '.join(missing)}")


def count(state: StateDict, pattern: str) -> int:
    """One more than the highest number that the pattern finds in the names."""
    return 1 + max((int(match[1]) for name in state if (match := re.match(pattern, name))), default=-1)


def nearest(name: str, names: Iterable[str]) -> str:
    """A remark that names the one most like `name`; nothing where none is."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (nearest: {near[0]})" if near else ""
