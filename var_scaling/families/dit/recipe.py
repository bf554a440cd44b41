"""How a diffusion transformer is trained, with where each value comes from. Torch-free.

`paper`: one recipe for all sizes (rate 1e-4 at 256 images, constant, no warm-up, no decay, no clipping, an average with
0.9999 a step); its rate is held at other batch sizes, for which nothing was published. `small-ladder`: measured on
Fashion-MNIST at 4x4x4 latents, depths 2 to 5 (docs/log.md): velocity instead of noise takes FID at 10,240 images from
7.7 to 2.95; the rate was swept at depth 3 and follows VAR's rule elsewhere; no average, because once the rate decays it
adds nothing.
"""

from __future__ import annotations

import math

from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Recipe
from var_scaling.families.dit.config import DiTConfig, DiTSampler

PAPER, SMALL_LADDER = "paper", "small-ladder"

# How the published results were sampled: 250 steps, scale 1.5 on three of four channels.
PAPER_SAMPLER = DiTSampler(method="ancestral", steps=250, guidance=0.5, guided_channels=3)


def default_recipe(model: DiTConfig) -> str:
    """The paper's for heads of its size."""
    return PAPER if model.head_dim >= 64 else SMALL_LADDER


def recipe(name: str, model: DiTConfig, train: TrainConfig, horizon_images: int | None) -> Recipe:
    """The recipe of one model, with the fields of the model that it decides."""
    if name == PAPER:
        return Recipe(
            learning_rate=1e-4,
            weight_decay=0.0,
            final_weight_decay=0.0,
            final_learning_rate=1.0,
            warmup_images=0,
            betas=(0.9, 0.999),
            gradient_clip="off",
            ema_half_life_images=round(math.log(0.5) / math.log(0.9999) * train.batch_size),
            source="Peebles and Xie 2022, section 4: one recipe for all sizes, at 256 images a step",
            model={
                "heads": model.depth,
                "target": "noise",
                "learned_variance": True,
                "initial_values": "published",
            },
        )
    return Recipe(
        learning_rate=0.036 / model.depth,
        weight_decay=0.0,
        final_weight_decay=0.0,
        final_learning_rate=0.0,
        warmup_images=2_000 if horizon_images is None else horizon_images // 50,
        betas=(0.9, 0.99),
        gradient_clip=1.0,
        source="rule lr = 0.036 / depth at batch 64, swept at depth 3; velocity and unit initial values measured",
        model={"heads": model.depth, "target": "velocity", "learned_variance": False, "initial_values": "unit"},
    )
