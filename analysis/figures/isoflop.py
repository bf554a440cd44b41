"""IsoFLOP valleys and the best size against compute."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.isoflop import IsoFlop
from analysis.lawtable import number


def draw_valleys(fit: IsoFlop, ax: Axes | None = None) -> Axes:
    """Loss against size at each budget, the interpolant, and the minima that count."""
    ax = page.new_axes(ax)
    budgets = np.unique(fit.rows["budget"])
    for colour, budget in zip(page.ordered_colours(len(budgets)), budgets, strict=True):
        part = fit.rows[fit.rows["budget"] == budget].sort_values("params")
        flops = float(np.exp(np.log(part["compute"]).mean()))
        ax.plot(part["params"], part["loss"], linestyle="none", marker="o", markersize=2.6, color=colour)
        curve = fit.curves[np.isclose(fit.curves["compute"], flops)]
        ax.plot(curve["params"], curve["loss"], color=colour, linewidth=0.8)
        last = part.iloc[-1]
        label = page.scientific(flops)
        ax.annotate(
            label,
            (last["params"], last["loss"]),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=5,
            color=colour,
            va="center",
            annotation_clip=False,
        )
    ax.plot(
        fit.minima["params"],
        fit.minima["loss"],
        linestyle="none",
        marker="D",
        markersize=4.5,
        color="black",
        markerfacecolor="none",
        label=f"minima ({len(fit.minima)} of {len(budgets)} budgets)",
        zorder=5,
    )
    page.log_axes(ax, fit.rows["params"].to_numpy(), fit.rows["loss"].to_numpy())
    ax.set_xlabel("Parameters $N$")
    ax.set_ylabel("Loss")
    page.legend_above(ax)
    return ax


def draw_optimum(fit: IsoFlop, ax: Axes | None = None) -> Axes:
    """Best size at each budget and the law through them."""
    ax = page.new_axes(ax)
    law = fit.optimum
    x = np.geomspace(*law.ranges[0], 60)
    low, high = law.mean_interval(x)
    limits = law.interval("exponent")
    label = rf"$N^*\propto C^{{{law.exponent:.3f}}}$ [{number(limits[0], 3)}, {number(limits[1], 3)}]"
    ax.fill_between(x, low, high, color=page.NAMED[0], alpha=0.18, linewidth=0)
    ax.plot(x, law.predict(x), color=page.NAMED[0], label=label)
    ax.plot(
        fit.minima["compute"], fit.minima["params"], linestyle="none", marker="D", color="black", markerfacecolor="none"
    )
    page.log_axes(ax, fit.minima["compute"].to_numpy(), fit.minima["params"].to_numpy(), flops=True)
    ax.set_xlabel("Compute $C$ (FLOPs)")
    ax.set_ylabel("Best size $N^*$")
    page.legend_above(ax)
    return ax
