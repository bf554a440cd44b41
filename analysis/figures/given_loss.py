"""FID as a function of loss, one curve a family: equal loss is not equal quality across families."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import page
from analysis.figures.measured import draw_intervals, fid_axis
from analysis.laws.saturating import GIVEN_LOSS
from analysis.rows.words import carried, number, percent, target_axis
from analysis.study.reading import slope_known
from analysis.study.record import LEVEL, LawRecord


def draw_given_loss(records: list[LawRecord], rows: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Points and law of each family; the records share one target, whose intervals are columns of the study's rows."""
    ax = page.new_axes(ax)
    target, loss = records[0].target, records[0].law.conventions["loss"]
    heights = [draw_intervals(rows, loss, target, ax, "0.6")]
    for place, record in enumerate(records):
        heights.append(record.rows["y"].to_numpy(float))
        law, colour = record.law, page.NAMED[place % len(page.NAMED)]
        x, y = record.rows["x"].to_numpy(float), record.rows["y"].to_numpy(float)
        line = np.linspace(x.min(), x.max(), 80)
        low, high = law.mean_interval(line, level=LEVEL)
        rate = carried(law.coefficients["rate"], *law.interval("rate", LEVEL))
        family = record.form.removeprefix(f"{GIVEN_LOSS.name}, ")
        label = (
            f"{family}: {number(law.coefficients['floor'], 3)} + exp(a + b loss),\nb {rate[0]} [{rate[1]}, {rate[2]}]"
        )
        if record.backtests:
            test = record.backtests[-1]
            label += f", held out {percent(test.error, 1)} %, {'inside' if test.inside else 'outside'}"
        known = slope_known(record)
        if known:
            ax.fill_between(line, low, high, color=colour, alpha=0.16, linewidth=0)
        dashes = page.LINES[place % len(page.LINES)] if known else (0, (1, 2.5))
        ax.plot(line, law.predict(line), color=colour, linestyle=dashes, linewidth=1.1 if known else 0.7)
        ax.plot(
            x,
            y,
            linestyle="none",
            marker=page.MARKERS[place % len(page.MARKERS)],
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=label,
        )
    page.log_axes(ax, y=np.concatenate(heights))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(target_axis(loss))
    ax.set_ylabel(fid_axis(rows, target) or target_axis(target))
    return ax
