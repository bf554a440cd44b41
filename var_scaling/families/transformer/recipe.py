"""Hyper-parameters of transformers over tokens, per depth, each with where it comes from.

`paper`: the README commands of the reference implementation (FoundationVision/VAR, commit 78b9539), which exist for
depths 16, 20, 24, 30 and 36 only; a depth between takes the values of the nearest published depth below it, and depths
below 16 those of 16. `small-ladder`: a rule measured on Fashion-MNIST at depths 2 and 6 (docs/log.md); its learning
rate is a working guess at other sizes. Of the next-token baseline nothing is published; the ladder's rate was bracketed
for it at depth 3 (half and twice are worse, or equal), so both have one recipe.
"""

from __future__ import annotations

from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Recipe
from var_scaling.families.transformer.config import TokenModelConfig

PAPER, SMALL_LADDER = "paper", "small-ladder"

# depth: learning rate per 256 images, gamma_init, final learning-rate share, final weight decay
_PAPER = {
    16: (1e-4, 1e-3, 0.1, 0.05),
    20: (1e-4, 1e-3, 0.1, 0.05),
    24: (8e-5, 1e-4, 0.01, 0.05),
    30: (8e-5, 1e-5, 0.01, 0.08),
    36: (8e-5, 5e-6, 0.01, 0.08),
}


def default_recipe(model: TokenModelConfig) -> str:
    """The paper's for heads of its size."""
    return PAPER if model.head_dim == 64 else SMALL_LADDER


def recipe(name: str, model: TokenModelConfig, train: TrainConfig, horizon_images: int | None) -> Recipe:
    """The recipe of one depth. The paper's learning rate is linear in the batch; the ladder's holds for 64 images.

    Warm-up is the reference's one fiftieth of the horizon, or a constant where there is none.
    """
    depth, batch = model.depth, train.batch_size
    drop_path = round(0.1 * depth / 24, 12)
    warmup = horizon_images // 50 if horizon_images is not None else None
    if name == PAPER:
        published = max((d for d in _PAPER if d <= depth), default=16)
        rate, gamma, final_rate, final_decay = _PAPER[published]
        source = f"VAR README, depth {published}"
        if published != depth:
            source += f" (nothing is published for depth {depth})"
        return Recipe(
            learning_rate=rate * batch / 256,
            weight_decay=0.05,
            final_weight_decay=final_decay,
            final_learning_rate=final_rate,
            warmup_images=1_000 * batch if warmup is None else warmup,  # 1,000 steps: ours, for a trunk without horizon
            source=source,
            model={"gamma_init": gamma, "drop_path": drop_path},
        )
    return Recipe(
        learning_rate=0.036 / depth,
        weight_decay=0.05,
        final_weight_decay=0.05,
        final_learning_rate=0.0,
        warmup_images=2_000 if warmup is None else warmup,
        source="rule lr = 0.036 / depth at batch 64, checked at depths 2 and 6",
        model={"gamma_init": 1e-3, "drop_path": drop_path},
    )
