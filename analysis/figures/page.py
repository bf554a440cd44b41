"""What all figures share: the style, axes that can be read, saving with the rows behind the picture."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.figures.fonts import FAMILY
from analysis.figures.recording import record
from analysis.figures.style import current

FORMATS = ("png", "svg", "pdf")
PNG_DPI = 220
COLUMN, TEXT, WIDE = 3.25, 5.5, 6.75  # widths in inches: one column, a NeurIPS text block, a page of two columns
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
LINE = 1.5  # of a font's size, from one line of a legend to the next
NAMES = 1.2  # of their size, that names beside points reach above them
LEFT = 0.25  # share of a panel that a legend in its right corner leaves free
NARROW = 1.9  # inches; panels below have room for four ticks
MOST_ROOM = 0.45  # of a panel's height, for a legend inside
CAPTION = "caption_beside"  # an attribute of the figure
CAPTION_FILE = ".caption.json"
NAMED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito


def new_axes(ax: Axes | None, width: float = COLUMN, height: float = 2.5) -> Axes:
    """The axes given, or those of a new figure."""
    return ax if ax is not None else plt.subplots(figsize=(width, height))[1]


def ordered_colours(number: int) -> list:
    """Light to dark along viridis: ordered for the colour-blind and in grey; the light end is left out on white."""
    return [matplotlib.colormaps["viridis"](value) for value in np.linspace(0.72, 0.02, max(number, 1))][:number]


def save(figure: Figure, stem: Path, rows: pd.DataFrame | None = None) -> list[Path]:
    """PNG, SVG and PDF, and the rows behind the picture as CSV; returns what was written. Closes the figure.

    A caption that does not stand in the picture is left beside it, with the picture's width in inches, for
    :func:`analysis.report.captions.gather`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    paths = [stem.with_suffix(f".{kind}") for kind in FORMATS]
    figure.patch.set_facecolor("white")
    for text in figure.findobj(Text):
        text.set_text(minus(text.get_text()))
    recorded = record(figure, PNG_DPI)
    FigureCanvasAgg(recorded).print_png(paths[0], pil_kwargs={"compress_level": 2})
    # no dates inside: the same rows give the same bytes
    FigureCanvasSVG(recorded).print_svg(paths[1], metadata={"Date": None})
    if matplotlib.rcParams["svg.fonttype"] == "none":
        _name_fonts(paths[1])
    FigureCanvasPdf(recorded).print_pdf(paths[2], metadata={"CreationDate": None})
    plt.close(figure)
    if rows is not None:
        paths.append(stem.with_suffix(".csv"))
        rows.to_csv(paths[-1], index=False)
    if (caption := getattr(figure, CAPTION, None)) is not None:
        paths.append(stem.with_suffix(CAPTION_FILE))
        paths[-1].write_text(
            json.dumps({"width": float(figure.get_size_inches()[0]), "caption": caption}), encoding="utf-8"
        )
    return paths


def _name_fonts(svg: Path) -> None:
    """Fonts that whoever opens the file may have: text that is text is set by the viewer, not by us."""
    text = svg.read_text(encoding="utf-8").replace(f"'{FAMILY}'", FAMILY).replace(f"{FAMILY}, ", "")
    svg.write_text(text.replace(FAMILY, "'DejaVu Sans', Arial, Helvetica, sans-serif"), encoding="utf-8")


def minus(text: str) -> str:
    """With a minus before a number, where a hyphen stood; formulas between dollars have theirs."""
    parts = text.split("$") if r"\$" not in text else [text]
    for place in range(0, len(parts), 2):
        parts[place] = re.sub(r"(?<![\w.])-(?=\d|\.\d)", "\N{MINUS SIGN}", parts[place])
    return "$".join(parts)


def log_ticks(axis, low: float, high: float, powers: bool = False, narrow: bool = False) -> None:
    """Ticks that suit a log axis: decades when it is long, 1-2-5 when shorter, round numbers when very short.

    `powers` writes 3 x 10^12 where a short axis would write 3T: right for FLOPs, wrong for parameters and losses.
    `narrow`: with room for few.
    """
    decades = np.log10(high / low)
    if decades >= 2.2:
        step = int(np.ceil(decades / 6))
        axis.set_major_locator(
            LogLocator(base=10, numticks=99)
            if step == 1
            else FixedLocator(10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1, step))
        )
        between = [1.0] if step > 1 or narrow else [2.0, 5.0] if decades > 3 else np.arange(2.0, 10.0)
        axis.set_minor_locator(LogLocator(base=10, subs=between, numticks=99))
        axis.set_major_formatter(FuncFormatter(power_of_ten))
    else:
        axis.set_major_locator(FixedLocator(round_values(low, high, 4 if powers or narrow else 6)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(scientific if powers else plain_number))
    axis.set_minor_formatter(NullFormatter())


def round_values(low: float, high: float, most: int = 6) -> np.ndarray:
    """Round numbers for a log axis that spans less than two decades."""
    decades = np.log10(high / low)
    if decades > 0.75:
        mantissas = (1, 2, 5) if decades < 1.7 and most > 4 else (1, 3)
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        values = np.array([m * 10.0**power for power in powers for m in mantissas])
        return values[(values >= low * 0.999) & (values <= high * 1.001)]
    first = int(np.floor(np.log10((high - low) / most)))
    for step in (base * 10.0**power for power in range(first, first + 3) for base in (1, 2, 2.5, 5)):
        number = np.floor(high / step + 1e-9) - np.ceil(low / step - 1e-9) + 1
        if number <= most:
            return (np.ceil(low / step - 1e-9) + np.arange(number)) * step
    return np.array([low, high])


def power_of_ten(value: float, _position: int | None = None) -> str:
    """10^k, for long log axes."""
    power = round(np.log10(value))
    return f"10{superscript(power)}"


def plain_number(value: float, _position: int | None = None) -> str:
    """Without needless zeros; K, M and B above a thousand."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size <= value < 1000 * size:
            return f"{value / size:.4g}{letter}"
    if value >= 1e15 or value < 1e-3:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}×10{superscript(int(power))}"
    return f"{value:.4g}"


def short_number(value: float, digits: int = 3) -> str:
    """:func:`plain_number` in so many digits: how sizes and budgets are called."""
    return plain_number(float(f"{value:.{digits}g}"))


def scientific(value: float, _position: int | None = None) -> str:
    """M x 10^k."""
    mantissa, power = f"{value:.1e}".split("e")
    factor = "" if float(mantissa) == 1 else f"{float(mantissa):g}×"
    return f"{factor}10{superscript(int(power))}"


def superscript(power: int) -> str:
    """Digits of the font: a tick label in mathtext costs a hundred times as much."""
    return str(power).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))


def log_axes(
    ax: Axes, x: np.ndarray | None = None, y: np.ndarray | None = None, pad: float = 0.04, flops: bool = False
) -> None:
    """Log scales where values are given, limits a little beyond them, readable ticks; `flops`: x is compute."""
    for values, axis, scale, limits in (
        (x, ax.xaxis, ax.set_xscale, ax.set_xlim),
        (y, ax.yaxis, ax.set_yscale, ax.set_ylim),
    ):
        if values is None:
            continue
        values = np.asarray(values, float)
        values = values[np.isfinite(values) & (values > 0)]
        low, high = float(values.min()), float(values.max())
        margin = max((high / low) ** pad, 1.004)
        scale("log")
        limits(low / margin, high * margin)
        along = axis is ax.xaxis
        log_ticks(axis, low / margin, high * margin, powers=flops and along, narrow=along and _inches(ax) < NARROW)


def _inches(ax: Axes) -> float:
    """The width of an axes and its labels."""
    place = ax.get_subplotspec()
    return float(ax.figure.get_size_inches()[0]) / (place.get_gridspec().ncols if place else 1)


def legend(ax: Axes, title: str | None = None, **options) -> None:
    """Over the axes, where it hides no data; of formulas inside them, in room that is made above the data."""
    if current().formulas:
        legend_inside(ax, title, **options)
    else:
        legend_above(ax, title, **options)


def legend_above(ax: Axes, title: str | None = None, **options) -> None:
    """A legend over the axes, where it hides no data."""
    small = current().small
    options = {
        "loc": "lower left",
        "bbox_to_anchor": (-0.02, 1.0),
        "fontsize": small,
        "title_fontsize": small,
        "alignment": "left",
        "borderpad": 0.1,
        "labelspacing": 0.35,
    } | options
    ax.legend(title=title, **options)


def legend_inside(ax: Axes, title: str | None = None, below: float = 36.0, **options) -> None:
    """A legend in the upper right corner of axes with log y; what falls leaves room there, the rest is made.

    `below`: points of a row of panels that all but the frames take.
    """
    small = current().small
    names = ax.get_legend_handles_labels()[1]
    if not names:
        return
    lines = -(-sum(name.count("\n") + 1 for name in names) // options.get("ncols", 1)) + (title is not None)
    over_points = NAMES * small if ax.texts else 0.0
    _make_room(ax, lines * LINE * small + over_points, below)
    options = {
        "loc": "upper right",
        "fontsize": small,
        "title_fontsize": small,
        "alignment": "right",
        "borderpad": 0.1,
        "labelspacing": 0.25,
        "handletextpad": 0.3,
        "handlelength": 1.0,
        "columnspacing": 0.8,
    } | options
    ax.legend(title=title, **options)


def _make_room(ax: Axes, points: float, below: float) -> None:
    """Raise the upper limit of a log axis so that nothing drawn reaches into so many points below it."""
    figure = ax.figure
    height = 72 * figure.get_size_inches()[1] / ax.get_subplotspec().get_gridspec().nrows - below
    share = min(points / height, MOST_ROOM)
    low, high = ax.get_ylim()
    left, right = ax.get_xlim()
    below_legend = left * (right / left) ** LEFT
    reached = [low]
    for line in ax.lines:  # bands may lie under the legend; lines and points may not
        if line.get_transform() == ax.transData:
            x, y = (np.asarray(values, float) for values in line.get_data())
            reached += list(y[np.isfinite(y) & (x > below_legend)])
    for bars in ax.collections:
        if isinstance(bars, LineCollection):
            reached += [y for segment in bars.get_segments() for x, y in segment if x > below_legend]
    needed = low * (max(reached) / low) ** (1 / (1 - share))
    if needed > high:
        ax.set_ylim(low, needed)
        log_ticks(ax.yaxis, low, needed)


def footnote(figure: Figure, text: str) -> None:
    """Conventions, intervals and warnings under a figure, wrapped to its width; on paper kept for its caption."""
    if not current().caption_inside:
        setattr(figure, CAPTION, minus(text))
        return
    width = int(figure.get_size_inches()[0] * 23)
    lines = "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, width))
    figure.supxlabel(lines, fontsize=current().small, color="0.3", x=0.01, ha="left")
