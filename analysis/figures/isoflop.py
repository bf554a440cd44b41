"""IsoFLOP valleys and the best size against compute."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.laws.isoflop import IsoFlop
from analysis.rows.words import number

MOST_NAMED = 5  # budgets in the legend; the colours between them are in order


def draw_valleys(fit: IsoFlop, ax: Axes | None = None) -> Axes:
    """Loss against size at each budget, the interpolant, and the minima that count."""
    ax = page.new_axes(ax)
    budgets = fit.rows.groupby("budget")["compute"].agg(lambda values: float(np.exp(np.log(values).mean())))
    valleys = fit.minima["compute"].to_numpy()
    counted = budgets[[bool(np.isclose(flops, valleys).any()) for flops in budgets]]
    rest = fit.rows[~fit.rows["budget"].isin(counted.index)]
    ax.plot(rest["params"], rest["loss"], linestyle="none", marker=".", markersize=2.5, color="0.75", zorder=1)
    shown = np.unique(np.round(np.linspace(0, len(counted) - 1, min(len(counted), MOST_NAMED))).astype(int))
    for place, (budget, flops) in enumerate(counted.items()):
        colour = page.ordered_colours(len(counted))[place]
        part = fit.rows[fit.rows["budget"] == budget].sort_values("params")
        ax.plot(part["params"], part["loss"], linestyle="none", marker="o", markersize=2.6, color=colour)
        curve = fit.curves[np.isclose(fit.curves["compute"], flops)]
        label = page.scientific(flops) if place in shown else None
        ax.plot(curve["params"], curve["loss"], color=colour, linewidth=0.8, label=label)
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
    page.legend_above(ax, title="compute", ncols=3)
    return ax


def draw_optimum(fit: IsoFlop, ax: Axes | None = None) -> Axes:
    """Best size at each budget and the law through them."""
    ax = page.new_axes(ax)
    law = fit.optimum
    x = np.geomspace(*law.ranges[0], 60)
    low, high = law.mean_interval(x)
    limits = law.interval("exponent")
    label = f"N* ∝ C^{law.exponent:.3f} [{number(limits[0], 3)}, {number(limits[1], 3)}]"
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
