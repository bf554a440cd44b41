"""Parameters, FLOPs and memory of `trunk.TokenTransformer`, as exact integers, without torch.

The usual 6 * parameters * tokens is wrong here by a factor that drifts with depth (1.14 at d4, 1.36 at d16 of VAR) and
so bends every fitted exponent: a third of the weights are adaptive-norm projections, which act once an image and not
once a token, and attention is left out. So the conventions of this file are a result: they equal torch's own FLOP
counter (multiply and add apart, matrix products only), with `==`, in tests/families/.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """See the arguments of `TokenTransformer`."""

    depth: int
    width: int
    heads: int
    tokens: int
    scales: int
    vocab_size: int
    latent_dim: int
    num_classes: int
    shared_adaln: bool
    l2_norm: bool


def params(sizes: Sizes, *, start_tokens: int) -> dict[str, int]:
    """Trainable parameters by part; the sum of the values is the total.

    blocks: attention and feed-forward. adaln: the blocks' adaptive-norm projections. embedding: latents, classes,
    positions, levels and start. head: the output layer. head_norm: the adaptive norm before it.
    """
    depth, width = sizes.depth, sizes.width
    attention = 4 * width**2 + 3 * width + (sizes.heads if sizes.l2_norm else 0)  # q and v bias, proj
    feed_forward = 8 * width**2 + 5 * width
    projection = 6 * width**2 + 6 * width
    places = sizes.scales + start_tokens + sizes.tokens
    return {
        "blocks": depth * (attention + feed_forward),
        "adaln": projection + depth * 6 * width if sizes.shared_adaln else depth * projection,
        "embedding": width * (sizes.latent_dim + 1 + sizes.num_classes + 1 + places),
        "head": width * sizes.vocab_size + sizes.vocab_size,
        "head_norm": 2 * width**2 + 2 * width,
    }


def forward_flops(sizes: Sizes, *, start_tokens: int, pairs: int) -> dict[str, int]:
    """FLOPs of one teacher-forced forward pass on one image, by part; the sum of the values is the total.

    blocks: weights of attention and feed-forward. attention: scores and weighted sums of `pairs` of query and key.
    The other names are those of `params`; adaln and head_norm act once an image.
    """
    depth, width, tokens = sizes.depth, sizes.width, sizes.tokens
    return {
        "blocks": 2 * 12 * depth * width**2 * tokens,
        "attention": 2 * 2 * depth * width * pairs,
        "adaln": 2 * 6 * width**2 * (1 if sizes.shared_adaln else depth),
        "embedding": 2 * sizes.latent_dim * width * (tokens - start_tokens),  # the start reads the class, by look-up
        "head": 2 * width * sizes.vocab_size * tokens,
        "head_norm": 2 * 2 * width**2,
    }


def activation_bytes(sizes: Sizes, bytes_per_number: int) -> int:
    """Memory that one image's forward pass holds for its backward pass: an estimate.

    Basis: the tensors that autograd saves in our form, counted with saved-tensor hooks at depths 2, 4 and 8 (within 3 %
    without the loss), with fused attention that keeps no scores; and twice the logits for the loss, in float32. At two
    bytes: peaks of torch's caching allocator for CUDA at depths 6 to 30, 3 % below this; norms keep float32, and the
    loss holds the logits three times. On a GPU float32 takes a seventh less, for its GELU keeps the input alone. The
    tokenizer, the allocator's slack and the framework's own 0.3 to 2 GB come on top.

    Args:
        sizes: of the model.
        bytes_per_number: 4 for float32, 2 for bfloat16.
    """
    block, logits = _held(sizes, bytes_per_number)
    return sizes.depth * block + 3 * bytes_per_number * sizes.width * sizes.tokens + logits


def recompute_bytes(sizes: Sizes, bytes_per_number: int) -> int:
    """The same where a block is computed again for its backward pass: inputs of all, and the inside of one or the loss.

    Basis: peaks of torch's caching allocator for CUDA at depths 6 to 30, which with all four copies of the weights are
    0.8 to 0.96 of this (gradients come only when logits have gone); what precedes and follows the blocks is float32.
    """
    block, logits = _held(sizes, bytes_per_number)
    return (sizes.depth * bytes_per_number + 5 * 4) * sizes.width * sizes.tokens + max(block, logits)


def _held(sizes: Sizes, bytes_per_number: int) -> tuple[int, int]:
    """What a block saves, and the loss. In tensors of (tokens, width); feed-forward's hidden layer counts as four."""
    a_block, logits = (28, 2) if bytes_per_number == 4 else (30, 3)
    numbers = sizes.width * sizes.tokens
    return bytes_per_number * a_block * numbers, 4 * logits * sizes.vocab_size * sizes.tokens
