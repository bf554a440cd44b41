"""What every transformer over an image's tokens is told: one dial (depth) and what follows from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from var_scaling.config.base import Neutral
from var_scaling.families.base import ModelConfig, SamplerConfig


class TokenModelConfig(ModelConfig):
    """`None` means "derived": from the recipe, the tokenizer or the data.

    Width is `head_dim` times the heads, and heads = depth unless given (64 and the paper's rule; 16 for small ladders).
    """

    head_dim: int = Field(64, ge=2, le=512)
    heads: Annotated[Annotated[int, Field(ge=1, le=512)] | Literal["depth"], Neutral("depth")] = "depth"
    adaln: Literal["per-block", "shared"] = "per-block"
    attention: Literal["l2-norm", "scaled"] = "l2-norm"
    gamma_init: float | None = Field(None, gt=0)
    drop_path: float | None = Field(None, ge=0, lt=1)  # maximum stochastic-depth rate; 0.1 * depth / 24 (Eq. 7)
    patch_nums: tuple[int, ...] | None = None  # side of each token map, coarse to fine; from the tokenizer
    vocab_size: int | None = Field(None, ge=2)  # from the tokenizer
    latent_dim: int | None = Field(None, ge=1)  # from the tokenizer
    num_classes: int | None = Field(None, ge=1)  # from the data

    @property
    def width(self) -> int:
        return self.head_dim * self.head_count

    @property
    def head_count(self) -> int:
        return self.depth if self.heads == "depth" else self.heads

    @property
    def tokens_per_image(self) -> int:
        assert self.patch_nums is not None, "resolve the config first"
        return sum(side * side for side in self.patch_nums)


class TokenSampler(SamplerConfig):
    """Which tokens may be drawn."""

    top_k: int = Field(0, ge=0)  # 0: off
    top_p: float = Field(0.0, ge=0, le=1)  # 0: off
