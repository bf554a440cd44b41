"""Parameters, FLOPs and memory of a VAR transformer, as exact integers, without torch.

The usual 6 * parameters * tokens is wrong here by a factor that drifts with depth (1.14 at d4, 1.36 at d16) and so
bends every fitted exponent: a third of the weights are adaptive-norm projections, which act once an image and not once
a token, and attention is left out. So the conventions of this file are a result: `train_flops_per_image` and its
relatives equal torch's own FLOP counter (multiply and add apart, matrix products only), with `==`, in
tests/families/.

"Dense" counts attention as the L x L product of the published masked form; "visible" counts the pairs that are not
masked, which is what our form computes. Everything takes a resolved `VARConfig`. Totals, training and the other
conventions are one file for all families, `planning.flops`.
"""

from __future__ import annotations

from itertools import accumulate

from var_scaling.families.var.config import VARConfig, VARSampler


def params(config: VARConfig) -> dict[str, int]:
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


def attended_pairs(config: VARConfig) -> int:
    """(query, key) pairs that the block-causal mask leaves: each token with its own scale and all scales before."""
    sizes = _sizes(config)[-1]
    return sum(size * end for size, end in zip(sizes, accumulate(sizes), strict=True))


def forward_flops(config: VARConfig, *, visible: bool = False) -> dict[str, int]:
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


def input_flops(config: VARConfig) -> int:
    """The word embedding reads latents, which need no gradient."""
    return forward_flops(config)["embedding"]


def sample_flops(config: VARConfig, sampler: VARSampler) -> int:
    """FLOPs of sampling one image with cached keys and values, without the tokenizer; guidance doubles them."""
    return sum(forward_flops(config, visible=True).values()) * _branches(sampler)


def sample_bytes(config: VARConfig, sampler: VARSampler, bytes_per_number: int = 4) -> int:
    """Keys and values of one image while sampling."""
    return 2 * bytes_per_number * config.depth * config.width * config.tokens_per_image * _branches(sampler)


def _branches(sampler: VARSampler) -> int:
    return 2 if sampler.guidance else 1


def activation_bytes(config: VARConfig, bytes_per_number: int = 4) -> int:
    """Memory that one image's forward pass holds for its backward pass: an estimate.

    Basis: the tensors that autograd saves in our form, counted with saved-tensor hooks at depths 2, 4 and 8 (within 3 %
    without the loss), with fused attention that keeps no scores; and twice the logits for the loss, in float32. At two
    bytes: peaks of torch's caching allocator for CUDA at depths 6 to 30, 3 % below this; norms keep float32, and the
    loss holds the logits three times. On a GPU float32 takes a seventh less, for its GELU keeps the input alone. The
    tokenizer, the allocator's slack and the framework's own 0.3 to 2 GB come on top.

    Args:
        config: resolved.
        bytes_per_number: 4 for float32, 2 for bfloat16.
    """
    depth, width, _, vocabulary, _, sizes = _sizes(config)
    tokens = sum(sizes)
    a_block, logits = (28, 2) if bytes_per_number == 4 else (30, 3)
    saved_widths = a_block * depth + 3  # tensors of (tokens, width); the hidden layer of feed-forward counts as four
    return bytes_per_number * saved_widths * width * tokens + 4 * logits * vocabulary * tokens


def _sizes(config: VARConfig) -> tuple[int, int, int, int, int, tuple[int, ...]]:
    assert config.patch_nums is not None, "resolve the config first"
    assert config.latent_dim is not None
    assert config.vocab_size is not None
    assert config.num_classes is not None
    sizes = tuple(side * side for side in config.patch_nums)
    return config.depth, config.width, config.latent_dim, config.vocab_size, config.num_classes, sizes
