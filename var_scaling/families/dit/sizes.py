"""Parameters, FLOPs and memory of a diffusion transformer, as exact integers, without torch.

FLOPs equal torch's own counter (multiply and add apart, matrix products only) with `==`. The paper's "Gflops" are
multiply-accumulates: half of these numbers. A third of a block's weights are adaptive-norm projections, which act once
an image, so 6ND is wrong here as it is for VAR. Everything takes a resolved `DiTConfig`.
"""

from __future__ import annotations

from var_scaling.families.dit.config import DiTConfig, DiTSampler

FREQUENCIES = 256  # numbers that describe a time before its small network (published)


def params(config: DiTConfig) -> dict[str, int]:
    """Trainable parameters by part; the sum of the values is the total. Positions are frozen: `frozen_params`.

    blocks: attention and feed-forward. adaln: the blocks' adaptive-norm projections. embedding: patches, times and
    classes. head: the output layer. head_norm: the adaptive norm before it.
    """
    depth, width, classes = config.depth, config.width, _known(config.num_classes)
    patch, outputs = _patch_numbers(config)
    return {
        "blocks": depth * (12 * width**2 + 9 * width),
        "adaln": depth * (6 * width**2 + 6 * width),
        "embedding": (patch + 1) * width + (FREQUENCIES + 1) * width + (width + 1) * width + (classes + 1) * width,
        "head": outputs * (width + 1),
        "head_norm": 2 * width**2 + 2 * width,
    }


def params_total(config: DiTConfig) -> int:
    """All trainable parameters."""
    return sum(params(config).values())


def frozen_params(config: DiTConfig) -> int:
    """Numbers of the position table: in the published parameter counts, not trained."""
    return config.tokens_per_image * config.width


def forward_flops(config: DiTConfig, *, visible: bool = False) -> dict[str, int]:
    """FLOPs of one forward pass on one image, by part; the sum of the values is the total.

    Args:
        config: resolved.
        visible: without effect: every token sees every token.

    Source: Peebles and Xie 2022, table 4, whose "Gflops" this doubles.
    """
    depth, width, tokens = config.depth, config.width, config.tokens_per_image
    patch, outputs = _patch_numbers(config)
    return {
        "blocks": 2 * 12 * depth * width**2 * tokens,
        "attention": 2 * 2 * depth * width * tokens**2,
        "adaln": 2 * 6 * depth * width**2,
        "embedding": 2 * (patch * width * tokens + FREQUENCIES * width + width**2),
        "head": 2 * width * outputs * tokens,
        "head_norm": 2 * 2 * width**2,
    }


def forward_flops_total(config: DiTConfig) -> int:
    """FLOPs of one forward pass on one image."""
    return sum(forward_flops(config).values())


def input_flops(config: DiTConfig) -> int:
    """The part that reads latents and times: its backward pass needs no gradient of what it read."""
    patch, _ = _patch_numbers(config)
    return 2 * config.width * (patch * config.tokens_per_image + FREQUENCIES)


def sample_flops(config: DiTConfig, sampler: DiTSampler) -> int:
    """FLOPs of drawing one latent, without the tokenizer; guidance doubles them but for the patches, which are shared.

    One image by itself. In a batch, times are embedded once a step and adaptive norms once a class, not once an image.
    """
    once = forward_flops_total(config)
    if not sampler.guidance:
        return sampler.steps * once
    return sampler.steps * (2 * once - 2 * _patch_numbers(config)[0] * config.width * config.tokens_per_image)


def sample_bytes(config: DiTConfig, sampler: DiTSampler, bytes_per_number: int = 4) -> int:
    """Memory that drawing one latent holds beside the weights: one block's, twice under guidance; an estimate.

    Basis: the stream, its norm, and the hidden layer before and after its activation; and a noise a step where the
    sampler draws them.
    """
    assert config.latent_channels is not None and config.latent_size is not None, "resolve the config first"
    rows = 2 if sampler.guidance else 1
    noises = sampler.steps * config.latent_channels * config.latent_size**2 if sampler.stochastic else 0
    return bytes_per_number * 10 * rows * config.tokens_per_image * config.width + 4 * noises


def activation_bytes(config: DiTConfig, bytes_per_number: int = 4) -> int:
    """Memory that one image's forward pass holds for its backward pass: an estimate.

    Basis: the tensors that autograd saves in our form, counted with saved-tensor hooks (within 2 %, tests/families),
    with fused attention that keeps no scores. The loss, the allocator's slack and the framework's own come on top.

    Args:
        config: resolved.
        bytes_per_number: 4 for float32, 2 for bfloat16.
    """
    return bytes_per_number * (config.depth * _block_numbers(config) + _rest_numbers(config))


def recompute_bytes(config: DiTConfig, bytes_per_number: int = 4) -> int:
    """The same where a block is computed again for its backward pass: the inputs of all, and the inside of one."""
    inputs = config.depth * config.tokens_per_image * config.width
    return bytes_per_number * (inputs + _block_numbers(config) + _rest_numbers(config))


def _block_numbers(config: DiTConfig) -> int:
    """Tensors of (tokens, width), feed-forward's hidden layer counting as four; moments of two norms; scores' sums."""
    width, heads = config.width, config.width // config.head_dim
    return config.tokens_per_image * (24 * width + 4 + heads) + 8 * width


def _rest_numbers(config: DiTConfig) -> int:
    patch, _ = _patch_numbers(config)
    return config.tokens_per_image * (3 * config.width + patch) + 8 * config.width


def _patch_numbers(config: DiTConfig) -> tuple[int, int]:
    """Numbers that a token is made of, and that it ends in."""
    area = config.patch_size**2
    return _known(config.latent_channels) * area, config.output_channels * area


def _known(value: int | None) -> int:
    assert value is not None, "resolve the config first"
    return value
