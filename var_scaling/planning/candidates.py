"""Depths that a next study could train, as plain rows: what `analysis` needs of ours to allocate a budget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from var_scaling.families.registry import family_of
from var_scaling.planning import flops
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig


def candidate_table(base: TrialConfig, depths: Iterable[int] = range(2, 61)) -> list[dict[str, Any]]:
    """One row a depth: parameters, training FLOPs an image, learning rate, all of the base's own recipe rule.

    A value that the base derives from depth (learning rate, drop path, initial gamma) is derived anew for each.
    """
    family, rows = family_of(base.model), []
    for depth in depths:
        config = resolve(base.model_copy(update={"model": family.at_depth(base.model, depth)}))
        params = flops.params(config.model)
        rows.append(
            {
                "depth": depth,
                "params_total": sum(params.values()),
                **{f"params_{part}": count for part, count in params.items()},
                "train_flops_per_image": flops.train_flops_per_image(config.model),
                "tokens_per_image": family.tokens_per_image(config.model),
                "batch_size": config.train.batch_size,
                "learning_rate": config.train.learning_rate,
            }
        )
    return rows
