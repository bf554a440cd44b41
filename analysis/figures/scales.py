"""Loss of each scale against size: which part of a picture a larger model learns better."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.figures.style import current
from analysis.rows.words import axis
from analysis.study.record import StudyLaws

SCALE = re.compile(r"loss_scale_(\d+)")


def scale_table(study: StudyLaws) -> pd.DataFrame:
    """Means over seeds at the longest budget: scale, params, loss, budget; empty where rows have no scales."""
    columns = study.columns
    names = sorted(filter(SCALE.fullmatch, study.rows), key=lambda name: int(SCALE.fullmatch(name)[1]))
    if len(names) < 2 or columns.params is None:
        return pd.DataFrame()
    rows = study.rows
    if columns.budget is not None:
        # the longest that most sizes reached, or a single long run would stand alone
        reached = rows.groupby(columns.budget)[columns.params].nunique()
        rows = rows[rows[columns.budget] == reached[reached == reached.max()].index.max()]
    budget = rows[columns.budget].iloc[0] if columns.budget is not None else np.nan
    means = rows.groupby(columns.params)[names].mean()
    if len(means) < 2:
        return pd.DataFrame()
    means.columns = pd.Index([int(SCALE.fullmatch(name)[1]) for name in names], name="scale")
    return (
        means.rename_axis(index="params")
        .stack()
        .rename("loss")
        .reset_index()
        .assign(budget=budget)
        .sort_values(["scale", "params"])
    )


def draw_scales(table: pd.DataFrame, study: StudyLaws, ax: Axes | None = None) -> Axes:
    """One joined line a scale, coarse light to fine dark, named at its right end.

    Args:
        table: of :func:`scale_table`.
        study: whose rows they are.
        ax: where.
    """
    ax = page.new_axes(ax, height=2.7)
    scales = list(dict.fromkeys(table["scale"]))
    page.log_axes(ax, table["params"].to_numpy(), table["loss"].to_numpy(), pad=0.06)
    for place, (colour, scale) in enumerate(zip(page.ordered_colours(len(scales)), scales, strict=True)):
        part = table[table["scale"] == scale]
        marker = page.MARKERS[place % len(page.MARKERS)]
        ax.plot(part["params"], part["loss"], color=colour, marker=marker, linewidth=0.9, label=f"{scale}")
    ax.set_xlabel(axis(study.columns, "params"))
    ax.set_ylabel("Loss of a scale (nats/token)")
    page.legend_above(ax, title="scale, coarse to fine", ncols=min(len(scales), 5), fontsize=current().small)
    return ax
