"""The paper's Figures 5 and 6 in one row: losses and errors, last scale and all scales, against N or C."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import page, scaling
from analysis.figures.captions import legend_title
from analysis.figures.style import current
from analysis.rows.checks import spread
from analysis.rows.words import axis, target_words
from analysis.study.record import StudyLaws

ORDER = ("loss_last_scale", "loss_all_scales", "error_last_scale", "error_all_scales")  # the paper's
HEIGHT, CAPTION = 2.15, 0.45  # inches of the row, and what a caption adds
BELOW = 75.0  # points that ticks, labels, titles and the legend over the row take of its height
MOST_NAMED = 6  # budgets in the legend over the row; colours of the others lie between


def row_targets(study: StudyLaws, against: str) -> list[str]:
    """The four of a study of tokens, in the paper's order; of other rows none."""
    return [target for target in ORDER if target in study.columns.targets and study.find(target, against)]


def draw_row(study: StudyLaws, against: str, targets: list[str], form: str) -> Figure:
    """One panel a target, all laws of one form, told in the panels; budgets are named over all of them."""
    figure, grid = plt.subplots(
        1, len(targets), squeeze=False, figsize=(page.WIDE, HEIGHT + (CAPTION if current().caption_inside else 0.0))
    )
    for place, (ax, target) in enumerate(zip(grid.flat, targets, strict=True)):
        if against == "compute":
            scaling.draw_against_compute(study, target, ax, form, named=False, label_sizes=place == 0)
        else:
            scaling.draw_against_size(study, target, ax, form, named=False)
        page.legend_inside(ax, below=BELOW + (72 * CAPTION if current().caption_inside else 0.0))
        words = target_words(target) + (" (nats)" if target.startswith("loss") else "")
        ax.set_title(words[0].upper() + words[1:])
        ax.set_ylabel("")
        ax.set_xlabel(axis(study.columns, against).replace("Training compute", "Compute"))
    small = current().small
    figure.legend(
        handles=_handles(study, targets[0], against),
        title=legend_title(study, against, form),
        loc="outside upper left",
        ncols=MOST_NAMED + 1,
        fontsize=small,
        title_fontsize=small,
        alignment="left",
        borderpad=0,
    )
    return figure


def _handles(study: StudyLaws, target: str, against: str) -> list[Line2D]:
    """Each budget's marker, colour and line, or the ring of the frontier; and what hollow means."""
    hollow = Line2D([], [], linestyle="none", marker="o", color="0.3", markerfacecolor="white", label="held out")
    if against == "compute":
        ring = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "black", "markersize": 5.5}
        return [Line2D([], [], color="black", linestyle="--", label="frontier of finished budgets", **ring), hollow]
    budgets = [budget for budget in scaling.by_budget(study, target, against) if budget is not None]
    colours = page.ordered_colours(len(budgets)) if len(budgets) > 1 else [page.NAMED[0]]
    shown = np.asarray(spread(len(budgets), MOST_NAMED))
    lines = [
        Line2D(
            [],
            [],
            color=colours[place],
            marker=page.MARKERS[place % len(page.MARKERS)],
            linestyle=page.LINES[place % len(page.LINES)],
            label=scaling.budget_words(budgets[place]),
        )
        for place in shown
    ]
    return [*lines, hollow]
