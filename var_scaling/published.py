"""Published checkpoints as modules of ours: sizes are read from the tensors' shapes, every difference is named.

Expects the state dict itself, loaded with `torch.load(path, weights_only=True)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from var_scaling.families.dit.published import load_dit
from var_scaling.families.var.model import VAR
from var_scaling.state_dicts import StateDict, count, fit, require
from var_scaling.tokenizers.vq.model import Tokenizer

__all__ = ["load_dit", "load_tokenizer", "load_var"]

# Buffers of the published modules that hold no weights: masks, level ids, a zero bias, hit counts.
VAR_BUFFERS = re.compile(r"lvl_1L|attn_bias_for_masking|blocks\.\d+\.attn\.zero_k_bias")
TOKENIZER_BUFFERS = re.compile(r"quantize\.ema_vocab_hit_SV")


def load_var(state_dict: StateDict, patch_nums: Sequence[int], heads: int | None = None) -> VAR:
    """A published VAR checkpoint as a module in evaluation mode.

    Args:
        state_dict: the published names and shapes.
        patch_nums: side of each token map, coarse to fine.
        heads: needed only where the checkpoint has no `scale_mul_1H11` to read them from.

    Raises:
        ValueError: names or shapes that differ, all listed; or heads that can neither be read nor were given.
    """
    state = {name: value for name, value in state_dict.items() if not VAR_BUFFERS.fullmatch(name)}
    require(state, ["word_embed.weight", "class_emb.weight", "head.weight"], "a VAR checkpoint")
    width, latent_dim = state["word_embed.weight"].shape
    temperatures = state.get("blocks.0.attn.scale_mul_1H11")
    if temperatures is not None:
        if heads not in (None, temperatures.shape[1]):
            raise ValueError(f"the checkpoint has {temperatures.shape[1]} heads, not {heads}; leave heads out")
        heads = temperatures.shape[1]
    elif heads is None:
        raise ValueError("the checkpoint has no blocks.0.attn.scale_mul_1H11 to read the heads from; give heads=")
    if width % heads:
        raise ValueError(f"a width of {width} does not divide into {heads} heads; give heads= a divisor of it")
    model = VAR(
        depth=count(state, r"blocks\.(\d+)\."),
        width=width,
        heads=heads,
        patch_nums=tuple(patch_nums),
        vocab_size=state["head.weight"].shape[0],
        latent_dim=latent_dim,
        num_classes=state["class_emb.weight"].shape[0] - 1,
        shared_adaln="shared_ada_lin.1.weight" in state,
        l2_norm=temperatures is not None,
    )
    return fit(model, state, "VAR")


def load_tokenizer(state_dict: StateDict, patch_nums: Sequence[int]) -> Tokenizer:
    """A published multi-scale VQVAE checkpoint as a module in evaluation mode.

    Args:
        state_dict: the published names and shapes; phi shared by all scales, by some or by none.
        patch_nums: side of each token map, coarse to fine.

    Raises:
        ValueError: names or shapes that differ, all listed.
    """
    state = {name: value for name, value in state_dict.items() if not TOKENIZER_BUFFERS.fullmatch(name)}
    state = {_our_phi_name(name): value for name, value in state.items()}
    require(state, ["encoder.conv_in.weight", "quantize.embedding.weight", "decoder.conv_in.weight"], "a tokenizer")
    channels, image_channels, kernel, _ = state["encoder.conv_in.weight"].shape
    vocab_size, latent_dim = state["quantize.embedding.weight"].shape
    levels = count(state, r"encoder\.down\.(\d+)\.")
    firsts = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
    require(state, firsts, "a tokenizer")
    model = Tokenizer(
        patch_nums=tuple(patch_nums),
        vocab_size=vocab_size,
        latent_dim=latent_dim,
        channels=channels,
        multipliers=tuple(state[name].shape[0] // channels for name in firsts),
        blocks=count(state, r"encoder\.down\.0\.block\.(\d+)\."),
        middle="encoder.mid.block_1.conv1.weight" in state,
        attention=f"encoder.down.{levels - 1}.attn.0.qkv.weight" in state,
        stem_stride=1 if kernel == 3 else kernel // 2,
        image_channels=image_channels,
        phi_count=count(state, r"quantize\.phis\.(\d+)\."),
    )
    return fit(model, state, "tokenizer")


def _our_phi_name(name: str) -> str:
    """One list of phis for the three ways in which published checkpoints name them."""
    name = re.sub(r"^quantize\.quant_resi\.(?:qresi_ls\.)?(\d+)\.", r"quantize.phis.\1.conv.", name)
    return re.sub(r"^quantize\.quant_resi\.qresi\.", "quantize.phis.0.conv.", name)
