"""Models that a next study could train, as plain rows: what `analysis` needs of ours to allocate a budget."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from var_scaling.families.registry import family_of
from var_scaling.planning import flops
from var_scaling.planning.resolve import resolve
from var_scaling.planning.study import Study
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.tuned import TunedRecipe, apply_recipe

LADDER = frozenset({"model.depth", "seed"})  # keys of a grid that do not make another ladder


def candidate_table(
    study: Study,
    configs: Sequence[TrialConfig],
    recipe: TunedRecipe | None = None,
    depths: Iterable[int] = range(2, 61),
) -> list[dict[str, Any]]:
    """One row a model, by size: each depth of each ladder in the study's grid, by the study's own recipe rule.

    A value that a config derives from depth (learning rate, drop path, initial gamma) is derived anew for each. Points
    of the grid that change neither size nor cost (a learning rate, a number of images) are one ladder, the first's.

    Args:
        study: whose variants and grid they are.
        configs: its points in their order, as launched.
        recipe: a tuned one that the study was launched with.
        depths: of every ladder.

    Returns:
        depth, cell (what of the study tells its ladder from the others), parameters by part, training FLOPs an image,
        tokens an image, batch size and learning rate.
    """
    ladders: dict[str, TrialConfig] = {}
    for (variant, *values), config in zip(
        itertools.product(study.variants or ("",), *study.grid.values()), configs, strict=True
    ):
        axes = [f"{key}={value}" for key, value in zip(study.grid, values, strict=True) if key not in LADDER]
        ladders.setdefault(", ".join(filter(None, [variant, *axes])), config)
    rows: dict[tuple[int, int, int], dict[str, Any]] = {}  # the first of equal depth, parameters and cost
    for depth in depths:
        for cell, base in ladders.items():
            family = family_of(base.model)
            config = base.model_copy(update={"model": family.at_depth(base.model, depth)})
            config = resolve(apply_recipe([config], recipe)[0] if recipe else config)
            params = flops.params(config.model)
            total = sum(params.values())
            cost = flops.train_flops_per_image(config.model)
            row = {
                "depth": depth,
                "cell": cell,
                "params_total": total,
                **{f"params_{part}": count for part, count in params.items()},
                "train_flops_per_image": cost,
                "tokens_per_image": family.tokens_per_image(config.model),
                "batch_size": config.train.batch_size,
                "learning_rate": config.train.learning_rate,
            }
            rows.setdefault((depth, total, cost), row)
    return sorted(rows.values(), key=lambda row: (row["params_total"], row["train_flops_per_image"]))
