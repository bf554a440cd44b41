"""Published multi-scale VQVAE weights as a module of ours: sizes are read from the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from var_scaling.state_dicts import Given, Untold, count, fit, locate
from var_scaling.tokenizers.vq.config import IMPORTED, VQConfig
from var_scaling.tokenizers.vq.model import Tokenizer

WHAT = "a tokenizer"
# Names that the sizes are read from, and the number of dimensions that they must have.
SIZE_GIVERS = {
    "encoder.conv_in.weight": 4,
    "encoder.down.0.block.0.conv1.weight": 4,
    "quantize.embedding.weight": 2,
    "decoder.conv_in.weight": 4,
}
BUFFERS = re.compile(r"quantize\.ema_vocab_hit_SV")  # hit counts: no weights


def load_tokenizer(
    state_dict: Mapping[str, Any], patch_nums: Sequence[int], *, norm_groups: int = 32, phi_ratio: float = 0.5
) -> Tokenizer:
    """A published multi-scale VQVAE checkpoint as a module in evaluation mode.

    Args:
        state_dict: the published names and shapes; phi shared by all scales, by some or by none. Where they may lie,
            see `state_dicts.locate`.
        patch_nums: side of each token map, coarse to fine.
        norm_groups: groups of every GroupNorm, at most. No shape shows them; 32 is published, and with a wrong number
            the weights load and give other tokens.
        phi_ratio: share of the convolution in phi, which no shape shows either; 0.5 is published.

    Raises:
        ValueError: names or shapes that differ, all listed.
    """
    sides = sides_of(patch_nums)
    if norm_groups < 1 or not 0 <= phi_ratio <= 1:
        raise ValueError(f"norm_groups {norm_groups} and phi_ratio {phi_ratio:g} must be at least 1, and from 0 to 1")
    found = locate(state_dict, SIZE_GIVERS, WHAT)
    state = {_our_phi_name(name): value for name, value in found.items() if not BUFFERS.fullmatch(name)}
    channels, image_channels, kernel, _ = state["encoder.conv_in.weight"].shape
    vocab_size, latent_dim = state["quantize.embedding.weight"].shape
    levels = count(state, r"encoder\.down\.(\d+)\.")
    firsts = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(levels)]
    odd = [name for name in firsts if name not in state or state[name].shape[0] % channels]
    if odd or (kernel != 3 and kernel not in (4, 8)):
        raise ValueError(
            "this is not the state dict of a tokenizer: the widths of its levels must be multiples of the first's "
            f"{channels} channels and its first kernel 3, 4 or 8 (here {kernel}); look at "
            f"{', '.join(odd or ['encoder.conv_in.weight'])}"
        )
    phis = count(state, r"quantize\.phis\.(\d+)\.")
    if phis == 0:
        raise ValueError(
            "this is not the state dict of a multi-scale tokenizer: it has no phi convolutions "
            "(quantize.quant_resi...), as a VQGAN of one scale has none; only tokenizers with phi can be loaded"
        )
    model = Tokenizer(
        patch_nums=sides,
        vocab_size=vocab_size,
        latent_dim=latent_dim,
        channels=channels,
        multipliers=tuple(state[name].shape[0] // channels for name in firsts),
        blocks=count(state, r"encoder\.down\.0\.block\.(\d+)\."),
        middle="encoder.mid.block_1.conv1.weight" in state,
        attention=f"encoder.down.{levels - 1}.attn.0.qkv.weight" in state,
        stem_stride=1 if kernel == 3 else kernel // 2,
        image_channels=image_channels,
        norm_groups=norm_groups,
        phi_count=phis,
        phi_ratio=phi_ratio,
    )
    return fit(model, state, "tokenizer")


def sides_of(patch_nums: Sequence[int]) -> tuple[int, ...]:
    """The sides of token maps, checked."""
    sides = tuple(patch_nums)
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"patch_nums {list(sides)} must be the side of each token map, such as (1, 2, 3)")
    return sides


def _our_phi_name(name: str) -> str:
    """One list of phis for the three ways in which published checkpoints name them."""
    name = re.sub(r"^quantize\.quant_resi\.(?:qresi_ls\.)?(\d+)\.", r"quantize.phis.\1.conv.", name)
    return re.sub(r"^quantize\.quant_resi\.qresi\.", "quantize.phis.0.conv.", name)


# What `var_scaling.published.Format` asks.


def read(checkpoint: Mapping[str, Any], given: Given) -> Tokenizer:
    """`load_tokenizer` with what was given; the scale list must be, for no shape shows it."""
    if given.patch_nums is None:
        raise Untold(
            "the scale list of a tokenizer shows in no shape; give --patch-nums (patch_nums in a study): the published "
            "256 px model was used with 1,2,3,4,5,6,8,10,13,16, and at 512 px with 1,2,3,4,6,9,13,18,24,32"
        )
    ratio = 0.5 if given.phi_ratio is None else given.phi_ratio
    return load_tokenizer(checkpoint, given.patch_nums, norm_groups=given.norm_groups or 32, phi_ratio=ratio)


def config_of(module: Tokenizer) -> VQConfig:
    """The resolved config that builds such a module, but for the hash of its weights."""
    encoder = module.encoder
    stride = encoder.conv_in.stride[0]
    channels = encoder.conv_in.out_channels
    firsts = [level.block[0].conv1.out_channels for level in encoder.down]
    return VQConfig(
        preset=IMPORTED,
        patch_nums=module.patch_nums,
        vocab_size=module.vocab_size,
        latent_dim=module.latent_dim,
        channels=channels,
        channel_multipliers=tuple(width // channels for width in firsts),
        blocks=len(encoder.down[0].block),
        middle=not isinstance(encoder.mid, torch.nn.Identity),
        attention=len(encoder.down[-1].attn) > 0,
        stem_stride=stride,
        norm_groups=module.norm_groups,
        phi_count=len(module.quantize.phis),
        phi_ratio=module.quantize.phis[0].ratio,
        resolution=module.image_size,
        image_channels=module.image_channels,
    )


def names_of(module: Tokenizer) -> dict[str, Tensor]:
    """The published state dict: phis as shared by all or by neighbouring scales, and the (empty) hit counts."""
    phis = len(module.quantize.phis)
    below = "quantize.quant_resi.qresi" if phis == 1 else r"quantize.quant_resi.qresi_ls.\1"
    state = {re.sub(r"^quantize\.phis\.(\d+)\.conv", below, n): v for n, v in module.state_dict().items()}
    return {**state, "quantize.ema_vocab_hit_SV": torch.zeros(len(module.patch_nums), module.vocab_size)}


def given_of(module: Tokenizer) -> Given:
    """What no shape tells of it."""
    ratio = module.quantize.phis[0].ratio
    return Given(patch_nums=module.patch_nums, norm_groups=module.norm_groups, phi_ratio=ratio)
