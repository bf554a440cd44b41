"""Data seen again: loss against images seen, a colour a number of unique images, and what fresh images would give."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.rows.words import axis, target_axis
from analysis.study.record import LEVEL, LawRecord, StudyLaws

POINTS = 50
MOST_SIZES = 3  # panels: the smallest, the largest, one between


def repeated_sizes(record: LawRecord) -> list[float]:
    """The sizes trained on two numbers of unique data or more; where none was, those with the most rows."""
    rows = record.rows
    kinds = rows.groupby("x")["unique"].nunique()
    sizes = kinds.index[kinds >= min(2, int(kinds.max()))].to_numpy(float)
    return [float(sizes[place]) for place in np.unique(np.linspace(0, len(sizes) - 1, MOST_SIZES).round().astype(int))]


def draw_repeats(study: StudyLaws, record: LawRecord, size: float, ax: Axes | None = None) -> tuple[Axes, pd.DataFrame]:
    """Rows of one size with the law of repeated data (solid), and the same law where nothing repeats (dotted).

    Returns:
        The axes, and what was drawn: part ("rows", "law" or "fresh"), params, unique, images, y, low, high.
    """
    ax, law = page.new_axes(ax, height=2.9), record.law
    rows = record.rows[np.isclose(record.rows["x"], size)]
    uniques = np.sort(rows["unique"].unique())
    tables = []
    for place, (colour, unique) in enumerate(zip(page.ordered_colours(len(uniques)), uniques, strict=True)):
        own = rows[rows["unique"] == unique].sort_values("epochs")
        seen = own["unique"] * own["epochs"]
        images = np.geomspace(seen.min(), seen.max(), POINTS)
        inputs = np.full(POINTS, size), np.full(POINTS, unique), images / unique
        low, high = law.mean_interval(*inputs, level=LEVEL)
        curve = pd.DataFrame({"images": images, "y": law.predict(*inputs), "low": low, "high": high})
        ax.fill_between(images, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(images, curve["y"], color=colour, linestyle=page.LINES[place % len(page.LINES)], linewidth=1.1)
        marker = page.MARKERS[place % len(page.MARKERS)]
        looks = {"linestyle": "none", "marker": marker, "color": colour, "markeredgecolor": "white"}
        ax.plot(seen, own["y"], markeredgewidth=0.4, label=page.short_number(unique), **looks)
        points = pd.DataFrame({"images": seen, "y": own["y"]})
        parts = [points.assign(part="rows"), curve.assign(part="law")]
        tables += [part.assign(params=size, unique=unique) for part in parts]
    seen = rows["unique"] * rows["epochs"]
    images = np.geomspace(seen.min(), seen.max(), POINTS)
    fresh = law.predict(np.full(POINTS, size), images, np.ones(POINTS))
    ax.plot(images, fresh, color="0.3", linestyle=":", linewidth=1.0, label="fresh")
    tables.append(pd.DataFrame({"images": images, "y": fresh, "part": "fresh", "params": size}))
    table = pd.concat(tables, ignore_index=True)
    page.log_axes(ax, table["images"].to_numpy(), table["y"].to_numpy())
    ax.set_xlabel(axis(study.columns, "data"))
    ax.set_ylabel(target_axis(record.target))
    return ax, table
