"""Residuals of a law: what a straight line and an r near -1 hide."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.study.record import LawRecord


def draw_residuals(record: LawRecord, ax: Axes | None = None, colour: str = page.NAMED[0], marker: str = "o") -> Axes:
    """Relative residuals against size, with the noise band and the outliers that the fit named."""
    ax = page.new_axes(ax)
    law = record.law
    x = record.rows["x"].to_numpy(float)
    residual = 100 * np.asarray(law.residuals)
    spread = 100 * law.noise_sd
    ax.axhline(0, color="0.4", linewidth=0.6)
    ax.axhspan(-2 * spread, 2 * spread, color="0.92", zorder=0, linewidth=0)
    ax.plot(x, residual, linestyle="none", marker=marker, color=colour, markeredgecolor="white", markeredgewidth=0.4)
    rows = [row for note in law.notes if note.code == "outliers" for row in note.rows]
    if rows:
        ax.plot(
            x[rows], residual[rows], linestyle="none", marker="o", markersize=7, markerfacecolor="none", color="red"
        )
    page.log_axes(ax, x)
    reach = max(float(np.abs(residual).max()), 2 * spread) * 1.15
    ax.set_ylim(-reach, reach)
    ax.set_ylabel("Residual (0.01 units)" if record.law.kind.additive else "Residual of log y (%)")
    return ax
