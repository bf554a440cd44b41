"""DiT: a diffusion transformer on continuous latents (Peebles and Xie 2022, arXiv:2212.09748)."""

from __future__ import annotations

from typing import Any

from var_scaling.families.dit import config as configs
from var_scaling.families.dit import recipe as rule
from var_scaling.families.dit import sizes
from var_scaling.families.dit.config import DiTConfig, DiTSampler
from var_scaling.runs.columns import Column
from var_scaling.tokenizers.base import Latents

_COMPARABLE = ("tokenizer",)  # the level depends on the latents, whatever they decode to
_SAME_TARGET = (*_COMPARABLE, "target")
_MSE = "mean square"


class DiTFamily:
    """See `families.base.Family`."""

    name = "dit"
    config = DiTConfig
    sampler = DiTSampler
    numerics = 1
    latents: Latents = "continuous"
    losses = (
        Column(
            "loss_noise_mse",
            "mean square",
            "loss",
            "error of the noise, over all times alike",
            _COMPARABLE,
            "noise MSE",
        ),
        Column(
            "loss_target_mse",
            "mean square",
            "loss",
            "error of what the model predicts",
            ("tokenizer", "target"),
            "target MSE",
        ),
    )
    own_columns = (
        Column("width", "channels", "size", "of the transformer"),
        Column("head_dim", "channels", "size", "of an attention head"),
        Column("heads", "heads", "size", ""),
        Column("patch_size", "latent positions", "identity", "side of what one token stands for"),
        Column("target", "", "identity", "what the model predicts"),
        Column("learned_variance", "", "identity", ""),
        Column("params_frozen", "parameters", "size", "positions: among the published weights, and not trained"),
        Column("loss_vb", "bits a number", "loss", "the variances' bound", _COMPARABLE),
    )
    recipes = (rule.PAPER, rule.SMALL_LADDER)
    facts = ("latent_channels", "latent_size", "num_classes")
    knobs: tuple[str, ...] = ()
    module = "var_scaling.families.dit.training"

    problems = staticmethod(configs.problems)
    default_recipe = staticmethod(rule.default_recipe)
    recipe = staticmethod(rule.recipe)
    params = staticmethod(sizes.params)
    forward_flops = staticmethod(sizes.forward_flops)
    input_flops = staticmethod(sizes.input_flops)
    sample_flops = staticmethod(sizes.sample_flops)
    sample_bytes = staticmethod(sizes.sample_bytes)
    activation_bytes = staticmethod(sizes.activation_bytes)
    recompute_bytes = staticmethod(sizes.recompute_bytes)

    def at_depth(self, model: DiTConfig, depth: int) -> DiTConfig:
        """Heads grow with the depth, unless they were given as another number."""
        heads = depth if model.heads == model.depth else model.heads
        return model.model_copy(update={"depth": depth, "heads": heads})

    def mean_guidance(self, model: DiTConfig, sampler: DiTSampler) -> float:
        """The same t at every step."""
        return sampler.guidance

    def tokens_per_image(self, model: DiTConfig) -> int:
        return model.tokens_per_image

    def columns(self, model: DiTConfig) -> dict[str, Any]:
        return {
            "width": model.width,
            "head_dim": model.head_dim,
            "heads": model.heads,
            "patch_size": model.patch_size,
            "target": model.target,
            "learned_variance": model.learned_variance,
            "params_frozen": sizes.frozen_params(model),
        }


FAMILY = DiTFamily()
