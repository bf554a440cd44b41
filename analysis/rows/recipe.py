"""Hyper-parameters that move with size, or differ where rows are taken for repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import Note
from analysis.rows.columns import Columns
from analysis.rows.names import plain_name, usual

# Columns of a row that are recipe. A study's plan shows what varies; the law has to as well.
RECIPE = (
    "learning_rate",
    "weight_decay",
    "gamma_init",
    "drop_path",
    "batch_size",
    "views",
    "unique_images",
    "epochs",
    "schedule",
    "head_dim",
)
MOST_KINDS = 20  # a text column of more names runs, where most of its names stand in one row
# How people call hyper-parameters in a table of their own, as guesses compare names.
HYPERS = frozenset(
    "lr learningrate maxlr peaklr baselr initlr lrmax minlr bs batch batchsize globalbatchsize tokensperbatch wd "
    "weightdecay warmup warmupsteps warmuptokens warmupratio beta1 beta2 adambeta1 adambeta2 eps epsilon momentum "
    "dropout droppath labelsmoothing gradclip clip ema emadecay initstd sigma temperature".split()
)
RULED = ("learning_rate", "weight_decay", "gamma_init", "drop_path")  # what recipes set as a power of depth
RULE_HOLDS = 0.01  # in logs, at every row
MOVES = 1.001  # a hyper-parameter whose largest value over its smallest is below this has not moved


def recipe_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`recipe_moves`: hyper-parameters that change with the size of the model at one budget.

    One that is a power of depth at every size is the recipe's own rule: said, quietly. Anything else that moves (one
    size tuned by hand, another batch, other data) is said on every figure.
    """
    if columns.params is None:
        return ()
    moved, ruled = [], []
    largest, by_rule = 1.0, 1.0
    for name in RECIPE:
        if name not in rows:
            continue
        groups = rows.groupby(columns.budget) if columns.budget else [(None, rows)]
        for _, group in groups:
            per_size = group.groupby(columns.params)[name].first().dropna()
            if not pd.api.types.is_numeric_dtype(per_size):
                if per_size.nunique() > 1:
                    moved.append(f"{name} ({', '.join(map(str, per_size.unique()[:3]))})")
                    break
                continue
            low, high = per_size.min(), per_size.max()
            if not (len(per_size) > 1 and high > 0 and (low <= 0 or high / low > MOVES)):
                continue
            ratio = float(high / low) if low > 0 else np.inf
            rule = _rule(group, columns, name) if name in RULED else None
            if rule is not None:
                ruled.append(rule)
                by_rule = max(by_rule, ratio)
            else:
                moved.append(f"{name} ({per_size.iloc[0]:.3g} at the smallest, {per_size.iloc[-1]:.3g} at the largest)")
                largest = max(largest, ratio if np.isfinite(ratio) else largest)
            break
    notes = []
    if moved:
        words = f"size is not all that varies with size: {'; '.join(moved)}; the exponent belongs to that recipe"
        notes.append(Note("recipe_moves", words, largest))
    if ruled:
        words = f"by rule, at every size: {'; '.join(ruled)}; the exponent is that of this recipe"
        notes.append(Note("recipe_moves", words, by_rule, quiet=True))
    return tuple(notes)


def _rule(rows: pd.DataFrame, columns: Columns, name: str) -> str | None:
    """``learning_rate = 0.036 depth^-1`` where one power holds at three sizes or more, all of their rows; else None."""
    label = columns.depth or columns.params
    per_size = rows.groupby(label)[name].agg(["min", "max"])
    if len(per_size) < 3 or (per_size["min"] <= 0).any():
        return None
    values = np.log(per_size.to_numpy(float))
    slope, level = np.polyfit(np.log(per_size.index.to_numpy(float)), values.mean(1), 1)
    away = np.abs(values - (level + slope * np.log(per_size.index.to_numpy(float)))[:, None]).max()
    return f"{name} = {np.exp(level):.3g} {label}^{slope:.3g}" if away < RULE_HOLDS else None


def pooled_notes(rows: pd.DataFrame, columns: Columns, own: bool) -> tuple[Note, ...]:
    """`mixed_conventions`: rows of one size and amount that differ in more than their seed, a learning rate say."""
    parts = (columns.x, columns.data, columns.budget, columns.compute, columns.unique, columns.epochs)
    places = [name for name in dict.fromkeys(parts) if name]
    if columns.x is None and columns.compute is None:
        return ()
    spoken_of = (usual(rows, part) for part in ("seed", "data", "steps", "epochs", "unique", "compute"))
    known = (*places, *columns.targets, columns.run, *spoken_of)
    notes = []
    for name in RECIPE if own else rows.select_dtypes("number"):
        if name not in rows or name in known:
            continue
        kinds = rows.groupby(places)[name].transform("nunique") > 1
        tried = rows.loc[kinds, [*places, name]].dropna().drop_duplicates()
        found = sorted(tried[name].unique())
        if len(found) < 2 or not (own or plain_name(name) in HYPERS or _chosen(tried[name])):
            continue
        listed = ", ".join(value if isinstance(value, str) else f"{value:.4g}" for value in found[:4])
        words = f"rows of one size and amount differ in {name} ({listed}{', ...' if len(found) > 4 else ''}) and are "
        words += "fitted as repeats, their differences as noise; fit a table of each"
        notes.append(Note("mixed_conventions", words, len(found)))
    return tuple(notes)


def _chosen(tried: pd.Series) -> bool:
    """Whether numbers were chosen, not measured: few, each in several places, and not 0, 1, 2 or 42, 43, 44."""
    counts = tried.value_counts().sort_index()
    found = counts.index.to_numpy(float)
    running = (found == np.round(found)).all() and (np.diff(found) == 1).all()
    return len(found) <= MOST_KINDS and counts.min() > 1 and not running
