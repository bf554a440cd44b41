"""The paper's Figures 5 and 6: a loss or error against parameters at each budget, and against compute."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.figures.formulas import exponent_words, formula
from analysis.figures.measured import draw_floors, draw_intervals, fid_axis
from analysis.figures.style import current
from analysis.laws.backtest import Backtest
from analysis.rows.budgets import ONE_SIZE
from analysis.rows.checks import spread
from analysis.rows.columns import Columns
from analysis.rows.words import axis, percent, target_axis
from analysis.study.comparison import by_budget, figure_form
from analysis.study.reading import slope_known
from analysis.study.record import LEVEL, LawRecord, StudyLaws

CURVE_POINTS = 80
MOST_TOLD = 6  # budgets whose held-out error a legend has room for; the backtest figure has them all
MOST_FORMULAS = 5  # laws that a panel has room for
MOST_NAMES = 8  # budgets that it has room to name beside; between more the order of colours tells
NAMED_SIZES = 6  # names that do not run into one another
WIDE = 10.0  # an interval over a factor of this is no prediction
MOST_SIZES = 14  # that can be joined and named one by one


def of_form(records: list[LawRecord], form: str | None) -> LawRecord:
    """The record of that form, else the first, which then says why there is no law."""
    return next((record for record in records if record.form == form), records[0])


def law_curve(record: LawRecord, beyond: float = 1.0) -> pd.DataFrame:
    """The law with its interval over the rows' range (times `beyond` upwards): columns x, y, low, high."""
    low_x, high_x = record.law.ranges[0]
    x = np.geomspace(low_x, high_x * beyond, CURVE_POINTS)
    low, high = record.law.mean_interval(x, level=LEVEL)
    return pd.DataFrame({"x": x, "y": record.law.predict(x), "low": low, "high": high})


def draw_law(record: LawRecord, ax: Axes, colour: str | tuple, line: object = "-") -> None:
    """Line and band; of a law whose slope is not known from zero a thin dotted line alone."""
    curve = law_curve(record)
    if not slope_known(record):
        ax.plot(curve["x"], curve["y"], color=colour, linestyle=(0, (1, 2.5)), linewidth=0.7)
        return
    ax.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.16, linewidth=0)
    ax.plot(curve["x"], curve["y"], color=colour, linestyle=line, linewidth=1.1)


def law_label(record: LawRecord, held_out: bool = True, brief: bool = False) -> str:
    """A formula on paper; on a screen the exponent with its interval, and what was held out; `brief`: a short one."""
    if record.law is None:
        return f"no law, {record.refusal.code}"
    if not slope_known(record):
        return "slope not known from 0" + ("" if brief else f"\n({exponent_words(record)})")
    if current().formulas:
        return formula(record, brief)
    if brief:
        return exponent_words(record, interval=False)
    text = exponent_words(record)
    if record.backtests and held_out:
        test = record.backtests[-1]
        text += f"\nheld out: {percent(test.error)} %, {judged(test)}"
    return text


def judged(test: Backtest) -> str:
    """Whether a held-out point lies in its interval, where that interval says anything."""
    if not 0 < test.high < WIDE * test.low:
        return "its interval is too wide to judge"
    return f"{'inside' if test.inside else 'outside'} its interval"


def budget_words(budget: float) -> str:
    """A budget on a legend."""
    return page.short_number(budget)


def draw_tests(tests: tuple[Backtest, ...], ax: Axes, colour: str | tuple) -> list[float]:
    """Crosses: hidden points as the others predict them, with the interval for new runs; returns heights to hold."""
    heights: list[float] = []
    for test in tests:
        errors = [[max(test.predicted - test.low, 0)], [max(test.high - test.predicted, 0)]]
        looks = {"color": colour, "markersize": 4.5, "capsize": 2, "linewidth": 0.8, "zorder": 4}
        ax.errorbar(test.inputs[0], test.predicted, yerr=errors, fmt="x", **looks)
        heights.append(test.predicted)
        if 0 < test.high < WIDE * test.low:  # a wider bar is cut at the frame
            heights += [test.low, test.high]
    return heights


def hidden(x: pd.Series, tests: tuple[Backtest, ...]) -> np.ndarray:
    """Which points the tests hid."""
    logs = np.log(x.to_numpy(float))
    near = [np.abs(logs - np.log(test.inputs[0])) <= ONE_SIZE for test in tests]
    return np.any(near, axis=0) if near else np.zeros(len(x), bool)


def draw_against_size(
    study: StudyLaws, target: str, ax: Axes | None = None, form: str | None = None, named: bool = True
) -> Axes:
    """Rows and law of each budget against parameters, or data, one form for all.

    Args:
        study: whose rows and laws they are.
        target: what is drawn.
        ax: where.
        form: of the laws; None takes the one that suits all budgets.
        named: whether the legend names each budget.

    Hollow: sizes that were held out; crosses: as the law of the smaller ones predicts them. Bars: intervals of FIDs.
    """
    ax, against = page.new_axes(ax), study.columns.against
    form = form or figure_form(study, [target], against)
    groups = by_budget(study, target, against)
    colours = page.ordered_colours(len(groups)) if len(groups) > 1 else [page.NAMED[0]]
    told = spread(len(groups), MOST_FORMULAS) if current().formulas else range(len(groups))
    xs, ys = [], []
    for place, ((budget, records), colour) in enumerate(zip(groups.items(), colours, strict=True)):
        record = of_form(records, form)
        rows, marker = record.rows, page.MARKERS[place % len(page.MARKERS)]
        words = "" if budget is None or not named else budget_words(budget) + ": "
        label = words.removesuffix(": ") if named and len(groups) <= MOST_NAMES else None
        if place in told:
            label = words + law_label(record, len(groups) <= MOST_TOLD, brief=not named)
        xs.append(rows["x"])
        ys += [rows["y"], draw_intervals(_rows_at(study, budget), study.columns.x, target, ax, colour)]
        if record.law is not None:
            draw_law(record, ax, colour, page.LINES[place % len(page.LINES)])
            ys.append(draw_tests(record.backtests, ax, colour))
        aside = hidden(rows["x"], record.backtests)
        looks = {"linestyle": "none", "marker": marker, "color": colour, "zorder": 3}
        ax.plot(
            rows["x"][~aside], rows["y"][~aside], markeredgecolor="white", markeredgewidth=0.4, label=label, **looks
        )
        ax.plot(rows["x"][aside], rows["y"][aside], markerfacecolor="white", markeredgewidth=0.9, **looks)
    page.log_axes(ax, np.concatenate(xs), np.concatenate([*ys, draw_floors(study.rows, target, ax)]))
    ax.set_xlabel(axis(study.columns, against))
    ax.set_ylabel(fid_axis(study.rows, target) or target_axis(target))
    return ax


def _rows_at(study: StudyLaws, budget: float | None) -> pd.DataFrame:
    return study.rows if budget is None else study.rows[study.rows[study.columns.budget] == budget]


def draw_against_compute(
    study: StudyLaws,
    target: str,
    ax: Axes | None = None,
    form: str | None = None,
    named: bool = True,
    label_sizes: bool = True,
) -> Axes:
    """All finished budgets against compute, one line a size, and the law through their frontier.

    Args:
        study: whose rows and laws they are.
        target: what is drawn.
        ax: where.
        form: of the law; None takes the one that predicted the held-out point best.
        named: whether the legend names the frontier.
        label_sizes: whether each size is named where its line begins.
    """
    ax = page.new_axes(ax)
    columns, rows = study.columns, study.rows[study.rows[target].notna()]
    sizes = np.sort(rows[columns.params].unique()) if columns.params else np.zeros(1)
    colours = np.array(page.ordered_colours(len(sizes)))
    if len(sizes) <= MOST_SIZES:
        draw_sizes(rows, columns, target, sizes, ax, label_sizes)
    else:
        of_rows = colours[np.searchsorted(sizes, rows[columns.params])]
        ax.scatter(rows[columns.compute], rows[target], s=5.5, c=of_rows, linewidths=0)
    heights = [rows[target].to_numpy(float)]
    for size, colour in zip(sizes, colours, strict=True):
        own = rows[rows[columns.params] == size] if columns.params else rows
        heights.append(draw_intervals(own, columns.compute, target, ax, colour))
    record = of_form(study.find(target, "compute"), form or figure_form(study, [target], "compute"))
    if record.law is not None:
        draw_law(record, ax, "black", "--")
        heights.append(np.array(draw_tests(record.backtests, ax, "black")))
    draw_frontier(record, ax, named)
    page.log_axes(
        ax,
        rows[columns.compute].to_numpy(float),
        np.concatenate([*heights, draw_floors(study.rows, target, ax)]),
        flops=True,
        pad=0.1,
    )
    ax.set_xlabel(axis(columns, "compute"))
    ax.set_ylabel(fid_axis(study.rows, target) or target_axis(target))
    return ax


def draw_frontier(record: LawRecord, ax: Axes, named: bool = True) -> None:
    """Rings about the points that nothing cheaper beats; the hidden one has lost its filling."""
    points = record.rows
    few = len(points) < 40
    aside = hidden(points["x"], record.backtests)
    head = "frontier: " if current().formulas else f"frontier of {len(points)} points\n"
    head = head if named else ""
    looks = {
        "linestyle": "none",
        "marker": "o",
        "markeredgecolor": "black",
        "markersize": 5.5 if few else 3,
        "markeredgewidth": 0.9,
        "zorder": 5,
    }
    ax.plot(
        points["x"][~aside],
        points["y"][~aside],
        markerfacecolor="none",
        label=head + law_label(record, brief=not named),
        **looks,
    )
    ax.plot(points["x"][aside], points["y"][aside], markerfacecolor="white", **looks)


def draw_sizes(
    rows: pd.DataFrame, columns: Columns, target: str, sizes: np.ndarray, ax: Axes, labels: bool = True
) -> None:
    """One line a size, through the means over its seeds, named where it begins."""
    size = rows[columns.params] if columns.params else pd.Series(0.0, index=rows.index)
    length = rows[columns.budget or columns.compute]
    means = rows.groupby([size.to_numpy(), length.to_numpy()])[[columns.compute, target]].mean()
    depth = rows.groupby(size)["depth"].first() if "depth" in rows else None
    chosen = sizes[np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), NAMED_SIZES)).round().astype(int))]
    for colour, size in zip(page.ordered_colours(len(sizes)), sizes, strict=True):
        compute, y = means.loc[size].sort_values(columns.compute).to_numpy().T
        ax.plot(compute, y, color=colour, linewidth=0.7, marker="o", markersize=2.4)
        if columns.params and labels and size in chosen:
            ax.annotate(
                page.short_number(size, 2) if depth is None else f"d{depth[size]:g}",
                (compute[0], y[0]),
                xytext=(4, 1),
                textcoords="offset points",
                fontsize=current().small,
                color=colour,
                clip_on=True,
            )
