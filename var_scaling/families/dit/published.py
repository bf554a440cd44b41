"""Published DiT weights as a module of ours: sizes are read from the tensors' shapes, every difference is named."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from var_scaling.families.dit.config import published_heads
from var_scaling.families.dit.model import DiT
from var_scaling.state_dicts import fit, locate

SIZE_GIVERS = {  # names that the sizes are read from, and the number of dimensions that they must have
    "pos_embed": 3,
    "x_embedder.proj.weight": 4,
    "y_embedder.embedding_table.weight": 2,
    "final_layer.linear.weight": 2,
}


def load_dit(state_dict: Mapping[str, Any], heads: int | None = None) -> DiT:
    """A published DiT checkpoint as a module in evaluation mode.

    Args:
        state_dict: the published names and shapes, loaded with `torch.load(path, weights_only=True)`; or a training
            checkpoint around them, whose average (ema) is then taken; see `state_dicts.locate`.
            The last row of the label table is taken for "no class".
        heads: attention heads. They show in no shape: the published sizes have theirs, others must be given.

    Returns:
        A `DiT` with target "noise"; learned variances where the last layer has twice the latent's channels.

    Raises:
        ValueError: one sentence: names or shapes that differ, all listed; or heads that are neither known nor given.
    """
    state = locate(state_dict, SIZE_GIVERS, "a DiT")
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
    return fit(DiT(heads=heads, **sizes), state, "DiT")


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
