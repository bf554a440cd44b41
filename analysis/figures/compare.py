"""Families side by side, in the form of the VAR paper's Figures 1 and 3: FID against compute, images, size and time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import page
from analysis.figures.style import current
from analysis.study.families import Comparison
from analysis.study.frontier import frontier

LABELS = {
    "compute": "Training FLOPs",
    "images": "Images seen",
    "params": "Parameters",
    "sample_seconds": "Seconds to sample an image",
    "sample_flops": "FLOPs to sample an image",
}


def looks(contenders: list[str]) -> dict[str, tuple[str, str, object]]:
    """Colour, marker and line of each contender, the same in every figure."""
    return {
        name: (page.NAMED[at % len(page.NAMED)], page.MARKERS[at % len(page.MARKERS)], page.LINES[at % len(page.LINES)])
        for at, name in enumerate(contenders)
    }


def largest_budget(means: pd.DataFrame) -> pd.DataFrame:
    """Of each model (cell) the row that was trained longest."""
    order = means["images"].fillna(means["compute"])
    return means.loc[order.groupby([means["contender"], means["cell"]], sort=False).idxmax()]


def draw_against(
    means: pd.DataFrame,
    column: str,
    ax: Axes | None = None,
    *,
    edge: str | None = "frontier",
    within: pd.DataFrame | None = None,
) -> Axes:
    """FID against one column: every mean with its interval, a line a contender, its tokenizer's floor.

    Args:
        means: lines of `Comparison.means`.
        column: a key of `LABELS`.
        ax: to draw on.
        edge: "frontier" joins what nothing of equal or smaller x beats; "points" joins all in order, "sizes" in order
            of parameters; None joins none.
        within: lines whose FIDs the axis has room for, where panels share it; None: those of `means`.
    """
    ax = page.new_axes(ax)
    shown = means[means[column].notna() & (means[column] > 0)]
    for name, (colour, marker, style) in looks(list(dict.fromkeys(means["contender"]))).items():
        part = shown[shown["contender"] == name].sort_values(column)
        if part.empty:
            continue
        x, y = part[column].to_numpy(float), part["fid"].to_numpy(float)
        bars = np.abs(np.vstack([y - part["fid_low"], part["fid_high"] - y]).astype(float))
        ax.errorbar(x, y, bars, fmt="none", ecolor=colour, elinewidth=0.5, alpha=0.6)
        ax.plot(x, y, linestyle="none", marker=marker, color=colour, markersize=3.2, label=name)
        line = part
        if edge == "frontier":
            line = part.iloc[frontier(x, y)["row"].to_numpy(int)]
        elif edge == "sizes" and part["params"].notna().all():
            line = part.sort_values("params")
        if edge is not None:
            ax.plot(line[column], line["fid"], color=colour, linestyle=style, linewidth=1)
        floor = part["floor"].mean()
        if np.isfinite(floor):
            ax.axhline(floor, color=colour, linestyle=(0, (1, 2)), linewidth=0.7)
    heights = (means if within is None else within)[["fid", "fid_low", "fid_high", "floor"]].to_numpy(float).ravel()
    page.log_axes(ax, shown[column].to_numpy(float), heights, flops=column.endswith(("flops", "compute")))
    ax.set_xlabel(LABELS[column])
    ax.set_ylabel("FID, corrected")
    return ax


def draw_scaling(means: pd.DataFrame, space: str) -> Figure:
    """Figure 3's form: against training compute and images (every row), and against size (the longest runs)."""
    has = [name for name in ("compute", "images", "params") if means[name].notna().any()]
    figure, axes = plt.subplots(1, len(has), figsize=(page.WIDE, 2.7), squeeze=False, sharey=True)
    for ax, column in zip(axes[0], has, strict=True):
        if column == "params":
            draw_against(largest_budget(means), column, ax, edge="points", within=means)
            ax.set_title("longest runs")
        else:
            draw_against(means, column, ax)
            ax.set_title("lines: best so far")
        if ax is not axes[0][0]:
            ax.set_ylabel("")
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    page.footnote(
        figure,
        f"FID: {space}; points are means over seeds with 95 % intervals. Dotted: the rFID of each family's tokenizer, "
        "its floor. Compute is the model's own training, without its tokenizer.",
    )
    return figure


def draw_speed(means: pd.DataFrame, space: str) -> Figure | None:
    """Figure 1's form: FID against what a sample costs, a line through the sizes of each contender's longest runs."""
    has = [name for name in ("sample_seconds", "sample_flops") if means[name].notna().any()]
    if not has:
        return None
    figure, axes = plt.subplots(1, len(has), figsize=(page.WIDE if len(has) > 1 else page.COLUMN, 2.7), squeeze=False)
    longest = largest_budget(means)
    for ax, column in zip(axes[0], has, strict=True):
        draw_against(longest, column, ax, edge="sizes")
        rightmost = longest[column].max()
        for row in longest[longest[column].notna() & longest["params"].notna()].itertuples():
            ax.annotate(
                page.short_number(row.params),
                (getattr(row, column), row.fid),
                xytext=(3, 3) if getattr(row, column) < rightmost else (-3, 3),
                ha="left" if getattr(row, column) < rightmost else "right",
                textcoords="offset points",
                fontsize=current().small,
                color="0.35",
            )
    page.legend_above(axes[0][0], ncols=4)
    page.footnote(
        figure,
        f"FID: {space}; the longest run of each size, its parameters beside it. Seconds: wall time of drawing and "
        "decoding on the machine of the rows; FLOPs: drawing alone. Dotted: the tokenizers' rFID.",
    )
    return figure


def draw_ratio(comparison: Comparison) -> Figure | None:
    """FID of each contender over the first one's against equal compute, with its interval; and where they meet."""
    base = comparison.contenders[0]
    meetings = [
        each
        for each in comparison.meetings
        if each.axis == "compute" and each.high > each.low and base in (each.first, each.second)
    ]
    if not meetings:
        return None
    figure, ax = plt.subplots(figsize=(page.COLUMN, 2.6))
    styles = looks(comparison.contenders)
    for each in meetings:
        other = each.second if each.first == base else each.first
        colour, marker, style = styles[other]
        course = each.course if each.second == base else turned(each.course)
        ax.fill_between(course["x"], course["low"], course["high"], color=colour, alpha=0.15, linewidth=0)
        ax.plot(course["x"], course["ratio"], color=colour, linestyle=style, marker=marker, markersize=2.6, label=other)
        for line in each.crossings:
            span = np.clip([line["x_low"], line["x_high"]], each.low, each.high)
            ax.plot(span, [1, 1], color=colour, linewidth=2.5, alpha=0.4)
            ax.plot(line["x"], 1, marker="|", color=colour, markersize=9)
    courses = [each.course if each.second == base else turned(each.course) for each in meetings]
    ends = np.concatenate([course["x"].to_numpy() for course in courses])
    ratios = np.concatenate([course[["low", "high"]].to_numpy().ravel() for course in courses] + [np.ones(1)])
    page.log_axes(ax, ends, ratios, flops=True)
    ax.axhline(1, color="0.4", linewidth=0.7)
    ax.set_xlabel("Training FLOPs, equal for both")
    ax.set_ylabel(f"FID over that of {base}")
    page.legend_above(ax, ncols=len(meetings))
    page.footnote(
        figure,
        f"{comparison.space}. Each at its best depth; bands: 95 % intervals; bars on 1: where two reach equal FID, "
        "with its interval, cut at the rows.",
    )
    return figure


def turned(course: pd.DataFrame) -> pd.DataFrame:
    """The same with the two contenders exchanged."""
    return pd.DataFrame(
        {"x": course["x"], "ratio": 1 / course["ratio"], "low": 1 / course["high"], "high": 1 / course["low"]}
    )
