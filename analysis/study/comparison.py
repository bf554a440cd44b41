"""Which form to trust: by what it predicted, with a penalty for parameters, never by how straight it looks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.laws.backtest import Backtest
from analysis.laws.power import OFFSET
from analysis.rows.budgets import ONE_SIZE
from analysis.study.reading import slope_known
from analysis.study.record import LawRecord, StudyLaws


def best_form(records: list[LawRecord]) -> LawRecord | None:
    """The law to draw: of those fitted, the one that predicted the held-out sizes best, with a penalty for parameters.

    The score is the mean squared held-out log error times (rows + parameters)/(rows - parameters), Akaike's final
    prediction error with the held-out error in the place of the fitted one; where nothing could be held out, the fit
    with an offset, if its offset is determined. Correlation plays no part.
    """
    fitted = [record for record in records if record.law is not None]
    judged = [(held_out_score(record), record) for record in fitted if record.backtests]
    if judged:
        return min(judged, key=lambda entry: entry[0])[1]
    with_offset = [
        record
        for record in fitted
        if record.law.kind == OFFSET and not any(note.code in ("flat_profile", "at_bound") for note in record.law.notes)
    ]
    return (with_offset or fitted or [None])[0]


def common_form(groups: list[list[LawRecord]]) -> str | None:
    """One form for several groups, each the records of one budget or quantity: unlike exponents do not compare.

    Of the forms fitted in most groups, those whose slope is known in most; of these the one with the smallest mean of
    :func:`held_out_score` over the groups in which all of them have one (a form that fails somewhere serves nowhere);
    where no group has, the one that :func:`best_form` takes most often.
    """
    fitted: dict[str, dict[int, LawRecord]] = {}
    for place, group in enumerate(groups):
        for record in group:
            if record.law is not None:
                fitted.setdefault(record.form, {})[place] = record
    if not fitted:
        return None
    most = max(map(len, fitted.values()))
    fitted = {form: found for form, found in fitted.items() if len(found) == most}
    known = {form: sum(map(slope_known, found.values())) for form, found in fitted.items()}
    forms = [form for form in fitted if known[form] == max(known.values())]
    shared = [
        place
        for place in range(len(groups))
        if all(place in fitted[form] and fitted[form][place].backtests for form in forms)
    ]
    chosen = [best.form for group in groups if (best := best_form(group)) is not None]

    def rank(form: str) -> tuple[float, int]:
        scores = [held_out_score(fitted[form][place]) for place in shared]
        return float(np.mean(scores)) if scores else 0.0, -chosen.count(form)

    return min(forms, key=rank)


def figure_form(study: StudyLaws, targets: list[str], against: str) -> str | None:
    """The one form of all laws of some targets that stand on one figure; None where none was fitted."""
    return common_form([group for target in targets for group in by_budget(study, target, against).values()])


def by_budget(study: StudyLaws, target: str, against: str) -> dict[float | None, list[LawRecord]]:
    """The records of one target, by rising budget."""
    groups: dict[float | None, list[LawRecord]] = {}
    for record in study.find(target, against):
        groups.setdefault(record.budget, []).append(record)
    return dict(sorted(groups.items(), key=lambda item: (item[0] is not None, item[0])))


def target_groups(study: StudyLaws, against: str) -> dict[str, list[str]]:
    """Losses together, errors together, each kind of FID alone: one axis never holds two kinds."""
    groups: dict[str, list[str]] = {}
    for target in study.columns.targets:
        if not study.find(target, against):
            continue
        kind = "loss" if target.startswith("loss") else "error" if target.startswith("error") else _file_name(target)
        groups.setdefault(kind, []).append(target)
    return groups


def _file_name(target: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in target).strip("_").lower() or "target"


def told_first(study: StudyLaws) -> list[LawRecord]:
    """The laws that a paper prints, target by target.

    Against size at each budget and on the frontier in the one form of their figure, the joint law that predicts best,
    FID given loss; of each only what has a slope that is known.
    """
    forms = {
        (target, against): figure_form(study, targets, against)
        for against in (study.columns.against, "compute")
        for targets in target_groups(study, against).values()
        for target in targets
    }
    chosen: list[LawRecord | None] = []
    for target in study.columns.targets:
        for against in (study.columns.against, "compute"):
            if (form := forms.get((target, against))) is not None:
                chosen += study.find(target, against, form)
        for against in ("params, data", "params, data, epochs"):
            chosen.append(best_form(study.find(target, against)))
        chosen += study.find(target, "loss")
    return [record for record in chosen if record is not None and record.law is not None and slope_known(record)]


def held_out_score(record: LawRecord) -> float:
    """Mean squared held-out log error with a penalty for parameters; smaller is better."""
    errors = [np.log(test.predicted / test.measured) for test in record.backtests]
    rows, parameters = record.backtests[0].law_rows, len(record.law.estimator.theta)
    return float(np.mean(np.square(errors))) * (rows + parameters) / max(rows - parameters, 0.5)


def compare_forms(study: StudyLaws) -> pd.DataFrame:
    """One line a law with a held-out score: target, against, budget, form, score, worst error, preferred."""
    lines = []
    keys = dict.fromkeys((record.target, record.against, record.budget) for record in study.records)
    for target, against, budget in keys:
        group = [record for record in study.find(target, against) if record.budget == budget]
        best = best_form(group)
        for record in group:
            if record.law is None or not record.backtests:
                continue
            errors = [abs(test.error) for test in record.backtests]
            lines.append(
                {
                    "target": target,
                    "against": against,
                    "budget": budget,
                    "form": record.form,
                    "parameters": len(record.law.estimator.theta),
                    "held_out_points": len(errors),
                    "score": held_out_score(record),
                    "worst_error": max(errors),
                    "preferred": record is best,
                }
            )
    return pd.DataFrame(lines)


WITHIN = 0.01  # what the main study asks of its deepest model; told in laws.json, and no part of what holds


def deepest_checks(study: StudyLaws) -> list[dict]:
    """The largest model predicted from the others: at each budget by the preferred form, and by the joint law.

    A prediction holds where the measured value lies inside its interval, and where it comes closer than one that
    ignores the size, the loss of the next smaller model at that budget: a wide interval holds anything.

    Returns:
        One entry a target and law: target, against, budget, form, params, images (joint laws), measured, predicted,
        low, high, error, within (1 %), inside (the interval), ignoring_size (error of the next smaller model's loss;
        None where none was trained as long), better (than that), holds (inside and better).
    """
    found = []
    for target in study.columns.targets:
        budgets = dict.fromkeys(record.budget for record in study.find(target, "params"))
        groups = [[r for r in study.find(target, "params") if r.budget == budget] for budget in budgets]
        for group in [*groups, study.find(target, "params, data")]:
            best = best_form(group)
            if best is None or not best.backtests:
                continue
            largest = max(test.inputs[0] for test in best.backtests)
            for test in best.backtests:
                if test.inputs[0] < largest:
                    continue
                flat = ignoring_size(best.rows, test)
                within = bool(abs(test.error) <= WITHIN)
                better = flat is None or abs(test.error) < abs(flat)
                found.append(
                    {
                        "target": target,
                        "against": best.against,
                        "budget": best.budget,
                        "form": best.form,
                        "params": test.inputs[0],
                        "images": test.inputs[1] if len(test.inputs) > 1 else best.budget,
                        "measured": test.measured,
                        "predicted": test.predicted,
                        "low": test.low,
                        "high": test.high,
                        "error": test.error,
                        "within": within,
                        "inside": test.inside,
                        "ignoring_size": flat,
                        "better": better,
                        "holds": test.inside and better,
                    }
                )
    return found


def ignoring_size(rows: pd.DataFrame, test: Backtest) -> float | None:
    """Relative error of the next smaller model's loss, taken for a held-out one's; None where there is none."""
    smaller = rows[np.log(rows["x"] / test.inputs[0]) < -ONE_SIZE]
    if len(test.inputs) > 1:
        smaller = smaller[np.abs(np.log(smaller["data"] / test.inputs[1])) <= ONE_SIZE]
    if smaller.empty:
        return None
    next_size = smaller[np.log(smaller["x"] / smaller["x"].max()) > -ONE_SIZE]
    return float(next_size["y"].mean()) / test.measured - 1
