"""Interval against compute: a study that chose its runs, beside the whole grid in the order of cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page

WIDEST = 1.0  # half-width over value above which an interval says nothing


def draw_pursuit(pursued: pd.DataFrame, grid: pd.DataFrame, wanted: float, ax: Axes | None = None) -> Axes:
    """Half-width of the 95 % interval of a new run at the target, over its value, against training FLOPs.

    Args:
        pursued: columns cost, half_width; a line a round.
        grid: the same of the whole grid, the cheapest run first; runs that were not made have losses as believed.
        wanted: the half-width that was asked for.
        ax: to draw on.
    """
    ax = page.new_axes(ax)
    named = (("pursued", pursued, "o", "-"), ("whole grid, cheapest first", grid, "s", "--"))
    tables = []
    for place, (name, table, marker, line) in enumerate(named):
        table = table[(table["cost"] > 0) & (table["half_width"] < WIDEST)]
        tables.append(table)
        ax.plot(
            table["cost"],
            100 * table["half_width"],
            marker=marker,
            linestyle=line,
            color=page.NAMED[place],
            markerfacecolor="white" if place else page.NAMED[place],
            label=name,
            zorder=3 - place,
        )
    ax.axhline(100 * wanted, color="black", linewidth=0.7, linestyle=":", label=f"asked for: ±{100 * wanted:.2g} %")
    ax.set_xscale("log")
    ax.set_yscale("log")
    shown = pd.concat(tables)
    if len(shown):
        page.log_ticks(ax.xaxis, shown["cost"].min(), shown["cost"].max(), powers=True)
        low = min(shown["half_width"].min(), wanted)
        page.log_ticks(ax.yaxis, 100 * low, 100 * max(shown["half_width"].max(), wanted))
    ax.set_xlabel("Training FLOPs of all runs so far")
    ax.set_ylabel("95 % interval at the target, ± %")
    page.legend(ax)
    return ax
