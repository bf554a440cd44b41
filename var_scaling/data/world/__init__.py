"""A small world in colour, drawn by code: 20 things in 5 materials, on a ground, before a wall, under a light.

Everything is integer arithmetic on addressed random bits, so that every machine draws the same bytes; nothing is
shipped. `factors` says what an image shows, `draw` draws it.
"""

from var_scaling.data.world.factors import ALPHABET, Factors, factors
from var_scaling.data.world.scene import draw

# sha256 (`images.content_hash`) over the first image of every class in both splits, by side: what version "1" means.
KNOWN_CONTENT = {
    32: "2fd9d6b4fba6cf0787faebb1f4507ef70d81b7cb40bf51f11f139601022fb2e1",
    64: "e389b510cfa223caa39a0d3531cd946c5e6f836185befa5f2046aabd6b233a91",
}

__all__ = ["ALPHABET", "KNOWN_CONTENT", "Factors", "draw", "factors"]
