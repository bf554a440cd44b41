"""What a next-token model is, and how it is sampled."""

from __future__ import annotations

from typing import Literal

from var_scaling.families.transformer.config import TokenModelConfig, TokenSampler


class RasterConfig(TokenModelConfig):
    """VAR's transformer, one token after another.

    `order: raster` reads one token map row by row (the baseline of Tian et al. 2024, table 3); `pyramid` reads VAR's
    own maps, coarse to fine, one token after another: the same tokens, tokenizer and FLOPs as VAR, and only the
    factorisation differs.
    """

    family: Literal["raster"] = "raster"
    order: Literal["raster", "pyramid"] = "raster"


class RasterSampler(TokenSampler):
    """Guidance t is the same at every token, or rises linearly from 0 at the first token to `guidance` at the last.

    Between orders, equal guidance is equal *mean* t: VAR's ramp to 1.5 has a mean of 1.17 over its 30 tokens, a linear
    one over tokens half of its end.
    """

    ramp: Literal["constant", "linear"] = "constant"
