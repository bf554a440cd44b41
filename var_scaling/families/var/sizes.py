"""Parameters, FLOPs and memory of a VAR transformer, as exact integers, without torch.

"Dense" counts attention as the L x L product of the published masked form; "visible" counts the pairs that are not
masked, which is what our form computes. The rest is that of any transformer over tokens (`transformer.token_sizes`);
totals and training are one file for all families, `planning.flops`. Everything takes a resolved `VARConfig`.
"""

from __future__ import annotations

from itertools import accumulate

from var_scaling.families.transformer import token_sizes
from var_scaling.families.var.config import VARConfig, VARSampler


def params(config: VARConfig) -> dict[str, int]:
    """Trainable parameters by part; the sum of the values is the total."""
    return token_sizes.params(_sizes(config), start_tokens=_scales(config)[0])


def attended_pairs(config: VARConfig) -> int:
    """(query, key) pairs that the block-causal mask leaves: each token with its own scale and all scales before."""
    scales = _scales(config)
    return sum(size * end for size, end in zip(scales, accumulate(scales), strict=True))


def forward_flops(config: VARConfig, *, visible: bool = False) -> dict[str, int]:
    """FLOPs of one teacher-forced forward pass on one image, by part; the sum of the values is the total.

    Source: the 18 d w^2 weights of Tian et al. 2024, Eq. 8, of which 6 d w^2 act once an image.
    """
    sizes = _sizes(config)
    pairs = attended_pairs(config) if visible else sizes.tokens**2
    return token_sizes.forward_flops(sizes, start_tokens=_scales(config)[0], pairs=pairs)


def input_flops(config: VARConfig) -> int:
    """The word embedding reads latents, which need no gradient."""
    return forward_flops(config)["embedding"]


def sample_flops(config: VARConfig, sampler: VARSampler) -> int:
    """FLOPs of sampling one image with cached keys and values, without the tokenizer; guidance doubles them."""
    return sum(forward_flops(config, visible=True).values()) * _branches(sampler)


def sample_bytes(config: VARConfig, sampler: VARSampler, bytes_per_number: int = 4) -> int:
    """Keys and values of one image while sampling."""
    return 2 * bytes_per_number * config.depth * config.width * config.tokens_per_image * _branches(sampler)


def activation_bytes(config: VARConfig, bytes_per_number: int = 4) -> int:
    """Memory that one image's forward pass holds for its backward pass: an estimate (see `token_sizes`)."""
    return token_sizes.activation_bytes(_sizes(config), bytes_per_number)


def recompute_bytes(config: VARConfig, bytes_per_number: int = 4) -> int:
    """The same where blocks are computed again in the backward pass (see `token_sizes`)."""
    return token_sizes.recompute_bytes(_sizes(config), bytes_per_number)


def _branches(sampler: VARSampler) -> int:
    return 2 if sampler.guidance else 1


def _scales(config: VARConfig) -> tuple[int, ...]:
    assert config.patch_nums is not None, "resolve the config first"
    return tuple(side * side for side in config.patch_nums)


def _sizes(config: VARConfig) -> token_sizes.Sizes:
    assert config.vocab_size and config.latent_dim and config.num_classes, "resolve the config first"
    return token_sizes.Sizes(
        depth=config.depth,
        width=config.width,
        heads=config.head_count,
        tokens=config.tokens_per_image,
        scales=len(_scales(config)),
        vocab_size=config.vocab_size,
        latent_dim=config.latent_dim,
        num_classes=config.num_classes,
        shared_adaln=config.adaln == "shared",
        l2_norm=config.attention == "l2-norm",
    )
