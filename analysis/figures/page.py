"""What all figures share: the style, axes that can be read, saving with the rows behind the picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.figures.fonts import small_font
from analysis.figures.recording import record

STYLE = Path(__file__).with_name("paper.mplstyle")
FORMATS = ("png", "svg", "pdf")
PNG_DPI = 220
COLUMN, TEXT = 3.25, 5.5  # widths in inches: one column, a NeurIPS text block
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
NAMED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito


@contextmanager
def paper_style() -> Iterator[None]:
    """The style sheet, for the figures drawn inside; nothing outside changes."""
    with plt.style.context([str(STYLE), small_font()]):
        yield


def new_axes(ax: Axes | None, width: float = COLUMN, height: float = 2.5) -> Axes:
    """The axes given, or those of a new figure."""
    return ax if ax is not None else plt.subplots(figsize=(width, height))[1]


def ordered_colours(number: int) -> list:
    """Light to dark along viridis: ordered for the colour-blind and in grey; the light end is left out on white."""
    return [matplotlib.colormaps["viridis"](value) for value in np.linspace(0.72, 0.02, max(number, 1))][:number]


def save(figure: Figure, stem: Path, rows: pd.DataFrame | None = None) -> list[Path]:
    """PNG, SVG and PDF, and the rows behind the picture as CSV; returns what was written. Closes the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    paths = [stem.with_suffix(f".{kind}") for kind in FORMATS]
    figure.patch.set_facecolor("white")
    recorded = record(figure, PNG_DPI)
    FigureCanvasAgg(recorded).print_png(paths[0], pil_kwargs={"compress_level": 2})
    # no dates inside: the same rows give the same bytes
    FigureCanvasSVG(recorded).print_svg(paths[1], metadata={"Date": None})
    FigureCanvasPdf(recorded).print_pdf(paths[2], metadata={"CreationDate": None})
    plt.close(figure)
    if rows is not None:
        paths.append(stem.with_suffix(".csv"))
        rows.to_csv(paths[-1], index=False)
    return paths


def log_ticks(axis, low: float, high: float, powers: bool = False) -> None:
    """Ticks that suit a log axis: decades when it is long, 1-2-5 when shorter, round numbers when very short.

    `powers` writes 3 x 10^12 where a short axis would write 3T: right for FLOPs, wrong for parameters and losses.
    """
    decades = np.log10(high / low)
    if decades >= 2.2:
        step = int(np.ceil(decades / 6))
        axis.set_major_locator(
            LogLocator(base=10, numticks=99)
            if step == 1
            else FixedLocator(10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1, step))
        )
        between = [1.0] if step > 1 else [2.0, 5.0] if decades > 3 else np.arange(2.0, 10.0)
        axis.set_minor_locator(LogLocator(base=10, subs=between, numticks=99))
        axis.set_major_formatter(FuncFormatter(power_of_ten))
    else:
        axis.set_major_locator(FixedLocator(round_values(low, high, 4 if powers else 6)))
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
    """Without needless zeros; k, M and G above a thousand."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= value < 1000 * size:
            return f"{value / size:.4g}{letter}"
    if value >= 1e15 or value < 1e-3:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}×10{superscript(int(power))}"
    return f"{value:.4g}"


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
        log_ticks(axis, low / margin, high * margin, powers=flops and axis is ax.xaxis)


def legend_above(ax: Axes, title: str | None = None, **options) -> None:
    """A legend over the axes, where it hides no data."""
    options = {
        "loc": "lower left",
        "bbox_to_anchor": (-0.02, 1.0),
        "fontsize": 5.6,
        "title_fontsize": 5.6,
        "alignment": "left",
        "borderpad": 0.1,
        "labelspacing": 0.35,
    } | options
    ax.legend(title=title, **options)


def footnote(figure: Figure, text: str) -> None:
    """Conventions, intervals and warnings under a figure, wrapped to its width."""
    import textwrap

    width = int(figure.get_size_inches()[0] * 23)
    lines = "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, width))
    figure.supxlabel(lines, fontsize=5.6, color="0.3", x=0.01, ha="left")
