"""Unfinished training curves against compute and their frontier, apart from that of finished budgets."""

from __future__ import annotations

from matplotlib.axes import Axes

from analysis.figures import page
from analysis.figures.scaling import MOST_SIZES, draw_law, law_label
from analysis.figures.style import current
from analysis.rows.words import TARGET_WORDS
from analysis.study.comparison import best_form
from analysis.study.record import LawRecord, StudyLaws


def draw_trajectories(study: StudyLaws, records: list[LawRecord], ax: Axes | None = None) -> Axes:
    """One trunk a size (mean over seeds), the points that nothing cheaper beats, and the law through them."""
    ax = page.new_axes(ax, height=3.4)
    found = study.trajectories
    sizes = list(dict.fromkeys(found.curves["size"]))
    depth, params = study.columns.depth, study.columns.params
    depths = {} if depth is None else study.rows.groupby(params)[depth].first().to_dict()
    names = {size: f"d{value:g}" for size, value in depths.items()}
    for colour, size in zip(page.ordered_colours(len(sizes)), sizes, strict=True):
        part = found.curves[found.curves["size"] == size]
        ax.plot(part["x"], part["y"], color=colour, linewidth=0.9)
        if len(sizes) <= MOST_SIZES:
            ax.annotate(
                names.get(size, page.short_number(size, 2)),
                (part["x"].iloc[0], part["y"].iloc[0]),
                xytext=(2, 3),
                textcoords="offset points",
                fontsize=current().small,
                color=colour,
            )
    best = best_form(records)
    label = f"frontier of {len(found.frontier)} unfinished points\n"
    if best is None:
        label += f"no law, {records[0].refusal.code}"
    else:
        draw_law(best, ax, "black", "--")
        label += law_label(best)
    ax.plot(
        found.frontier["x"],
        found.frontier["y"],
        linestyle="none",
        marker="o",
        markersize=3.2,
        markerfacecolor="none",
        markeredgecolor="black",
        markeredgewidth=0.7,
        label=label,
        zorder=5,
    )
    page.log_axes(ax, found.curves["x"].to_numpy(), found.curves["y"].to_numpy(), flops=True, pad=0.08)
    ax.set_xlabel("Training compute $C$ (FLOPs)")
    unit = " (nats/token)" if study.columns.loss in TARGET_WORDS else ""
    ax.set_ylabel(f"Training loss on the trunk{unit}")
    return ax
