"""What a law is read for: its exponents, and what it falls to."""

from __future__ import annotations

from analysis.laws.law import Law
from analysis.study.record import LEVEL, LawRecord


def told(law: Law) -> dict[str, float]:
    """What a law is read for, by name: its exponents, the best size's a_opt, the reuse constant R, the couplings."""
    if "eta" in law.coefficients or "rate" in law.coefficients:
        names: tuple[str, ...] = ("eta",) if "eta" in law.coefficients else ("rate",)
    elif "R" in law.coefficients:
        names = ("alpha", "beta", "R")
    elif "q" in law.coefficients:
        names = ("alpha", "beta", "p", "q")  # its best size's exponent is another at every budget
    else:
        names = ("alpha", "beta", "a_opt") if "A" in law.coefficients else ("alpha",)
    natural = law.estimator.natural(law.estimator.theta[None])
    return {name: float(natural[name][0]) for name in names}


def exponents(record: LawRecord) -> list[tuple[str, str, float, tuple[float, float]]]:
    """What a law is read for, as people compare it: name, name in TeX, value, interval.

    Every exponent is that of the factor by which y falls, so below 0 in every form; tied ones are 2 eta.
    """
    law, letter = record.law, {"params": "N", "data": "D", "loss": "loss"}.get(record.against, "C")
    lines = []
    for name, value in told(law).items():
        low, high = law.interval(name, LEVEL)
        if name == "a_opt":
            lines.append(("a_opt", r"$a_\mathrm{opt}$ ", value, (low, high)))
        elif name in ("p", "q"):
            of = "B" if name == "p" else "beta"
            lines.append((f"{of}: N^", {"p": r"$B: N$, ", "q": r"$\beta: N$, "}[name], value, (low, high)))
        elif name in ("rate", "R"):
            lines.append((name, f"{name} " if name == "rate" else "$R$ ", value, (low, high)))
        elif name == "eta":
            lines.append(("N, D^", "$N, D$: ", -2 * value, (-2 * high, -2 * low)))
        elif "A" in law.coefficients:
            of = "N" if name == "alpha" else "D"
            lines.append((f"{of}^", f"${of}$: ", -value, (-high, -low)))
        else:
            lines.append((f"{letter}^", f"${letter}$: ", value, (low, high)))
    return lines


def floor_name(law: Law) -> str | None:
    """What a law falls to, by name: E, or the floor of a saturating form; None where it has none."""
    if law.form == "(beta x)^alpha":
        return None
    return "E" if "E" in law.coefficients else "floor"
