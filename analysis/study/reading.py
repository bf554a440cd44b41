"""What a law is read for, as people compare it, whatever its form."""

from __future__ import annotations

from analysis.laws.law import Law
from analysis.study.record import LEVEL, LawRecord

LETTERS = {"params": "N", "data": "D"}  # of what a law is against; else C


def told(law: Law) -> dict[str, float]:
    """The numbers that a law is read for, by name, in its form's own convention."""
    natural = law.estimator.natural(law.estimator.theta[None])
    return {number.name: float(natural[number.name][0]) for number in law.kind.read_for}


def exponents(record: LawRecord) -> list[tuple[str, str, float, tuple[float, float]]]:
    """Name, name in TeX, value and interval of each: exponents are those of the factor by which y falls, below 0."""
    lines = []
    for number in record.law.kind.read_for:
        value = told(record.law)[number.name] * number.scale
        low, high = sorted(end * number.scale for end in record.law.interval(number.name, LEVEL))
        if number.of is None:
            name, tex = number.name, f"${number.tex}$ "
        else:
            letter = LETTERS.get(record.against, "C") if number.of == "x" else number.of
            name, tex = f"{letter}^", f"${letter}$: "
        lines.append((name, tex, value, (low, high)))
    return lines


def slope_known(record: LawRecord) -> bool:
    """Whether the interval of what the law is read for first leaves out zero: else it says not even that y falls."""
    lines = exponents(record)
    low, high = lines[0][3] if lines else (-1.0, -1.0)
    return bool(low > 0 or high < 0)
