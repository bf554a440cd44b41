"""What was found, in sentences for people."""

from __future__ import annotations

from analysis.rows.counting import amount, counted
from analysis.rows.words import percent
from analysis.study.record import StudyLaws


def deepest_sentence(study: StudyLaws, check: dict) -> str:
    """One check for a person."""
    columns = study.columns
    column = columns.data if check["against"] == "params, data" else columns.budget
    at = "" if check["images"] is None else f" at {amount(column, counted(check['images']))}"
    law = "the joint law" if check["against"] == "params, data" else f"{check['form']} in N"
    flat = check["ignoring_size"]
    than = "" if flat is None else f"; the next smaller model's own misses by {percent(flat)} %"
    return (
        f"{check['target']}{at}, largest model predicted from the others by {law}: measured {check['measured']:.4g}, "
        f"predicted {check['predicted']:.4g} [{check['low']:.4g} to {check['high']:.4g}], "
        f"{percent(check['error'])} %: "
        f"{'inside' if check['inside'] else 'outside'} its interval"
        f"{than}{'' if check['better'] else ', which is nearer'}"
    )
