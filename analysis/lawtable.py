"""Laws as tables: one line a law, for the terminal, CSV and LaTeX."""

from __future__ import annotations

import math
import re
from typing import Literal

import pandas as pd

from analysis.counting import COMPUTE_WORDS, PARAMS_WORDS, amount
from analysis.law import Law
from analysis.record import LEVEL, LawRecord, StudyLaws
from analysis.table import Columns

TARGET_WORDS = {
    "loss_all_scales": "loss, all scales",
    "loss_last_scale": "loss, last scale",
    "error_all_scales": "token error, all scales",
    "error_last_scale": "token error, last scale",
    "train_loss": "training loss on the trunk, unfinished",
}
AGAINST_WORDS = {
    "params": "N",
    "data": "D",
    "compute": "C (frontier)",
    "compute, trajectories": "C (frontier of unfinished trajectories)",
    "params, data": "N and D",
    "params, data, epochs": "N, D and epochs",
    "loss": "loss",
}


def target_words(target: str) -> str:
    """How a column is called on tables and axes."""
    if target.startswith("fid_corrected_"):
        return f"FID ({target.removeprefix('fid_corrected_')} features, corrected)"
    return TARGET_WORDS.get(target, target)


def target_axis(target: str) -> str:
    """A target on an axis: a study's own in words, a CSV's as its column is called."""
    if target.startswith("fid_corrected_"):
        return f"FID, corrected\n({target.removeprefix('fid_corrected_')})"
    if target not in TARGET_WORDS:
        return _no_math(target)
    words = target_words(target)
    return words[0].upper() + words[1:] + (" (nats/token)" if target.startswith("loss") else "")


def axis(columns: Columns, part: Literal["params", "data", "compute"]) -> str:
    """What a part is called on an axis: a study's own counts in words, a CSV's column by its name."""
    words = {}
    if (columns.run, columns.data) == ("trial", "images_seen"):  # a study's rows
        words = {name: "Parameters $N$" for name in PARAMS_WORDS}
        words |= {name: "Training compute $C$ (FLOPs)" for name in COMPUTE_WORDS}
    column, letter = {
        "params": (columns.params, "N"),
        "data": (columns.data, "D"),
        "compute": (columns.compute, "C"),
    }[part]
    return words.get(column, f"{_no_math(column)} (${letter}$)")


def _no_math(name: str) -> str:
    return name.replace("$", r"\$")


def law_table(study: StudyLaws) -> pd.DataFrame:
    """One line a law or refusal; numbers, not text, except names and notes."""
    return pd.DataFrame([_line(record) for record in study.records])


def _line(record: LawRecord) -> dict:
    line: dict = {"target": record.target, "against": record.against, "budget": record.budget, "form": record.form}
    law = record.law
    if law is None:
        return line | {"refused": record.refusal.code, "sentence": record.refusal.sentence}
    line |= {"rows": law.rows_used, "sizes": law.sizes, "freedom": law.freedom}
    for name, value in (law.coefficients | told(law)).items():
        low, high = law.interval(name, LEVEL)
        line |= {name: value, f"{name}_low": low, f"{name}_high": high}
    line["r"] = getattr(law, "correlation", math.nan)
    line["objective"] = law.objective
    if record.backtests:
        test = record.backtests[-1]
        line |= {
            "held_out_params": test.inputs[0],
            "measured": test.measured,
            "predicted": test.predicted,
            "predicted_low": test.low,
            "predicted_high": test.high,
            "error": test.error,
            "inside": test.inside,
        }
    elif record.backtest_refusal is not None:
        line["held_out_refused"] = record.backtest_refusal.code
    line["notes"] = " ".join(dict.fromkeys(note.code for note in law.notes))
    return line


def told(law: Law) -> dict[str, float]:
    """What a law is read for, by name: its exponents, the best size's exponent a_opt, the reuse constant R."""
    if "eta" in law.coefficients or "rate" in law.coefficients:
        names: tuple[str, ...] = ("eta",) if "eta" in law.coefficients else ("rate",)
    elif "R" in law.coefficients:
        names = ("alpha", "beta", "R")
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


def number(value: float, digits: int = 4) -> str:
    """A number for people: significant digits, powers of ten beyond a million."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{max(digits - 2, 1)}e}"
    return f"{value:.{digits}g}"


def span(low: float, high: float, digits: int = 4) -> str:
    """An interval for people."""
    return " to ".join(_ends(low, high, digits))


def _ends(low: float, high: float, digits: int = 4) -> tuple[str, str]:
    """Both in `digits` significant digits; in up to eight where those show two digits of their distance."""
    if 0 < high - low < math.inf:
        place = math.floor(math.log10(max(-low, high))) - math.floor(math.log10(high - low))
        digits = max(digits, place + 2) if place + 2 <= 8 else digits
    return number(low, digits), number(high, digits)


def percent(share: float, digits: int = 2) -> str:
    """A share as signed per cent, without the unit; what rounds to nothing has no sign."""
    text = f"{100 * share:+.{digits}f}"
    return text if float(text) else text[1:]


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
        budget = "" if record.budget is None else f", {amount(_tex(study.columns.budget), _tex_number(record.budget))}"
        name = f"{_tex(target_words(record.target))} & {AGAINST_WORDS[record.against]}{budget}, {_tex(record.form)}"
        if record.law is None:
            refused = rf"refused: \texttt{{{_tex(record.refusal.code)}}}"
            lines.append(rf"{name} & & \multicolumn{{4}}{{l}}{{{refused}}} \\")
            continue
        law = record.law
        exponent = "; ".join(tex + _tex_interval(value, interval) for _, tex, value, interval in exponents(record))
        floor = floor_name(law)
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


def _tex(text: str) -> str:
    words = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    return re.sub(r"[\\^~&#${}_%]", lambda sign: words.get(sign[0], "\\" + sign[0]), text)


def _tex_number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "{,}") if abs(value) < 1e6 else f"${value:.3g}$"


def _tex_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    if low == high:
        return f"${number(value)}$ (fixed)"
    return f"${number(value)}$ [{', '.join(_ends(low, high))}]"
