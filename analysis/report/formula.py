"""A fitted law written out as a formula in one line of text."""

from __future__ import annotations

from analysis.laws.coupled import COUPLED
from analysis.laws.plane import CHINCHILLA, REPEATED
from analysis.laws.saturating import GIVEN_LOSS, SATURATING
from analysis.laws.tied import TIED
from analysis.rows.words import number
from analysis.study.reading import LETTERS
from analysis.study.record import LawRecord


def formula(record: LawRecord) -> str:
    """The right-hand side of a fitted law: ``3.243 + 63.3 N^-0.363``.

    In N (parameters), D (data), D' (data of which repeats count for less) and C (FLOPs). Floors have four digits and
    all else three, so that who computes with it comes within a per cent of what the law adds to its floor.
    """
    law = record.law
    assert law is not None, "a refusal has no formula"
    of, letter = law.coefficients, LETTERS.get(record.against, "C")
    floor = of[law.kind.floor] if law.kind.floor else 0.0
    first = number(floor) if floor else ""
    if law.kind == GIVEN_LOSS:
        return _sum(first, f"{_short(of['scale'])} exp({_short(of['rate'])} loss)")
    if law.kind == SATURATING:
        rise = f"(1 + ({_short(of['beta'])} {letter})^{_short(-of['alpha'])})"
        return _sum(first, f"{number(law.estimator.ceiling - floor)}/{rise}")
    if law.kind == TIED:
        power = _short(-2 * of["eta"])
        parts = [(of[name] * 6 ** -of["eta"], letter) for name, letter in (("a", "N"), ("b", "D"))]
        return _sum(first, *(f"{_short(factor)} {letter}^{power}" for factor, letter in parts if factor))
    if law.kind == COUPLED:
        return _sum(first, f"{_short(of['A'])} N^{_short(-of['alpha'])}", "B(N) D^-beta(N)")
    if law.kind in (CHINCHILLA, REPEATED):
        data = "D'" if law.kind == REPEATED else "D"
        terms = ((of["A"], "N", of["alpha"]), (of["B"], data, of["beta"]))
        return _sum(first, *(f"{_short(factor)} {name}^{_short(-power)}" for factor, name, power in terms if factor))
    if not of["beta"]:  # a fit at its bound: sizes hardly differ
        return _sum(first, f"0 {letter}^{_short(of['alpha'])}")
    return _sum(first, f"{_short(of['beta'] ** of['alpha'])} {letter}^{_short(of['alpha'])}")


def _short(value: float) -> str:
    """Three digits, without an exponent where that is short."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:g}" if not 1e-3 <= abs(rounded) < 1e6 else f"{rounded:.10g}"


def _sum(*parts: str) -> str:
    return " + ".join(part for part in parts if part)
