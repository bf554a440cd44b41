"""What the convolutions of an autoencoder cost, without torch: within a few percent of torch's own count.

Attention and norms are left out; `planning.prices` needs no more.
"""

from __future__ import annotations

from typing import Any


def autoencoder_flops(sizes: Any, encoded: int, decoded: int) -> tuple[float, float]:
    """Forward FLOPs of one image through encoder and decoder.

    Args:
        sizes: a tokenizer's resolved config: channels, channel_multipliers, blocks, middle, stem_stride, resolution.
        encoded: channels that the encoder gives.
        decoded: channels that the decoder takes.
    """
    multipliers, blocks, base = sizes.channel_multipliers, sizes.blocks, sizes.channels
    stem, colours, resolution = sizes.stem_stride, sizes.image_channels, sizes.resolution
    assert multipliers and blocks and base and stem and colours and resolution, "resolve the config first"
    finest = (resolution // stem) ** 2
    deepest = len(multipliers) - 1
    bottom, most = finest / 4**deepest, base * multipliers[-1]
    middle = 2 * block_flops(most, most, bottom) if sizes.middle else 0.0
    encoder = (
        conv_flops(colours, base, finest, (3 if stem == 1 else 2 * stem)) + middle + conv_flops(most, encoded, bottom)
    )
    width = base
    for level, multiplier in enumerate(multipliers):
        places = finest / 4**level
        for _ in range(blocks):
            encoder += block_flops(width, base * multiplier, places)
            width = base * multiplier
        if level != deepest:
            encoder += conv_flops(width, width, places / 4)
    decoder = conv_flops(decoded, most, bottom) + middle
    for level in range(deepest, -1, -1):
        places = finest / 4**level
        for _ in range(blocks + 1):
            decoder += block_flops(width, base * multipliers[level], places)
            width = base * multipliers[level]
        if level:
            decoder += conv_flops(width, width, 4 * places)
    return encoder, decoder + conv_flops(width, colours * stem * stem, finest)


def conv_flops(before: int, after: int, places: float, side: int = 3) -> float:
    """One convolution at so many places."""
    return 2.0 * before * after * places * side * side


def block_flops(before: int, after: int, places: float) -> float:
    """One residual block."""
    shortcut = conv_flops(before, after, places, 1) if before != after else 0.0
    return conv_flops(before, after, places) + conv_flops(after, after, places) + shortcut
