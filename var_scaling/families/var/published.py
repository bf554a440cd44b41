"""Published VAR weights as a module of ours: sizes are read from the tensors' shapes, every difference is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from var_scaling.families.var.config import VARConfig
from var_scaling.families.var.model import VAR
from var_scaling.state_dicts import Given, count, fit, locate
from var_scaling.tokenizers.vq.published import sides_of

WHAT = "a VAR checkpoint"
SIZE_GIVERS = {"word_embed.weight": 2, "class_emb.weight": 2, "head.weight": 2}
# The published scale lists, by (positions, scales), which no other published model shares.
PUBLISHED_SIDES = {
    (680, 10): (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    (2240, 10): (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}
BUFFERS = re.compile(r"lvl_1L|attn_bias_for_masking|blocks\.\d+\.attn\.zero_k_bias")  # masks, level ids, a zero bias


def load_var(state_dict: Mapping[str, Any], patch_nums: Sequence[int], heads: int | None = None) -> VAR:
    """A published VAR checkpoint as a module in evaluation mode.

    Args:
        state_dict: the published names and shapes; where they may lie, see `state_dicts.locate`.
        patch_nums: side of each token map, coarse to fine.
        heads: needed only where the checkpoint has no `scale_mul_1H11` to read them from.

    Raises:
        ValueError: names or shapes that differ, all listed; or heads that can neither be read nor were given.
    """
    sides = sides_of(patch_nums)
    found = locate(state_dict, SIZE_GIVERS, WHAT)
    state = {name: value for name, value in found.items() if not BUFFERS.fullmatch(name)}
    _check_positions(state, sides)
    depth = count(state, r"blocks\.(\d+)\.")
    if depth == 0:
        raise ValueError("this is not the state dict of a VAR checkpoint: it has no blocks.0")
    width, latent_dim = state["word_embed.weight"].shape
    temperatures = state.get("blocks.0.attn.scale_mul_1H11")
    if temperatures is not None:
        if temperatures.dim() != 4:
            raise ValueError(
                f"blocks.0.attn.scale_mul_1H11 has shape {tuple(temperatures.shape)}, and not (1, heads, 1, 1)"
            )
        if heads not in (None, temperatures.shape[1]):
            raise ValueError(f"the checkpoint has {temperatures.shape[1]} heads, not {heads}; leave heads out")
        heads = temperatures.shape[1]
    elif heads is None:
        raise ValueError("the checkpoint has no blocks.0.attn.scale_mul_1H11 to read the heads from; give heads=")
    if heads < 1 or width % heads:
        raise ValueError(f"a width of {width} does not divide into {heads} heads; give heads= a divisor of it")
    model = VAR(
        depth=depth,
        width=width,
        heads=heads,
        patch_nums=sides,
        vocab_size=state["head.weight"].shape[0],
        latent_dim=latent_dim,
        num_classes=state["class_emb.weight"].shape[0] - 1,
        shared_adaln="shared_ada_lin.1.weight" in state,
        l2_norm=temperatures is not None,
    )
    return fit(model, state, "VAR")


def _check_positions(state: Mapping[str, Tensor], sides: tuple[int, ...]) -> None:
    """A scale list that gives other positions or scales than the checkpoint has is said before all that follows."""
    for name, axis, ours, what in (
        ("pos_1LC", 1, sum(side * side for side in sides), "positions"),
        ("lvl_embed.weight", 0, len(sides), "scales"),
    ):
        theirs = state[name].shape[axis] if name in state and state[name].dim() > axis else ours
        if theirs != ours:
            raise ValueError(
                f"patch_nums {','.join(map(str, sides))} makes {ours} {what} and the checkpoint has {theirs} ({name} "
                f"has shape {tuple(state[name].shape)}); give the sides of its own token maps"
            )


# What `var_scaling.published.Format` asks.


def read(checkpoint: Mapping[str, Any], given: Given) -> VAR:
    """`load_var` with what was given, or what a published size says of its scales."""
    state = locate(checkpoint, SIZE_GIVERS, WHAT)
    sides = given.patch_nums
    if sides is None and {"pos_1LC", "lvl_embed.weight"} <= state.keys():
        positions, scales = state["pos_1LC"].shape[1], state["lvl_embed.weight"].shape[0]
        sides = PUBLISHED_SIDES.get((positions, scales))
        if sides is None:
            raise ValueError(
                f"the scale list of {positions} positions in {scales} scales is none that was published, and shows in "
                "no shape; give --patch-nums, e.g. --patch-nums 1,2,3,4"
            )
    return load_var(state, sides or (), given.heads)


def config_of(module: VAR) -> VARConfig:
    """The resolved config that builds such a module."""
    return VARConfig(
        depth=module.depth,
        head_dim=module.width // module.heads,
        heads="depth" if module.heads == module.depth else module.heads,
        adaln="shared" if module.shared_adaln else "per-block",
        attention="l2-norm" if module.blocks[0].attn.l2_norm else "scaled",
        gamma_init=1e-3,  # of fresh weights, which these are not
        drop_path=0.0,
        patch_nums=module.patch_nums,
        vocab_size=module.vocab_size,
        latent_dim=module.latent_dim,
        num_classes=module.num_classes,
    )


def names_of(module: VAR) -> dict[str, Tensor]:
    """The published state dict: our names, and the buffers that a strict loader of theirs asks for."""
    levels_L = module.lvl_1L[0]
    later_LL = levels_L[:, None] < levels_L[None, :]
    return {
        **module.state_dict(),
        "lvl_1L": module.lvl_1L,
        "attn_bias_for_masking": torch.zeros(later_LL.shape).masked_fill(later_LL, -torch.inf)[None, None],
        **{f"blocks.{block}.attn.zero_k_bias": torch.zeros(module.width) for block in range(module.depth)},
    }


def given_of(module: VAR) -> Given:
    """What no shape tells of it."""
    return Given(patch_nums=module.patch_nums, heads=module.heads)
