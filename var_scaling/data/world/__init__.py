"""A small world in colour, drawn by code: 20 things in 5 materials, on a ground, before a wall, under a light.

Everything is integer arithmetic on addressed random bits, so that every machine draws the same bytes; nothing is
shipped. `factors` says what an image shows, `draw` draws it.
"""

from var_scaling.data.world.factors import ALPHABET, Factors, factors
from var_scaling.data.world.scene import draw

# sha256 (`images.content_hash`) over the first image of every class in both splits, by side: what version "1" means.
KNOWN_CONTENT = {
    32: "1b9d4cab964ffc854cc0f5f4e7c02d5a453b20b1b55ddee1b3f3bf62ba9336d1",
    64: "bfc2eb962c31b90190e3ec9f6c59228969e76c5e3e04c9997d8bcd8def363fb2",
}

__all__ = ["ALPHABET", "KNOWN_CONTENT", "Factors", "draw", "factors"]
