"""Sensitivity: the exponent when rows are dropped, sizes are dropped, or things are counted differently."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.figures.style import current

WORDS = {
    "drop_worst": "highest losses dropped",
    "drop_each_size": "size dropped",
    "delta": "Huber's δ",
    "params_convention": "count of $N$",
    "compute_convention": "count of $C$ (frontier)",
}
SHORT = {
    "params_total": "total",
    "params_blocks": "blocks",
    "train_flops": "exact",
    "train_flops_visible": "visible",
    "flops_6nd": "6ND",
    "forward_macs": "MACs",
}


def draw_sensitivity(
    name: str, table: pd.DataFrame, quantity: str, interval: tuple[float, float] | None = None, ax: Axes | None = None
) -> Axes:
    """One quantity against what was changed; the band is the interval that the paper would print."""
    ax = page.new_axes(ax)
    key = table.columns[0]
    labels = [_label(value) for value in table[key]]
    places = np.arange(len(table))
    if interval is not None and np.isfinite(interval).all():
        ax.axhspan(*interval, color="0.92", linewidth=0, zorder=0)
    linestyle = "-" if key in ("dropped", "delta") else "none"
    size = 3.8 if len(table) < 30 else 1.8
    ax.plot(places, table[quantity], marker="o", markersize=size, linestyle=linestyle, color=page.NAMED[0])
    for place, refused in zip(places, table.get("refused", pd.Series([""] * len(table))), strict=True):
        if refused:
            ax.annotate(
                refused,
                (place, 0.5),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="center",
                fontsize=current().small,
            )
    step = max(1, int(np.ceil(len(labels) / (8 if len(labels) < 16 else 5))))
    ax.set_xticks(places[::step], labels[::step])
    ax.set_xlim(-0.5, len(table) - 0.5)
    ax.set_xlabel(WORDS[name])
    ax.set_ylabel({"a_opt": "β/(α+β)", "alpha": "Exponent α"}.get(quantity, quantity))
    return ax


def _label(value) -> str:
    if isinstance(value, str):
        return SHORT.get(value, value)
    if np.isinf(value):
        return "∞"
    return page.short_number(value, 2) if value > 0 else "0"
