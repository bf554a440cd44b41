"""The compute frontier of training curves: what a budget had reached before its anneal, labelled apart.

A trunk that has not annealed sits above the loss that its compute could buy (var.md 1.4), so its frontier is never
mixed with that of finished budgets: another column of loss, another law, another figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import CannotFit
from analysis.rows.columns import Columns
from analysis.rows.folders import read_journal
from analysis.study.frontier import frontier

COLUMN = "train/loss"
POINTS = 24  # a curve, spread evenly in log images
WARM = 0.1  # share of the trunk that warm-up rules
FEWEST = 8  # journal lines that make a curve


@dataclass(frozen=True)
class Trajectories:
    """Trunk curves, means over seeds, and what nothing cheaper beats.

    Attributes:
        curves: columns size, images, x (compute), y (smoothed training loss on the trunk).
        frontier: columns x, y, run (the size), name (of the size): points of the lower envelope.
    """

    curves: pd.DataFrame
    frontier: pd.DataFrame


def study_trajectories(rows: pd.DataFrame, columns: Columns, folders: Path) -> Trajectories | None:
    """The trunks of a study's trials; None where no journal holds two sizes of them.

    Args:
        rows: of the study: folder, train_flops_per_image and the column of sizes.
        columns: which column is the size.
        folders: where the trials' folders lie.
    """
    if columns.params is None or not {"folder", "train_flops_per_image"} <= set(rows):
        return None
    curves = []
    for size, trials in rows.groupby(columns.params):
        seeds = [curve for folder in trials["folder"].unique() if (curve := read_trunk(folders / folder)) is not None]
        if not seeds:
            continue
        last = min(curve.index[-1] for curve in seeds)
        first = max(WARM * last, *(curve.index[0] for curve in seeds))
        images = np.geomspace(first, last, POINTS)
        # means over seeds: the best single seed would be the luckiest one
        loss = np.exp(np.mean([np.interp(np.log(images), np.log(c.index), np.log(c)) for c in seeds], axis=0))
        cost = images * float(trials["train_flops_per_image"].iloc[0])
        curves.append(pd.DataFrame({"size": float(size), "images": images, "x": cost, "y": loss}))
    if len(curves) < 2:
        return None
    table = pd.concat(curves, ignore_index=True)
    try:
        points = frontier(table["x"], table["y"], table["size"])
    except CannotFit:
        return None
    points = points.rename(columns={"compute": "x", "loss": "y"})[["x", "y", "run"]]
    depths = None if columns.depth is None else rows.groupby(columns.params)[columns.depth].first()
    called = (
        "size " + points["run"].map("{:,.0f}".format)
        if depths is None
        else points["run"].map(depths).map("depth {:g}".format)
    )
    return Trajectories(table, points.assign(name=called))


def read_trunk(trial: Path) -> pd.Series | None:
    """Smoothed training loss by images seen on the trunk; of several attempts the last line of a step counts."""
    trunk = read_journal(trial).get("trunk", {})
    points = {images: float(line[COLUMN]) for images, line in trunk.items() if line.get(COLUMN, 0) > 0}
    if len(points) < FEWEST:
        return None
    curve = pd.Series(points).sort_index()
    # a line carries its batches' luck: average over a tenth of the trunk, in logs since the curve falls
    window = max(3, len(curve) // 10)
    smooth = np.log(curve).rolling(window, center=True).mean().dropna()
    return np.exp(smooth) if len(smooth) >= FEWEST // 2 else None
