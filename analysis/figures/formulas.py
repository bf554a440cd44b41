"""A law as a formula for a panel, and its exponent with its interval for a legend."""

from __future__ import annotations

import numpy as np

from analysis.figures import page
from analysis.rows.words import carried, number
from analysis.study.reading import LETTERS, exponents
from analysis.study.record import LEVEL, LawRecord


def formula(record: LawRecord, brief: bool = False) -> str:
    r"""A power law about the middle of its rows, in mathtext: ``$3.70 + 0.42\,(N/1M)^{-0.36}$``.

    About a round number in the rows' own range the factor is a value of y, and a rounded exponent draws the same curve;
    in (beta x)^alpha the last digit of alpha moves the curve by per cents. Other forms are told by their exponents.

    Args:
        record: holds a law.
        brief: leaves the factor a letter, where a panel is small.
    """
    law = record.law
    pivot = 10.0 ** round(float(np.log10(np.sqrt(np.prod(law.ranges[0])))))
    ((_, _, slope, interval), *more) = exponents(record)
    floor = law.kind.floor
    if more or set(law.coefficients) != {"E", "alpha", "beta"}:
        letter = LETTERS.get(record.against, "C")
        offset = "" if floor is None else rf", \mathrm{{floor}}\ {number(law.coefficients[floor], 3)}"
        return rf"${letter}^{{{carried(slope, *interval)[0]}}}{offset}$"
    bottom = law.coefficients["E"]
    factor = float(law.predict(np.array([pivot]))[0]) - bottom
    offset = ""
    if floor is not None:
        shown = carried(bottom, *law.interval(floor, LEVEL))[0] if law.kind.floor_fitted else number(bottom, 3)
        offset = f"{shown} + "
    letter = LETTERS.get(record.against, "C")
    if brief:
        return rf"${offset}a{letter}^{{{carried(slope, *interval)[0]}}}$"
    unit = page.plain_number(pivot) if letter != "C" else rf"10^{{{round(np.log10(pivot))}}}"
    return rf"${offset}{number(factor, 3)}\,({letter}/\mathrm{{{unit}}})^{{{carried(slope, *interval)[0]}}}$"


def exponent_words(record: LawRecord, interval: bool = True) -> str:
    """Exponent with its interval, and the floor: never r alone. Without the interval where there is no room for it."""
    law = record.law
    _, _, slope, ends = exponents(record)[0]
    value, low, high = carried(slope, *ends)
    text = f"α {value} [{low}, {high}]" if interval else f"α {value}"
    floor = law.kind.floor
    if floor is None:
        return text
    if not law.kind.floor_fitted:
        return f"{text}, {floor} {number(law.coefficients[floor], 3)}"
    return f"{text}, {floor} {carried(law.coefficients[floor], *law.interval(floor, LEVEL))[0]}"
