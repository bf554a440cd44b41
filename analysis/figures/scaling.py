"""The paper's Figures 5 and 6: a loss or error against parameters at each budget, and against compute."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import page
from analysis.laws.backtest import Backtest
from analysis.rows.columns import Columns
from analysis.rows.words import axis, number, percent, target_axis
from analysis.study.comparison import best_form
from analysis.study.record import LEVEL, LawRecord, StudyLaws

CURVE_POINTS = 80
MOST_TOLD = 6  # budgets whose held-out error a legend has room for; the backtest figure has them all
WIDE = 10.0  # an interval over a factor of this is no prediction
MOST_SIZES = 14  # that can be joined and named one by one


def law_curve(record: LawRecord, beyond: float = 1.0) -> pd.DataFrame:
    """The law with its interval over the rows' range (times `beyond` upwards): columns x, y, low, high."""
    low_x, high_x = record.law.ranges[0]
    x = np.geomspace(low_x, high_x * beyond, CURVE_POINTS)
    low, high = record.law.mean_interval(x, level=LEVEL)
    return pd.DataFrame({"x": x, "y": record.law.predict(x), "low": low, "high": high})


def law_label(record: LawRecord, held_out: bool = True) -> str:
    """Exponent with interval, and what was held out: never r alone."""
    law = record.law
    low, high = law.interval("alpha", LEVEL)
    text = f"α {number(law.coefficients['alpha'], 3)} [{number(low, 3)}, {number(high, 3)}]"
    floor = law.kind.floor
    if floor is not None:
        text += f", {floor} {number(law.coefficients[floor], 3)}"
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
    return f"{page.plain_number(float(f'{budget:.3g}'))}"


def draw_against_size(study: StudyLaws, target: str, ax: Axes | None = None) -> Axes:
    """Rows and best law of each budget against parameters, or data; crosses: held-out sizes as they were predicted."""
    ax, against = page.new_axes(ax), study.columns.against
    budgets = sorted(
        {record.budget for record in study.find(target, against)}, key=lambda value: (value is None, value)
    )
    colours = page.ordered_colours(len(budgets)) if len(budgets) > 1 else [page.NAMED[0]]
    xs, ys = [], []
    for place, (budget, colour) in enumerate(zip(budgets, colours, strict=True)):
        records = [record for record in study.find(target, against) if record.budget == budget]
        rows = records[0].rows
        xs.append(rows["x"])
        ys.append(rows["y"])
        marker = page.MARKERS[place % len(page.MARKERS)]
        best = best_form(records)
        words = "" if budget is None else budget_words(budget) + ": "
        if best is None:
            label = f"{words}no law, {records[0].refusal.code}"
        else:
            curve = law_curve(best)
            ax.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.16, linewidth=0)
            ax.plot(curve["x"], curve["y"], color=colour, linestyle=page.LINES[place % len(page.LINES)], linewidth=1.1)
            for test in best.backtests:
                ax.errorbar(
                    test.inputs[0],
                    test.predicted,
                    yerr=[[test.predicted - test.low], [test.high - test.predicted]],
                    fmt="x",
                    color=colour,
                    markersize=4.5,
                    capsize=2,
                    linewidth=0.8,
                    zorder=4,
                )
                xs.append([test.inputs[0]])
                ys.append([test.predicted])
            label = words + law_label(best, held_out=len(budgets) <= MOST_TOLD)
        ax.plot(
            rows["x"],
            rows["y"],
            linestyle="none",
            marker=marker,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=label,
            zorder=3,
        )
    page.log_axes(ax, np.concatenate(xs), np.concatenate([*ys, _draw_floor(study, target, ax)]))
    ax.set_xlabel(axis(study.columns, against))
    ax.set_ylabel(target_axis(target))
    return ax


def draw_against_compute(study: StudyLaws, target: str, ax: Axes | None = None) -> Axes:
    """All finished budgets against compute, one line a size, and the law through their frontier."""
    ax = page.new_axes(ax)
    columns, rows = study.columns, study.rows[study.rows[target].notna()]
    sizes = np.sort(rows[columns.params].unique()) if columns.params else np.zeros(1)
    if len(sizes) <= MOST_SIZES:
        _draw_sizes(rows, columns, target, sizes, ax)
    else:
        colours = np.array(page.ordered_colours(len(sizes)))[np.searchsorted(sizes, rows[columns.params])]
        ax.scatter(rows[columns.compute], rows[target], s=5.5, c=colours, linewidths=0)
    records = study.find(target, "compute")
    best = best_form(records)
    points = records[0].rows
    label = f"frontier of {len(points)} points\n"
    if best is not None:
        curve = law_curve(best)
        ax.fill_between(curve["x"], curve["low"], curve["high"], color="black", alpha=0.12, linewidth=0)
        ax.plot(curve["x"], curve["y"], color="black", linestyle="--", linewidth=1.1, zorder=4)
        label += law_label(best)
    else:
        label += f"no law, {records[0].refusal.code}"
    ax.plot(
        points["x"],
        points["y"],
        linestyle="none",
        marker="o",
        markerfacecolor="none",
        markeredgecolor="black",
        markersize=5.5 if len(points) < 40 else 3,
        markeredgewidth=0.9,
        label=label,
        zorder=5,
    )
    values = np.concatenate([rows[target].to_numpy(float), _draw_floor(study, target, ax)])
    page.log_axes(ax, rows[columns.compute].to_numpy(float), values, flops=True, pad=0.1)
    ax.set_xlabel(axis(columns, "compute"))
    ax.set_ylabel(target_axis(target))
    return ax


def _draw_sizes(rows: pd.DataFrame, columns: Columns, target: str, sizes: np.ndarray, ax: Axes) -> None:
    """One named line a size, through the means over its seeds."""
    size = rows[columns.params] if columns.params else pd.Series(0.0, index=rows.index)
    length = rows[columns.budget or columns.compute]
    means = rows.groupby([size.to_numpy(), length.to_numpy()])[[columns.compute, target]].mean()
    depth = rows.groupby(size)["depth"].first() if "depth" in rows else None
    for colour, size in zip(page.ordered_colours(len(sizes)), sizes, strict=True):
        compute, y = means.loc[size].sort_values(columns.compute).to_numpy().T
        ax.plot(compute, y, color=colour, linewidth=0.7, marker="o", markersize=2.4)
        if columns.params:
            ax.annotate(
                page.plain_number(float(f"{size:.2g}")) if depth is None else f"d{depth[size]:g}",
                (compute[0], y[0]),
                xytext=(2, 3),
                textcoords="offset points",
                fontsize=5.5,
                color=colour,
                clip_on=True,
            )


def _draw_floor(study: StudyLaws, target: str, ax: Axes) -> np.ndarray:
    """The tokenizer's own rFID under a FID: no model can be read near it. Returns the values drawn."""
    label = target.removeprefix("fid_corrected_").removeprefix("fid_")
    column = f"tokenizer_rfid_{label}"
    if not target.startswith("fid_") or column not in study.rows:
        return np.empty(0)
    floors = study.rows[column].dropna().unique()
    for place, floor in enumerate(floors):
        ax.axhline(
            floor, color="0.45", linewidth=0.9, linestyle=(0, (1, 1)), label=None if place else "tokenizer's own rFID"
        )
    return np.asarray(floors, float)
