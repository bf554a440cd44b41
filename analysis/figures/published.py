"""Published laws beside ours, in the same units: reducible loss against parameters, and exponents with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import published
from analysis.figures import page
from analysis.figures.style import current
from analysis.study.record import LEVEL, LawRecord

SCALES = {"loss_all_scales": "all", "loss_last_scale": "last"}


def draw_reducible(records: list[LawRecord], ax: Axes | None = None) -> Axes:
    """Loss minus its fitted offset against N: ours with rows, VAR's and Henighan's as lines over the sizes they had."""
    ax = page.new_axes(ax)
    xs, ys = [], []
    for colour, record in zip(page.ordered_colours(len(records)), records, strict=True):
        law = record.law
        x, y = record.rows["x"].to_numpy(float), record.rows["y"].to_numpy(float) - law.coefficients["E"]
        above = y > 0
        line = np.geomspace(x.min(), x.max(), 40)
        name = "" if record.budget is None else f" at {page.short_number(record.budget)}"
        ax.plot(x[above], y[above], linestyle="none", marker="o", color=colour, label=f"ours,{name}, E fitted")
        ax.plot(line, law.predict(line) - law.coefficients["E"], color=colour)
        xs += [x]
        ys += [y[above]]
    for table, colour, style in _lines(records[0].target if records else "loss_all_scales"):
        ax.plot(table["x"], table["y"], color=colour, linestyle=style, label=table.attrs["label"])
        xs.append(table["x"].to_numpy())
        ys.append(table["y"].to_numpy())
    page.log_axes(ax, np.concatenate(xs), np.concatenate(ys))
    ax.set_xlabel("Parameters $N$")
    ax.set_ylabel("Loss minus offset (nats/token)")
    return ax


def _lines(target: str) -> list[tuple[pd.DataFrame, str, str]]:
    scales = SCALES.get(target, "all")
    law = published.var_law("loss", scales, "params")
    x = np.geomspace(18_492_580, 2_010_020_356, 40)  # VAR-d6 to d30
    var = pd.DataFrame({"x": x, "y": (law["beta"] * x / 1e9) ** law["alpha"]})
    var.attrs["label"] = (
        f"VAR, {scales} scale{'s' if scales == 'all' else ''}, minus {law['offset_subtracted']:g} (printed)"
    )
    table = published.load("image_laws")
    other = table[
        (table["domain"] == "image VQ 16x16") & (table["against"] == "params") & (table["quantity"] == "loss")
    ]
    row = other.iloc[0]
    x = np.geomspace(1e5, 3e9, 40)
    henighan = pd.DataFrame({"x": x, "y": (x / row["coefficient"]) ** row["exponent"]})
    henighan.attrs["label"] = f"Henighan et al., VQ 16x16, minus {row['offset']:g}"
    return [(var, page.NAMED[1], "--"), (henighan, page.NAMED[3], ":")]


def exponent_rows(records: list[LawRecord]) -> pd.DataFrame:
    """Exponents in N: ours with intervals, and the literature's as printed."""
    lines = []
    for record in records:
        low, high = record.law.interval("alpha", LEVEL)
        budget = "" if record.budget is None else f", at {page.short_number(record.budget)}"
        lines.append(
            {
                "label": f"ours{budget}",
                "exponent": record.law.coefficients["alpha"],
                "low": low,
                "high": high,
                "offset": record.law.coefficients["E"],
                "source": "this study",
            }
        )
    for scales in ("all", "last"):
        law = published.var_law("loss", scales, "params")
        lines.append(
            {
                "label": f"VAR, {scales} scale{'s' if scales == 'all' else ''} (offset assumed)",
                "exponent": law["alpha"],
                "offset": law["offset_subtracted"],
                "source": law["source"],
            }
        )
    table = published.load("image_laws")
    other = table[(table["against"] == "params") & (table["quantity"] == "loss")]
    for row in other.itertuples():
        lines.append(
            {
                "label": f"Henighan et al., {row.domain}",
                "exponent": row.exponent,
                "offset": row.offset,
                "source": row.source,
            }
        )
    return pd.DataFrame(lines)


def draw_exponents(records: list[LawRecord], ax: Axes | None = None) -> Axes:
    """A forest of exponents; a hollow mark has no published interval."""
    table = exponent_rows(records)
    ax = page.new_axes(ax)
    for place, line in enumerate(table.itertuples()):
        ours = np.isfinite(line.low)
        colour = page.NAMED[0] if ours else page.NAMED[1]
        if ours:
            ax.plot([line.low, line.high], [place, place], color=colour, linewidth=1)
        ax.plot(line.exponent, place, marker="o", color=colour, markerfacecolor=colour if ours else "white")
    ax.set_yticks(range(len(table)), table["label"], fontsize=current().small)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("Exponent in $N$")
    return ax
