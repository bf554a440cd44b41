"""FID as a function of loss, one curve a family: equal loss is not equal quality across families."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.laws.saturating import GIVEN_LOSS
from analysis.rows.words import number, percent, target_axis
from analysis.study.record import LEVEL, LawRecord


def draw_given_loss(records: list[LawRecord], ax: Axes | None = None) -> Axes:
    """Rows and law of each family; the records share one target."""
    ax = page.new_axes(ax)
    for place, record in enumerate(records):
        law, colour = record.law, page.NAMED[place % len(page.NAMED)]
        x, y = record.rows["x"].to_numpy(float), record.rows["y"].to_numpy(float)
        line = np.linspace(x.min(), x.max(), 80)
        low, high = law.mean_interval(line, level=LEVEL)
        rate = law.interval("rate", LEVEL)
        family = record.form.removeprefix(f"{GIVEN_LOSS.name}, ")
        label = (
            f"{family}: {number(law.coefficients['floor'], 3)} + exp(a + b loss),\n"
            f"b {number(law.coefficients['rate'], 3)} [{number(rate[0], 3)}, {number(rate[1], 3)}]"
        )
        if record.backtests:
            test = record.backtests[-1]
            label += f", held out {percent(test.error, 1)} %, {'inside' if test.inside else 'outside'}"
        ax.fill_between(line, low, high, color=colour, alpha=0.16, linewidth=0)
        ax.plot(line, law.predict(line), color=colour, linestyle=page.LINES[place % len(page.LINES)], linewidth=1.1)
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
    page.log_axes(ax, y=np.concatenate([record.rows["y"].to_numpy(float) for record in records]))
    ax.set_xlabel(target_axis(records[0].law.conventions["loss"]))
    ax.set_ylabel(target_axis(records[0].target))
    return ax
