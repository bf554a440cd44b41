"""Parameters, FLOPs and memory of a next-token transformer, as exact integers, without torch.

Those of any transformer over tokens, with one start token and L x L pairs of attention in both conventions: torch's
counter knows no causal half of a fused kernel. Everything takes a resolved `RasterConfig`.
"""

from __future__ import annotations

from var_scaling.families.raster.config import RasterConfig, RasterSampler
from var_scaling.families.transformer import token_sizes


def params(config: RasterConfig) -> dict[str, int]:
    """Trainable parameters by part; the sum of the values is the total."""
    return token_sizes.params(_sizes(config), start_tokens=1)


def forward_flops(config: RasterConfig, *, visible: bool = False) -> dict[str, int]:
    """FLOPs of one teacher-forced forward pass on one image, by part; `visible` makes no difference (see the head)."""
    sizes = _sizes(config)
    return token_sizes.forward_flops(sizes, start_tokens=1, pairs=sizes.tokens**2)


def input_flops(config: RasterConfig) -> int:
    """The word embedding reads latents, which need no gradient."""
    return forward_flops(config)["embedding"]


def sample_flops(config: RasterConfig, sampler: RasterSampler) -> int:
    """FLOPs of sampling one image with cached keys and values, token by token; guidance doubles them.

    Each token's query meets the keys up to its own, L (L + 1) / 2 pairs in all; adaptive norms act once an image.
    """
    sizes = _sizes(config)
    pairs = sizes.tokens * (sizes.tokens + 1) // 2
    once = sum(token_sizes.forward_flops(sizes, start_tokens=1, pairs=pairs).values())
    return once * (2 if sampler.guidance else 1)


def sample_bytes(config: RasterConfig, sampler: RasterSampler, bytes_per_number: int = 4) -> int:
    """Keys and values of one image while sampling."""
    branches = 2 if sampler.guidance else 1
    return 2 * bytes_per_number * config.depth * config.width * config.tokens_per_image * branches


def activation_bytes(config: RasterConfig, bytes_per_number: int = 4) -> int:
    """Memory that one image's forward pass holds for its backward pass: an estimate (see `token_sizes`)."""
    return token_sizes.activation_bytes(_sizes(config), bytes_per_number)


def recompute_bytes(config: RasterConfig, bytes_per_number: int = 4) -> int:
    """The same where blocks are computed again in the backward pass (see `token_sizes`)."""
    return token_sizes.recompute_bytes(_sizes(config), bytes_per_number)


def _sizes(config: RasterConfig) -> token_sizes.Sizes:
    assert config.patch_nums and config.vocab_size and config.latent_dim and config.num_classes, "resolve it first"
    return token_sizes.Sizes(
        depth=config.depth,
        width=config.width,
        heads=config.head_count,
        tokens=config.tokens_per_image,
        scales=len(config.patch_nums),
        vocab_size=config.vocab_size,
        latent_dim=config.latent_dim,
        num_classes=config.num_classes,
        shared_adaln=config.adaln == "shared",
        l2_norm=config.attention == "l2-norm",
    )
