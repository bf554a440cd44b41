"""The one row that a budget leaves: intent apart from achievement, counts by part, and where it came from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch

from var_scaling.families.registry import family_of
from var_scaling.planning import flops, identity
from var_scaling.planning.resolve import branch_point
from var_scaling.planning.trial import TrialConfig
from var_scaling.training.state import State


def make_row(
    config: TrialConfig,
    state: State,
    validation: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """A flat mapping of plain values, declared in `runs.columns` and by the family; what is not known is absent.

    Args:
        config: resolved.
        state: at the end of the budget.
        validation: `evaluation.validation.validation_loss`.
        provenance: hashes of code, data and tokenizer, device, attempts, time.
    """
    whole = identity.of_trial(config)
    model, train, images = config.model, config.train, state.images
    assert config.data.unique_images is not None and train.learning_rate is not None
    family, params = family_of(model), flops.params(model)
    row: dict[str, Any] = {
        "trial": identity.digest(whole),
        "cell": identity.cell(whole),
        "family": model.family,
        "depth": model.depth,
        **family.columns(model),
        "seed": config.seed,
        "data_name": config.data.name,
        "images_seen": images,
        "branch_images": branch_point(config, images),
        "unique_images": config.data.unique_images,
        "epochs": images / config.data.unique_images,
        "views": config.data.views,
        "tokens_per_image": family.tokens_per_image(model),
        "batch_size": train.batch_size,
        "recipe": train.recipe,
        "learning_rate": train.learning_rate,
        "weight_decay": train.weight_decay,
        "label_drop": train.label_drop,
        "schedule": train.schedule,
        "precision": train.precision,
        "params_total": sum(params.values()),
        **{f"params_{part}": count for part, count in params.items()},
        "forward_flops_per_image": flops.forward_flops_per_image(model),
        "train_flops_per_image": flops.train_flops_per_image(model),
        "train_flops": images * flops.train_flops_per_image(model),
        "train_flops_visible": images * flops.train_flops_visible_per_image(model),
        "flops_6nd": images * flops.six_nd_per_image(model),
        "forward_macs": images * flops.forward_macs_per_image(model),
        "train_loss": state.last_loss,  # of the last journal window, label drop included
        **validation,
        "seconds": state.seconds,
        "images_per_second": images / state.seconds,
        "numerics": config.numerics,
        "torch": torch.__version__,
        "python": platform.python_version(),
        **provenance,
    }
    return row
