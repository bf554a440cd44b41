"""Published DiT weights as a module of ours: sizes are read from the tensors' shapes, every difference is named."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from var_scaling.families.dit.config import DiTConfig, Target, published_heads
from var_scaling.families.dit.model import DiT
from var_scaling.state_dicts import Given, fit, locate

WHAT = "a DiT"
SIZE_GIVERS = {  # names that the sizes are read from, and the number of dimensions that they must have
    "pos_embed": 3,
    "x_embedder.proj.weight": 4,
    "y_embedder.embedding_table.weight": 2,
    "final_layer.linear.weight": 2,
}


def load_dit(state_dict: Mapping[str, Any], heads: int | None = None, target: Target = "noise") -> DiT:
    """A published DiT checkpoint as a module in evaluation mode.

    Args:
        state_dict: the published names and shapes, loaded with `torch.load(path, weights_only=True)`; or a training
            checkpoint around them, whose average (ema) is then taken; see `state_dicts.locate`.
            The last row of the label table is taken for "no class".
        heads: attention heads. They show in no shape: the published sizes have theirs, others must be given.
        target: what it predicts, which shows nowhere either; the published ones predict noise.

    Returns:
        A `DiT`; learned variances where the last layer has twice the latent's channels.

    Raises:
        ValueError: one sentence: names or shapes that differ, all listed; or heads that are neither known nor given.
    """
    state = locate(state_dict, SIZE_GIVERS, WHAT)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    sizes = _sizes(shapes)
    width, depth = sizes["width"], sizes["depth"]
    heads = published_heads(depth, width) if heads is None else heads
    if heads is None:
        raise ValueError(
            f"the heads of a DiT of depth {depth} and width {width} show in no shape and it is no published size; "
            "give heads="
        )
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} does not divide into {heads} heads; give heads= a divisor of it")
    return fit(DiT(heads=heads, target=target, **sizes), state, "DiT")


def _sizes(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The arguments of `DiT` but heads."""
    width, channels, patch, _ = shapes["x_embedder.proj.weight"]
    tokens, outputs = shapes["pos_embed"][1], shapes["final_layer.linear.weight"][0]
    side, output_channels = math.isqrt(tokens), outputs / patch**2
    if side * side != tokens:
        raise ValueError(f"pos_embed has {tokens} positions, which are no square; only square latents are known")
    if output_channels not in (channels, 2 * channels):
        raise ValueError(
            f"final_layer.linear.weight ends in {outputs} numbers a token, which with {channels} latent channels and "
            f"patches of {patch}x{patch} must be {channels * patch**2}, or {2 * channels * patch**2} with variances"
        )
    if width % 4:
        raise ValueError(f"the width of x_embedder.proj.weight is {width}, which must divide by 4")
    numbers = [int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))]
    absent = sorted(set(range(max(numbers, default=0) + 1)) - set(numbers))
    if absent:
        listed = ", ".join(f"blocks.{number}" for number in absent[:20])
        raise ValueError(f"this is not the state dict of a whole DiT: it has no {listed}")
    return {
        "depth": len(set(numbers)),
        "width": width,
        "patch_size": patch,
        "latent_size": side * patch,
        "channels": channels,
        "num_classes": shapes["y_embedder.embedding_table.weight"][0] - 1,
        "learned_variance": output_channels == 2 * channels,
    }


# What `var_scaling.published.Format` asks.


def read(checkpoint: Mapping[str, Any], given: Given) -> DiT:
    """`load_dit` with what was given."""
    if given.target not in (None, "noise", "velocity"):
        raise ValueError(f"target {given.target} is nothing that a DiT predicts here; give noise or velocity")
    return load_dit(checkpoint, given.heads, given.target or "noise")  # type: ignore[arg-type]


def config_of(module: DiT) -> DiTConfig:
    """The resolved config that builds such a module."""
    if module.patch_size not in (1, 2, 4, 8):
        raise ValueError(f"a DiT with patches of {module.patch_size}x{module.patch_size} is none that is known here")
    return DiTConfig(
        depth=module.depth,
        head_dim=module.width // module.heads,
        heads=module.heads,
        patch_size=module.patch_size,
        target=module.target,
        learned_variance=module.learned_variance,
        initial_values="published",  # of fresh weights, which these are not
        latent_channels=module.channels,
        latent_size=module.latent_size,
        num_classes=module.num_classes,
    )


def names_of(module: DiT) -> dict[str, Tensor]:
    """The published state dict, whose names ours are."""
    return dict(module.state_dict())


def given_of(module: DiT) -> Given:
    """What no shape tells of it."""
    return Given(heads=module.heads, target=module.target)
