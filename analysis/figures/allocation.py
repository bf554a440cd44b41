"""How to spend a budget: loss against size at fixed compute by the joint law, and the best size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.rows.words import axis
from analysis.study.record import LawRecord, StudyLaws

BUDGETS = 5
POINTS = 60
WIDEST_BAND = 1.5  # a factor of the curves, beyond which a band is cut at the frame


def draw_allocation(
    study: StudyLaws, record: LawRecord, candidates: pd.DataFrame, ax: Axes | None = None
) -> tuple[Axes, pd.DataFrame]:
    """Curves of constant compute; the cost of an image between the depths trained is interpolated in logs.

    Returns:
        The axes, and what was drawn: flops, params, images, loss, low, high.
    """
    ax = page.new_axes(ax, page.COLUMN, 2.9)
    law, columns = record.law, study.columns
    known = np.log(candidates[columns.params].to_numpy(float))
    cost = np.log(candidates["train_flops_per_image"].to_numpy(float))
    sizes = np.geomspace(*np.exp([known.min(), known.max()]), POINTS)
    per_image = np.exp(np.interp(np.log(sizes), known, cost))
    low_c, high_c = study.rows[columns.compute].min(), study.rows[columns.compute].max()
    tables, best = [], []
    for colour, flops in zip(page.ordered_colours(BUDGETS), np.geomspace(low_c * 2, high_c, BUDGETS), strict=True):
        images = flops / per_image
        # a law is drawn a factor 4 beyond its data at most
        kept = (images > law.ranges[1][0] / 4) & (images < law.ranges[1][1] * 4)
        if kept.sum() < 3:
            continue
        x, d = sizes[kept], images[kept]
        loss = law.predict(x, d)
        low, high = law.mean_interval(x, d)
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(x, loss, color=colour, label=page.scientific(flops))
        drawn = law.estimator.predict(law.draws().theta, (x, d)).argmin(1)
        at = int(loss.argmin())
        if 0 < at < len(x) - 1:
            ends = np.quantile(x[drawn], [0.025, 0.975])
            ax.plot(ends, [loss[at]] * 2, color=colour, linewidth=2.2, solid_capstyle="round")
            ax.plot(x[at], loss[at], marker="D", color=colour, markeredgecolor="black", markersize=4.5, zorder=5)
            best.append(x[at])
        tables.append(pd.DataFrame({"flops": flops, "params": x, "images": d, "loss": loss, "low": low, "high": high}))
    table = pd.concat(tables, ignore_index=True)
    # the frame is the curves': a band that knows nothing may be cut, or they would be lines at its middle
    limits = table["loss"].min() / WIDEST_BAND, table["loss"].max() * WIDEST_BAND
    page.log_axes(ax, table["params"].to_numpy(), table[["low", "high"]].clip(*limits).to_numpy().ravel())
    ax.set_xlabel(axis(columns, "params"))
    ax.set_ylabel("Predicted loss")
    return ax, table
