"""Profile likelihood of an offset: how much worse each fixed offset fits, and what it does to the exponent."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.laws.power import PowerLaw


def draw_profile(law: PowerLaw, ax: Axes | None = None) -> Axes:
    """Objective over its minimum against E (left, logs), with the exponent on the right."""
    ax = page.new_axes(ax)
    table = law.profile(61)
    ratio = table["objective"] / law.objective
    low, high = law.profile_interval()
    ax.axvspan(low, high, color="0.92", linewidth=0, zorder=0)
    ax.plot(table["E"], ratio, color=page.NAMED[0], label="objective")
    ax.axvline(law.coefficients["E"], color="0.4", linewidth=0.6, linestyle="--")
    ax.set_yscale("log")
    ax.set_ylim(0.9, min(float(ratio.max()), 1e4) * 1.2)
    page.log_ticks(ax.yaxis, 0.9, min(float(ratio.max()), 1e4) * 1.2)
    # the valley and its flanks: a fit that knows E to a per cent would else be a needle
    ax.set_xlim(max(0.0, low - 5 * (high - low)), float(table["E"].max()))
    ax.set_xlabel("Offset $E$, fixed")
    ax.set_ylabel("Objective / its minimum", color=page.NAMED[0])
    other = ax.twinx()
    other.plot(table["E"], table["alpha"], color=page.NAMED[1], linestyle="--", label="exponent")
    other.set_ylabel("Exponent α at that offset", color=page.NAMED[1])
    other.spines["right"].set_visible(True)
    other.grid(False)
    middle = table[(table["E"] > low * 0.8) & (table["E"] < high + 0.3 * (high - low))]["alpha"]
    if len(middle) > 1 and np.isfinite(middle).all():
        other.set_ylim(min(2.5 * float(middle.median()), float(middle.min())) * 1.1, 0)
    return ax


def profile_rows(law: PowerLaw) -> pd.DataFrame:
    """The rows behind the picture."""
    return law.profile(61)
