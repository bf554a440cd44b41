"""Two looks of the same figures: for a screen, whose picture says all by itself, and for paper, whose text says it.

On paper a picture holds no caption, no text below 7 points at its printed width, and a law as a formula; text stays
text. Figures are drawn inside `styled`, and ask `current` where the two differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt

from analysis.errors import BadRequest
from analysis.figures.fonts import small_font

SHEET = Path(__file__).with_name("paper.mplstyle")


@dataclass(frozen=True)
class Style:
    """One look.

    Attributes:
        name: as `--style` says it.
        small: size in points of the smallest text: names beside points, legends.
        caption_inside: whether a caption stands under the picture; else it is written beside it.
        formulas: whether a panel tells each law as a formula; else with its intervals, above the panel.
        panel: height of a panel of a law in inches; what stands above it included.
        folder: below that of the laws, where its figures lie; empty: beside the laws.
        changes: to the sheet that both share.
    """

    name: str
    small: float
    caption_inside: bool
    formulas: bool
    panel: float
    folder: str = ""
    changes: dict[str, object] = field(default_factory=dict)


SCREEN = Style("screen", 5.6, caption_inside=True, formulas=False, panel=3.0)
PAPER = Style(
    "paper",
    7.0,
    caption_inside=False,
    formulas=True,
    panel=2.3,
    folder="paper",
    changes={
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "svg.fonttype": "none",
    },
)
STYLES = {style.name: style for style in (SCREEN, PAPER)}
_CURRENT: ContextVar[Style] = ContextVar("style", default=SCREEN)


def style_named(name: str) -> Style:
    """The style of that name.

    Raises:
        BadRequest: there is none.
    """
    if name not in STYLES:
        raise BadRequest(f"no style {name!r} of figures; there are: {', '.join(STYLES)}")
    return STYLES[name]


@contextmanager
def styled(style: Style = SCREEN) -> Iterator[None]:
    """The style, for the figures drawn inside; nothing outside changes."""
    token = _CURRENT.set(style)
    try:
        with plt.style.context([str(SHEET), small_font(), style.changes]):
            yield
    finally:
        _CURRENT.reset(token)


def current() -> Style:
    """The style that figures are drawn in."""
    return _CURRENT.get()
