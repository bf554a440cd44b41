"""Laws as a booktabs table."""

from __future__ import annotations

import math
import re

from analysis.rows.counting import amount
from analysis.rows.words import AGAINST_WORDS, ends, number, percent, target_words
from analysis.study.reading import exponents
from analysis.study.record import LEVEL, StudyLaws


def latex_table(study: StudyLaws) -> str:
    """A booktabs table: value with interval, held-out error; refusals as their code."""
    lines = [
        "% " + " ".join("; ".join(study.conventions.values()).split()) + f"; intervals {LEVEL:.0%}",
        r"\begin{tabular}{llrlllr}",
        r"\toprule",
        r"target & law & rows & exponent & $E$ & held-out error & $r$ \\",
        r"\midrule",
    ]
    for record in study.records:
        budget = "" if record.budget is None else f", {amount(tex(study.columns.budget), _tex_number(record.budget))}"
        name = f"{tex(target_words(record.target))} & {AGAINST_WORDS[record.against]}{budget}, {tex(record.form)}"
        if record.law is None:
            refused = rf"refused: \texttt{{{tex(record.refusal.code)}}}"
            lines.append(rf"{name} & & \multicolumn{{4}}{{l}}{{{refused}}} \\")
            continue
        law = record.law
        exponent = "; ".join(tex + _tex_interval(value, interval) for _, tex, value, interval in exponents(record))
        floor = law.kind.floor
        offset = "--" if floor is None else _tex_interval(law.coefficients[floor], law.interval(floor, LEVEL))
        test = record.backtests[-1] if record.backtests else None
        held = "--" if test is None else f"${percent(test.error)}\\,\\%$ ({'inside' if test.inside else 'outside'})"
        r = getattr(law, "correlation", math.nan)
        lines.append(
            f"{name} & {law.rows_used} & {exponent} & {offset} & {held} & "
            + ("--" if math.isnan(r) else f"${r:.4f}$")
            + r" \\"
        )
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def tex(text: str) -> str:
    words = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    return re.sub(r"[\\^~&#${}_%]", lambda sign: words.get(sign[0], "\\" + sign[0]), text)


def _tex_number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "{,}") if abs(value) < 1e6 else f"${value:.3g}$"


def _tex_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    if low == high:
        return f"${number(value)}$ (fixed)"
    return f"${number(value)}$ [{', '.join(ends(low, high))}]"
