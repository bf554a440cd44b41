"""How a diffusion transformer is trained, with where each value comes from. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from var_scaling.families.dit.config import DiTConfig, DiTSampler, Target

RecipeName = Literal["paper", "small-ladder"]


@dataclass(frozen=True)
class Recipe:
    """Values that follow from the kind of study, and their source."""

    target: Target
    learned_variance: bool
    initial_values: Literal["published", "unit"]
    learning_rate: float  # the peak, at the batch size asked for
    betas: tuple[float, float]
    weight_decay: float
    gradient_clip: float | Literal["off"]
    label_drop: float
    warmup_images: int
    ema_half_life_images: int | Literal["off"]
    sampler: DiTSampler
    source: str


def name_of_recipe(config: DiTConfig) -> RecipeName:
    """The recipe that is meant where none is named: the paper's for heads of its size."""
    return "paper" if config.head_dim >= 64 else "small-ladder"


def recipe(name: RecipeName, depth: int, batch_size: int) -> Recipe:
    """The recipe of one depth.

    paper: one recipe for all sizes (rate 1e-4 at 256 images, constant, no warm-up, no decay, no clipping; an average
    with 0.9999 a step). Its rate is held at other batch sizes: nothing else was published.

    small-ladder: measured on Fashion-MNIST at 4x4x4 latents, depths 2 to 5 (docs/log.md). Velocity instead of noise
    takes FID at 10,240 images from 7.7 to 2.95; the rate was swept at depth 3 and follows VAR's rule elsewhere; no
    average, because once the rate decays it adds nothing.
    """
    if name == "paper":
        half_life = math.log(0.5) / math.log(0.9999) * batch_size
        sampler = DiTSampler(method="ancestral", steps=250, guidance=0.5, guided_channels=3)
        return Recipe(
            target="noise",
            learned_variance=True,
            initial_values="published",
            learning_rate=1e-4,
            betas=(0.9, 0.999),
            weight_decay=0.0,
            gradient_clip="off",
            label_drop=0.1,
            warmup_images=0,
            ema_half_life_images=round(half_life),
            sampler=sampler,
            source="Peebles and Xie 2022, section 4: one recipe for all sizes, at 256 images a step",
        )
    return Recipe(
        target="velocity",
        learned_variance=False,
        initial_values="unit",
        learning_rate=0.036 / depth,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        gradient_clip=1.0,
        label_drop=0.1,
        warmup_images=2_000,
        ema_half_life_images="off",
        sampler=DiTSampler(),
        source="rule lr = 0.036 / depth at batch 64, swept at depth 3; velocity and unit initial values measured",
    )


def complete(
    config: DiTConfig, *, latent_channels: int, latent_size: int, num_classes: int, name: RecipeName | None = None
) -> DiTConfig:
    """The config with every None filled: heads = depth, the latent's shape, and what the recipe says."""
    values = recipe(name or name_of_recipe(config), config.depth, 1)
    derived = {
        "heads": config.depth,
        "target": values.target,
        "learned_variance": values.learned_variance,
        "initial_values": values.initial_values,
        "latent_channels": latent_channels,
        "latent_size": latent_size,
        "num_classes": num_classes,
    }
    given = {field: value for field, value in config if value is not None}
    return DiTConfig(**{**derived, **given})


def ladder(config: DiTConfig, depths: Iterable[int]) -> list[DiTConfig]:
    """The same model at other depths, width and heads growing with the depth."""
    return [config.model_copy(update={"depth": depth, "heads": depth}) for depth in depths]
