"""VAR: next-scale prediction on a multi-scale VQ tokenizer (Tian et al. 2024, arXiv:2404.02905)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from var_scaling.families.transformer.losses import TOKEN_LOSSES
from var_scaling.families.var import recipe as rule
from var_scaling.families.var import sizes
from var_scaling.families.var.config import VARConfig, VARSampler
from var_scaling.tokenizers.base import Latents


class VARFamily:
    """See `families.base.Family`."""

    name = "var"
    config = VARConfig
    sampler = VARSampler
    numerics = 1
    latents: Latents = "tokens"
    losses = TOKEN_LOSSES
    recipes = (rule.PAPER, rule.SMALL_LADDER)
    facts = ("patch_nums", "vocab_size", "latent_dim", "num_classes")
    knobs = ("gamma_init",)
    module = "var_scaling.families.var.training"

    default_recipe = staticmethod(rule.default_recipe)
    recipe = staticmethod(rule.recipe)
    params = staticmethod(sizes.params)
    forward_flops = staticmethod(sizes.forward_flops)
    input_flops = staticmethod(sizes.input_flops)
    sample_flops = staticmethod(sizes.sample_flops)
    sample_bytes = staticmethod(sizes.sample_bytes)
    activation_bytes = staticmethod(sizes.activation_bytes)

    def problems(self, model: VARConfig) -> Iterator[str]:
        if model.drop_path is not None and model.drop_path >= 1:
            yield (
                f"model.depth = {model.depth}: the paper's drop-path rate 0.1 * depth / 24 reaches "
                f"{model.drop_path:.2f}; give model.drop_path below 1"
            )

    def at_depth(self, model: VARConfig, depth: int) -> VARConfig:
        return model.model_copy(update={"depth": depth})

    def mean_guidance(self, model: VARConfig, sampler: VARSampler) -> float:
        """T rises linearly from 0 at the first scale, so most tokens, which are the last scale's, have nearly all."""
        assert model.patch_nums is not None, "resolve the config first"
        last = len(model.patch_nums) - 1
        ramp = sum(k * side * side for k, side in enumerate(model.patch_nums))
        return sampler.guidance * ramp / last / model.tokens_per_image if last else 0.0

    def tokens_per_image(self, model: VARConfig) -> int:
        return model.tokens_per_image

    def columns(self, model: VARConfig) -> dict[str, Any]:
        return {
            "width": model.width,
            "head_dim": model.head_dim,
            "heads": model.heads,
            "adaln": model.adaln,
            "vocab_size": model.vocab_size,
            "gamma_init": model.gamma_init,
            "drop_path": model.drop_path,
        }


FAMILY = VARFamily()
