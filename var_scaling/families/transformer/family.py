"""What the torch-free halves of families of tokens have in common (`families.base.Family`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from var_scaling.families.transformer import recipe as rule
from var_scaling.families.transformer.config import TokenModelConfig
from var_scaling.families.transformer.losses import TOKEN_COLUMNS, TOKEN_LOSSES
from var_scaling.runs.columns import Column
from var_scaling.tokenizers.base import Latents

Config = TypeVar("Config", bound=TokenModelConfig)


class TokenFamily:
    """Next-scale and next-token models differ in order and attention, and in nothing here."""

    latents: Latents = "tokens"
    losses = TOKEN_LOSSES
    own_columns: tuple[Column, ...] = TOKEN_COLUMNS
    recipes = (rule.PAPER, rule.SMALL_LADDER)
    facts = ("patch_nums", "vocab_size", "latent_dim", "num_classes")
    knobs = ("gamma_init",)
    transfers = True

    default_recipe = staticmethod(rule.default_recipe)
    recipe = staticmethod(rule.recipe)

    def problems(self, model: TokenModelConfig) -> Iterator[str]:
        if model.drop_path is not None and model.drop_path >= 1:
            yield (
                f"model.depth = {model.depth}: the paper's drop-path rate 0.1 * depth / 24 reaches "
                f"{model.drop_path:.2f}; give model.drop_path below 1"
            )

    def at_depth(self, model: Config, depth: int) -> Config:
        return model.model_copy(update={"depth": depth})

    def tokens_per_image(self, model: TokenModelConfig) -> int:
        return model.tokens_per_image

    def columns(self, model: TokenModelConfig) -> dict[str, Any]:
        return {
            "width": model.width,
            "head_dim": model.head_dim,
            "heads": model.head_count,
            "adaln": model.adaln,
            "vocab_size": model.vocab_size,
            "gamma_init": model.gamma_init,
            "drop_path": model.drop_path,
        }
