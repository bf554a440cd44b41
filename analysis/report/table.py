"""Laws as a table: one line a law, for CSV and the terminal."""

from __future__ import annotations

import math

import pandas as pd

from analysis.study.reading import told
from analysis.study.record import LEVEL, LawRecord, StudyLaws


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
