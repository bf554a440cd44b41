"""Laws as a booktabs table: first those that a paper prints, in as many digits as their intervals carry."""

from __future__ import annotations

import math
import re

from analysis.rows.counting import amount
from analysis.rows.words import AGAINST_WORDS, carried, number, percent, target_words
from analysis.study.comparison import told_first
from analysis.study.reading import exponents
from analysis.study.record import LEVEL, LawRecord, StudyLaws

COLUMNS = 7
SIGNS = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
GREEK = {"α": r"$\alpha$", "β": r"$\beta$", "δ": r"$\delta$", "−": "$-$", "×": r"$\times$", "≥": r"$\geq$"}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True))


def latex_table(study: StudyLaws) -> str:
    """A booktabs table: value with interval, held-out error.

    First what a paper prints, one form for all budgets; then the other forms, and refusals as their code.
    """
    first = told_first(study)
    rest = [record for record in study.records if not any(record is told for told in first)]
    lines = [
        "% " + " ".join("; ".join(study.conventions.values()).split()) + f"; intervals {LEVEL:.0%}",
        r"\begin{tabular}{llrlllr}",
        r"\toprule",
        r"target & law & rows & exponent & $E$ & held-out error & $r$ \\",
        r"\midrule",
        *(_line(study, record) for record in first),
    ]
    if rest:
        lines += [r"\midrule"] if first else []
        lines += [rf"\multicolumn{{{COLUMNS}}}{{l}}{{\emph{{other forms, and what the rows do not tell}}}} \\"]
        lines += [_line(study, record) for record in rest]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(study: StudyLaws, record: LawRecord) -> str:
    budget = "" if record.budget is None else f", {amount(tex(study.columns.budget), _tex_number(record.budget))}"
    name = f"{tex(target_words(record.target))} & {AGAINST_WORDS[record.against]}{budget}, {tex(record.form)}"
    if record.law is None:
        refused = rf"refused: \texttt{{{tex(record.refusal.code)}}}"
        return rf"{name} & & \multicolumn{{4}}{{l}}{{{refused}}} \\"
    law = record.law
    exponent = "; ".join(sign + _tex_interval(value, interval) for _, sign, value, interval in exponents(record))
    floor = law.kind.floor
    offset = "--" if floor is None else _tex_interval(law.coefficients[floor], law.interval(floor, LEVEL))
    test = record.backtests[-1] if record.backtests else None
    held = "--" if test is None else f"${percent(test.error)}\\,\\%$ ({'inside' if test.inside else 'outside'})"
    r = getattr(law, "correlation", math.nan)
    shown = "--" if math.isnan(r) else f"${r:.4f}$"
    return rf"{name} & {law.rows_used} & {exponent} & {offset} & {held} & {shown} \\"


def tex(text: str) -> str:
    """Any text as LaTeX: its own signs escaped, ours (Greek, minus, raised digits) as formulas."""
    text = re.sub(r"[\\^~&#${}_%]", lambda sign: SIGNS.get(sign[0], "\\" + sign[0]), text)
    for sign, formula in GREEK.items():
        text = text.replace(sign, formula)
    raised = f"[{''.join(RAISED)}]+"
    return re.sub(raised, lambda digits: f"$^{{{''.join(RAISED[digit] for digit in digits[0])}}}$", text)


def _tex_number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "{,}") if abs(value) < 1e6 else f"${value:.3g}$"


def _tex_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    if low == high:
        return f"${number(value)}$ (fixed)"
    shown, bottom, top = carried(value, low, high)
    return f"${shown}$ $[{_tex_end(bottom)}, {_tex_end(top)}]$"


def _tex_end(text: str) -> str:
    return {"inf": r"\infty", "-inf": r"-\infty"}.get(text, text)
