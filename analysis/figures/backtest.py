"""Backtests: what each law said about the sizes it had not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.rows.words import AGAINST_WORDS
from analysis.study.record import LawRecord


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
    reach = 5 + 3 * float((100 * table["error"]).abs().max())
    widest = 100 * float(np.nanmax(np.abs(table[["low", "high"]].to_numpy() / table[["measured"]].to_numpy() - 1)))
    ax.set_xlim(-min(reach, 1.1 * widest), min(reach, 1.1 * widest))
    names = [f"{_law_words(line)}: {_point_words(line)}" for line in table.itertuples()]
    ax.set_yticks(range(len(table)), names)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("Prediction over measurement, minus 1 (%)")
    return ax


def _law_words(line) -> str:
    budget = "" if line.budget is None or np.isnan(line.budget) else f" at {_short(line.budget)}"
    return f"{AGAINST_WORDS[line.against]}{budget}, {line.form}"


def _point_words(line) -> str:
    if line.against == "compute":
        return f"C {page.scientific(line.inputs[0])}"
    more = f", {_short(line.inputs[1])}" if len(line.inputs) > 1 else ""
    more += f" x {_short(line.inputs[2])}" if len(line.inputs) > 2 else ""
    letter = {"data": "D", "loss": "loss"}.get(line.against, "N")
    return f"{letter} {_short(line.inputs[0])}{more}"


def _short(value: float) -> str:
    return page.short_number(value)
