"""Published VAR weights as a module of ours: sizes are read from the tensors' shapes, every difference is named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from var_scaling.families.var.model import VAR
from var_scaling.state_dicts import count, fit, locate
from var_scaling.tokenizers.vq.published import sides_of

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
    found = locate(state_dict, {"word_embed.weight": 2, "class_emb.weight": 2, "head.weight": 2}, "a VAR checkpoint")
    state = {name: value for name, value in found.items() if not BUFFERS.fullmatch(name)}
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
