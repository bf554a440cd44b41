"""How people call columns, and which column of a table is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import pandas as pd

from analysis.errors import BadRequest


def is_loss(name: str) -> bool:
    """Whether a column is named like a loss: val_loss, Loss, ce, nll_c4."""
    return re.search(r"(loss|(?<![a-z])(ce|nll|cross.?entropy))(?![a-z])", name.lower()) is not None


def is_fid(name: str) -> bool:
    """Whether a column is named like a FID: FID50k, rfid, fid_corrected_inception; not confidence."""
    return re.search(r"fid(?![a-z])", name.lower()) is not None


# Compared without capitals, spaces and signs ("Training Tokens" is trainingtokens), except single letters: n may count.
GUESSES = {
    "params": ("params", "params_total", "n_params", "num_params", "parameters", "parameter_count", "model_size", "N")
    + ("size", "x"),
    "data": ("data", "n_tokens", "num_tokens", "tokens", "training_tokens", "train_tokens", "tokens_seen")
    + ("images_seen", "images", "samples_seen", "seen_samples", "examples_seen", "seen_examples", "seen_tokens")
    + ("num_images", "n_images", "D"),
    "compute": ("compute", "train_flops", "train_flop", "training_flops", "training_flop", "flops", "flop")
    + ("compute_budget", "flops_budget", "flop_budget", "total_flops", "C"),
    "targets": ("loss", "loss_all_scales", "val_loss", "validation_loss", "eval_loss", "test_loss", "L", "y"),
    "run": ("run", "trial", "run_name", "run_id", "trial_name", "trial_id", "experiment_name", "experiment_id")
    + ("exp_name", "exp_id", "experiment", "job_id", "group"),
    "unique": ("unique_tokens", "unique_images", "unique_data", "U"),
    "epochs": ("epochs", "epoch", "n_epochs", "num_epochs"),
    "family": ("family", "model_family"),
    "seed": ("seed", "random_seed"),
    "steps": ("step", "steps", "train_step", "training_steps", "global_step", "iteration", "iterations"),
}


def plain_name(name: str) -> str:
    """A column's name as guesses compare it."""
    return name if len(name) == 1 else "".join(letter for letter in name.lower() if letter.isalnum())


def usual(names: Iterable[object], part: str) -> str | None:
    """The column among `names` that is usually called as `part` is; None where there is none."""
    known = {plain_name(str(name)): str(name) for name in reversed(list(names))}
    return next((known[plain_name(name)] for name in GUESSES[part] if plain_name(name) in known), None)


def require(table: pd.DataFrame, name: str) -> None:
    """Raise a ValueError with the nearest name where the table lacks a column."""
    if name in table:
        return
    near = get_close_matches(name, [str(column) for column in table.columns], 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise BadRequest(f"no column {name!r}; the table has {', '.join(map(str, table.columns))}{hint}")
