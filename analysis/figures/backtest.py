"""Backtests: what each law said about the sizes it had not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.lawtable import AGAINST_WORDS
from analysis.study import LawRecord


def backtest_rows(records: list[LawRecord]) -> pd.DataFrame:
    """One line a held-out point."""
    lines = []
    for record in records:
        for test in record.backtests:
            lines.append(
                {"target": record.target, "against": record.against, "budget": record.budget, "form": record.form}
                | test.as_dict()
            )
    return pd.DataFrame(lines)


def draw_backtests(records: list[LawRecord], ax: Axes | None = None) -> Axes:
    """Error of each held-out prediction in per cent, with its interval: 0 is the measured value."""
    table = backtest_rows(records)
    ax = page.new_axes(ax, page.TEXT, 0.9 + 0.16 * len(table))
    for place, line in enumerate(table.itertuples()):
        error, low, high = (100 * (value / line.measured - 1) for value in (line.predicted, line.low, line.high))
        colour = page.NAMED[0] if line.inside else page.NAMED[1]
        ax.errorbar(
            error,
            place,
            xerr=[[error - low], [high - error]],
            fmt="o" if line.inside else "s",
            color=colour,
            markerfacecolor=colour if line.inside else "white",
            capsize=2,
            linewidth=0.9,
        )
    ax.axvline(0, color="black", linewidth=0.7)
    names = [
        f"{AGAINST_WORDS[line.against]}"
        + (
            ""
            if line.budget is None or np.isnan(line.budget)
            else f" at {page.plain_number(float(f'{line.budget:.3g}'))}"
        )
        + f", {line.form}"
        for line in table.itertuples()
    ]
    ax.set_yticks(range(len(table)), names)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("Prediction over measurement, minus 1 (%)")
    return ax
