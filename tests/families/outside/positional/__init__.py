"""A family from outside: tokens that know their position and the class, and nothing of one another. Torch-free half."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from var_scaling.config.train import TrainConfig
from var_scaling.families.base import ModelConfig, Recipe, SamplerConfig
from var_scaling.families.transformer.losses import TOKEN_COLUMNS, TOKEN_LOSSES


class PositionalConfig(ModelConfig):
    """Width is eight times the depth. `None` is derived from the tokenizer and the data."""

    family: Literal["positional"] = "positional"
    patch_nums: tuple[int, ...] | None = None
    vocab_size: int | None = None
    num_classes: int | None = None

    @property
    def width(self) -> int:
        return 8 * self.depth

    @property
    def sizes(self) -> list[int]:
        """Tokens of each scale."""
        return [side * side for side in self.patch_nums or ()]


class PositionalSampler(SamplerConfig):
    """Guidance alone."""

    guidance: float = Field(0.5, ge=0)


class PositionalFamily:
    """See `families.base.Family`."""

    name = "positional"
    config = PositionalConfig
    sampler = PositionalSampler
    numerics = 1
    latents = "tokens"
    losses = TOKEN_LOSSES
    own_columns = TOKEN_COLUMNS
    recipes = ("plain",)
    facts = ("patch_nums", "vocab_size", "num_classes")
    knobs = ()
    module = "positional.training"

    def problems(self, model: PositionalConfig) -> Iterator[str]:
        if model.depth > 50:
            yield f"model.depth = {model.depth}: a positional model has at most 50 layers; use fewer"

    def default_recipe(self, model: PositionalConfig) -> str:
        return "plain"

    def recipe(self, name: str, model: PositionalConfig, train: TrainConfig, horizon_images: int | None) -> Recipe:
        return Recipe(
            learning_rate=0.02 / model.depth,
            weight_decay=0.0,
            final_weight_decay=0.0,
            final_learning_rate=0.0,
            warmup_images=10 * train.batch_size,
            source="rule lr = 0.02 / depth",
        )

    def at_depth(self, model: PositionalConfig, depth: int) -> PositionalConfig:
        return model.model_copy(update={"depth": depth})

    def params(self, model: PositionalConfig) -> dict[str, int]:
        width = model.width
        return {
            "blocks": model.depth * (width**2 + width),
            "embedding": width * (sum(model.sizes) + model.num_classes + 1),
            "head": (width + 1) * model.vocab_size,
        }

    def forward_flops(self, model: PositionalConfig, *, visible: bool = False) -> dict[str, int]:
        tokens, width = sum(model.sizes), model.width
        return {"blocks": 2 * tokens * model.depth * width**2, "head": 2 * tokens * width * model.vocab_size}

    def input_flops(self, model: PositionalConfig) -> int:
        return 0

    def sample_flops(self, model: PositionalConfig, sampler: PositionalSampler) -> int:
        return sum(self.forward_flops(model).values()) * (2 if sampler.guidance else 1)

    def sample_bytes(self, model: PositionalConfig, sampler: PositionalSampler, bytes_per_number: int = 4) -> int:
        return self.activation_bytes(model, bytes_per_number)

    def activation_bytes(self, model: PositionalConfig, bytes_per_number: int = 4) -> int:
        return bytes_per_number * sum(model.sizes) * (3 * model.depth * model.width + 2 * model.vocab_size)

    def mean_guidance(self, model: PositionalConfig, sampler: PositionalSampler) -> float:
        return sampler.guidance

    def tokens_per_image(self, model: PositionalConfig) -> int:
        return sum(model.sizes)

    def columns(self, model: PositionalConfig) -> dict[str, Any]:
        return {"width": model.width}


FAMILY = PositionalFamily()
