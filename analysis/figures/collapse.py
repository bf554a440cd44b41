"""Normalised training curves on one another, and how far each size leaves the rest."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.study.collapse import Collapse


def draw_collapse(result: Collapse, ax: Axes | None = None) -> Axes:
    """Loss over final loss against the share of the budget, one colour a size."""
    ax = page.new_axes(ax)
    sizes = list(result.residuals["size"])
    for colour, size, ratio in zip(page.ordered_colours(len(sizes)), sizes, result.residuals["ratio"], strict=True):
        part = result.curves[result.curves["size"] == size]
        label = page.short_number(size) + (f": {ratio:.1f} sd" if np.isfinite(ratio) else "")
        for place, (_, curve) in enumerate(part.groupby("seed")):
            ax.plot(curve["share"], curve["loss"], color=colour, linewidth=0.8, label=label if place == 0 else None)
    ax.set_xlabel("Share of the budget")
    ax.set_ylabel("Training loss / final")
    page.legend_above(ax, title="N: distance from the others", ncols=3)
    return ax
