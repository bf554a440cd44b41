"""Finished budgets and the training curves they branched from, in one panel, with the envelope of what was finished."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.figures.scaling import MOST_SIZES
from analysis.figures.style import current
from analysis.rows.words import axis
from analysis.study.frontier import cell_frontier
from analysis.study.record import StudyLaws

ALIKE = 0.25  # of a logarithm: label drop and learning by heart move the two apart by less


def of_one_kind(study: StudyLaws) -> bool:
    """Whether training and validation measure one thing, so that both may stand on one axis.

    A model of tokens trains on what it is validated by; one that trains on velocities and is validated on noise ends at
    losses a factor apart.
    """
    rows, target = study.rows, study.columns.loss
    if target is None or "train_loss" not in rows:
        return False
    ratio = np.log(rows["train_loss"].astype(float) / rows[target].astype(float))
    return bool(ratio.abs().median() < ALIKE)


def draw_envelope(study: StudyLaws, ax: Axes | None = None) -> tuple[Axes, pd.DataFrame]:
    """Trunks thin, finished budgets as points, the frontier of their means as steps: nothing finished lies below it.

    Returns:
        The axes, and what was drawn: part ("trunk", "finished" or "envelope"), size, x, y.
    """
    ax = page.new_axes(ax, height=2.9)
    columns, target = study.columns, study.columns.loss
    curves = study.trajectories.curves
    rows = study.rows[study.rows[target].notna()]
    sizes = np.sort(rows[columns.params].unique())
    tables = []
    for place, (colour, size) in enumerate(zip(page.ordered_colours(len(sizes)), sizes, strict=True)):
        trunk = curves[np.isclose(curves["size"], size)]
        own = rows[rows[columns.params] == size]
        ax.plot(trunk["x"], trunk["y"], color=colour, linewidth=0.7)
        ax.plot(
            own[columns.compute],
            own[target],
            linestyle="none",
            marker=page.MARKERS[place % len(page.MARKERS)],
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=4,
        )
        if len(sizes) <= MOST_SIZES and len(trunk):
            ax.annotate(
                page.short_number(size, 2) if columns.depth is None else f"d{own[columns.depth].iloc[0]:g}",
                (trunk["x"].iloc[0], trunk["y"].iloc[0]),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                fontsize=current().small,
                color=colour,
            )
        tables.append(trunk[["size", "x", "y"]].assign(part="trunk"))
        finished = pd.DataFrame({"size": size, "x": own[columns.compute], "y": own[target]})
        tables.append(finished.assign(part="finished"))
    edge = cell_frontier(rows, columns, target)
    ax.step(edge["x"], edge["y"], where="post", color="black", linewidth=1.0, linestyle="--", zorder=3)
    tables.append(edge[["x", "y"]].assign(part="envelope"))
    table = pd.concat(tables, ignore_index=True)
    page.log_axes(ax, table["x"].to_numpy(), table["y"].to_numpy(), flops=True, pad=0.08)
    ax.plot([], [], color="0.4", linewidth=0.7, label="training loss on the trunk, unfinished")
    ax.plot([], [], linestyle="none", marker="o", color="0.4", label="validation loss of a finished budget")
    ax.plot([], [], color="black", linestyle="--", linewidth=1.0, label="envelope: no finished budget lies below")
    ax.set_xlabel(axis(columns, "compute"))
    ax.set_ylabel("Loss (nats/token)" if target.startswith("loss_all") else "Loss")
    return ax, table
