"""What a form is, for all who read a law without knowing which: its name, what it is read for, what it falls to.

A form is one file of this room: it makes one :class:`Form` and puts it on each law that it fits (``law.kind``). Tables,
figures and plans ask that, and never compare a name.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A number that a law is read for.

    Attributes:
        name: among the law's coefficients and derived numbers.
        of: what it is an exponent of: "N", "D", "N, D", or "x" for whatever the law is against; None: of nothing.
        scale: times the number gives the exponent of the factor by which y falls, which is below 0 in every form.
        tex: how it is called in LaTeX, where it is no exponent.
    """

    name: str
    of: str | None = None
    scale: float = 1.0
    tex: str = ""


@dataclass(frozen=True)
class Form:
    """One form of law.

    Attributes:
        name: in tables, records and laws.json.
        read_for: numbers that tables and figures show, most important first.
        floor: name of the coefficient that y falls to; None where it falls to 0.
        floor_fitted: whether the rows decide it.
        additive: whether residuals are in units of y, and not of its logarithm.
    """

    name: str
    read_for: tuple[Number, ...]
    floor: str | None = None
    floor_fitted: bool = True
    additive: bool = False
