"""Parameters, FLOPs and memory of a VAR transformer, as exact integers, without torch.

The usual 6 * parameters * tokens is wrong here by a factor that drifts with depth (1.14 at d4, 1.36 at d16) and so
bends every fitted exponent: a third of the weights are adaptive-norm projections, which act once an image and not once
a token, and attention is left out. So the conventions of this file are a result: `train_flops_per_image` and its
relatives equal torch's own FLOP counter (multiply and add apart, matrix products only), with `==`, in
tests/planning/test_flops.py.

"Dense" counts attention as the L x L product of the published masked form; "visible" counts the pairs that are not
masked, which is what our form computes. Everything takes a resolved `ModelConfig`.
"""

from __future__ import annotations

from itertools import accumulate

from var_scaling.families.var.config import ModelConfig


def params(config: ModelConfig) -> dict[str, int]:
    """Trainable parameters by part; the sum of the values is the total.

    blocks: attention and feed-forward. adaln: the blocks' adaptive-norm projections. embedding: latents, classes,
    positions, levels and start. head: the output layer. head_norm: the adaptive norm before it.
    """
    depth, width, latent, vocabulary, classes, sizes = _sizes(config)
    attention = 4 * width**2 + 3 * width + (config.heads if config.attention == "l2-norm" else 0)  # q and v bias, proj
    feed_forward = 8 * width**2 + 5 * width
    projection = 6 * width**2 + 6 * width
    return {
        "blocks": depth * (attention + feed_forward),
        "adaln": projection + depth * 6 * width if config.adaln == "shared" else depth * projection,
        "embedding": width * (latent + 1 + classes + 1 + len(sizes) + sizes[0] + sum(sizes)),
        "head": width * vocabulary + vocabulary,
        "head_norm": 2 * width**2 + 2 * width,
    }


def params_total(config: ModelConfig) -> int:
    """All trainable parameters."""
    return sum(params(config).values())


def attended_pairs(config: ModelConfig) -> int:
    """(query, key) pairs that the block-causal mask leaves: each token with its own scale and all scales before."""
    sizes = _sizes(config)[-1]
    return sum(size * end for size, end in zip(sizes, accumulate(sizes), strict=True))


def forward_flops_by_part(config: ModelConfig, *, visible: bool = False) -> dict[str, int]:
    """FLOPs of one teacher-forced forward pass on one image, by part; the sum of the values is the total.

    blocks: weights of attention and feed-forward. attention: scores and weighted sums. The other names are those of
    `params`; adaln and head_norm act once an image.
    """
    depth, width, latent, vocabulary, _, sizes = _sizes(config)
    tokens = sum(sizes)
    pairs = attended_pairs(config) if visible else tokens**2
    return {
        "blocks": 2 * 12 * depth * width**2 * tokens,
        "attention": 2 * 2 * depth * width * pairs,
        "adaln": 2 * 6 * width**2 * (1 if config.adaln == "shared" else depth),
        "embedding": 2 * latent * width * (tokens - sizes[0]),  # the first scale reads the class, by look-up
        "head": 2 * width * vocabulary * tokens,
        "head_norm": 2 * 2 * width**2,
    }


def forward_flops_per_image(config: ModelConfig) -> int:
    """FLOPs of one teacher-forced forward pass on one image, dense attention.

    Source: the 18 d w^2 weights of Tian et al. 2024, Eq. 8, of which 6 d w^2 act once an image.
    """
    return sum(forward_flops_by_part(config).values())


def forward_flops_visible_per_image(config: ModelConfig) -> int:
    """The same, counting the attention pairs that are not masked."""
    return sum(forward_flops_by_part(config, visible=True).values())


def train_flops_per_image(config: ModelConfig) -> int:
    """FLOPs of forward and backward on one image, dense attention."""
    return _train(forward_flops_by_part(config))


def train_flops_visible_per_image(config: ModelConfig) -> int:
    """The same, counting the attention pairs that are not masked."""
    return _train(forward_flops_by_part(config, visible=True))


def forward_macs_per_image(config: ModelConfig) -> int:
    """Multiply-accumulates of one forward pass, dense attention: half the FLOPs; the paper's compute unit, it seems."""
    return forward_flops_per_image(config) // 2


def six_nd_per_image(config: ModelConfig) -> int:
    """6 * all parameters * tokens: the text world's rule, for comparison only (see the head of this file)."""
    return 6 * params_total(config) * config.tokens_per_image


def sample_flops_per_image(config: ModelConfig, *, guided: bool) -> int:
    """FLOPs of sampling one image with cached keys and values, without the tokenizer; guidance doubles them."""
    return forward_flops_visible_per_image(config) * (2 if guided else 1)


def parameter_bytes(config: ModelConfig) -> int:
    """Float32 weights."""
    return 4 * params_total(config)


def training_state_bytes(config: ModelConfig) -> int:
    """Float32 weights, their gradients and AdamW's two moments."""
    return 4 * parameter_bytes(config)


def cache_bytes_per_image(config: ModelConfig, *, guided: bool) -> int:
    """Float32 keys and values of one image while sampling."""
    return 2 * 4 * config.depth * config.width * config.tokens_per_image * (2 if guided else 1)


def activation_bytes_per_image(config: ModelConfig, *, bytes_per_number: int = 4) -> int:
    """Memory that one image's forward pass holds for its backward pass: an estimate.

    Basis: the tensors that autograd saves in our form, counted with saved-tensor hooks at depths 2, 4 and 8 (within 3 %
    without the loss), with fused attention that keeps no scores; and twice the logits for the loss, in float32. The
    tokenizer, the allocator's slack and the framework's own 0.3 to 1 GB come on top.

    Args:
        config: resolved.
        bytes_per_number: 4 for float32, 2 for bfloat16.
    """
    depth, width, _, vocabulary, _, sizes = _sizes(config)
    tokens = sum(sizes)
    saved_widths = 28 * depth + 3  # tensors of (tokens, width); the hidden layer of feed-forward counts as four
    return bytes_per_number * saved_widths * width * tokens + 4 * 2 * vocabulary * tokens


def _train(forward: dict[str, int]) -> int:
    """Backward is twice the forward, for weights and for inputs; the latents that are read need no gradient."""
    return 3 * sum(forward.values()) - forward["embedding"]


def _sizes(config: ModelConfig) -> tuple[int, int, int, int, int, tuple[int, ...]]:
    assert config.patch_nums is not None, "resolve the config first"
    assert config.latent_dim is not None
    assert config.vocab_size is not None
    assert config.num_classes is not None
    sizes = tuple(side * side for side in config.patch_nums)
    return config.depth, config.width, config.latent_dim, config.vocab_size, config.num_classes, sizes
