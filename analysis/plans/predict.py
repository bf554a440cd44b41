"""What a law says about one run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.errors import BadRequest, CannotFit, Note
from analysis.rows.budgets import ONE_SIZE
from analysis.rows.conventions import repeat_notes
from analysis.rows.counting import amount_name
from analysis.rows.names import usual
from analysis.study.comparison import best_form, held_out_score
from analysis.study.record import LEVEL, LawRecord, StudyLaws

PROPORTIONAL, BETWEEN = 1.01, 400  # what 6 N may vary by; sizes tried where cost is known between candidates
REPEATED = "params, data, epochs"
SAME_BUDGET = 0.02  # in logs
NO_NOISE = 1e-12  # relative; of an exact law, and of a quantity that its form fixes
LUCK, SLIGHT = 4.0, 1e-3  # robust standard deviations of a run; in logs, what is no contradiction in exact rows
COUNTS = 1000  # a table whose data are all above this counts single images or tokens, not millions of them


@dataclass(frozen=True)
class Prediction:
    """What a law says about one run.

    Attributes:
        target: column.
        law: name of the law that was asked.
        value: predicted.
        law_low: of the interval of the law itself.
        law_high: see `law_low`.
        low: of the interval for one new run.
        high: see `low`.
        notes: extrapolation, the law's own, and data seen again.
    """

    target: str
    law: str
    value: float
    law_low: float
    law_high: float
    low: float
    high: float
    notes: tuple[Note, ...]

    def as_dict(self) -> dict:
        """Plain types."""
        return self.__dict__ | {"notes": [note.as_dict() for note in self.notes]}


def joint_record(study: StudyLaws, target: str) -> LawRecord:
    """The law in size and data that predicted the held-out sizes best; else Chinchilla's, else the tied one.

    Raises:
        CannotFit: the first refusal, where no joint law could be fitted.
    """
    records = study.find(target, "params, data")
    fitted = [record for record in records if record.law is not None]
    if not fitted:
        if records:
            refusal = records[-1].refusal
            raise CannotFit(refusal.code, f"no law of {target} in size and data: {refusal.sentence}", refusal.number)
        raise CannotFit("too_few_sizes", f"no law of {target} in size and data: the rows name no data column", 0)
    return best_form(fitted)


def fresh_record(study: StudyLaws, target: str) -> LawRecord:
    """The law that plans stand on: where it was fitted that of repeated data, asked for data seen once.

    The laws in N and D alone count data seen again as new ones, and so promise too little of new ones.

    Raises:
        CannotFit: as :func:`joint_record`.
    """
    fitted = [record for record in study.find(target, REPEATED) if record.law is not None]
    return fitted[0] if fitted else joint_record(study, target)


def inputs_of(record: LawRecord, params: np.ndarray | float, images: np.ndarray | float) -> tuple:
    """What the law of :func:`fresh_record` takes."""
    return (params, images, np.ones_like(images)) if record.against == REPEATED else (params, images)


def _repeat_notes(study: StudyLaws, record: LawRecord) -> tuple[Note, ...]:
    """How the answer of a law takes data seen again, of which the rows have some."""
    notes = repeat_notes(study.rows, study.columns)
    if record.against != REPEATED:
        return notes
    words = "the answer is for data seen once: a run that sees as many by repeating fewer lies higher"
    return tuple(replace(note, sentence=words) for note in notes)


def predict_run(study: StudyLaws, target: str, params: float, images: float | None = None) -> Prediction:
    """One target at one size and number of images.

    Where data were repeated the law of repeated data answers for data seen once. Else the joint law does, or the law at
    that very budget, if there is one: whichever was nearer to its largest model, hidden.

    Args:
        study: what fit_study returned.
        target: column.
        params: size, as the study counts it.
        images: data seen; None where the rows know of no data, and their law against size answers.

    Raises:
        CannotFit: no law can answer.
        ValueError: a size or a number of images that no run can have.
    """
    check_possible(study, params, images)
    record = _answering(study, target, images)
    inputs = (params,) if record.against == "params" else inputs_of(record, params, images)
    law = record.law
    low, high = law.mean_interval(*inputs, level=LEVEL)
    run_low, run_high = law.prediction_interval(*inputs, level=LEVEL)
    return Prediction(
        target,
        record.name + (", data seen once" if record.against == REPEATED else ""),
        float(law.predict(*inputs)[0]),
        float(low[0]),
        float(high[0]),
        float(run_low[0]),
        float(run_high[0]),
        law.extrapolation_notes(*inputs)
        + law.notes
        + _repeat_notes(study, record)
        + _epoch_notes(study, record, images)
        + _order_notes(study, target, params, images, record, float(low[0]), float(high[0])),
    )


def _answering(study: StudyLaws, target: str, images: float | None) -> LawRecord:
    """The law that is asked: of that very budget and of all, which has predicted its largest model better.

    A joint law bends to all budgets at once; at one of them that budget's own law may know better. The law of repeated
    data is asked wherever there is one, since no other tells new data from old.

    Raises:
        CannotFit: neither could be fitted.
    """
    at = [record for record in study.find(target, "params") if _same(study, record.budget, images)]
    own = best_form(at)
    try:
        joint = fresh_record(study, target)
    except CannotFit:
        if own is None and at and images is None:
            raise at[-1].refusal from None
        if own is None:
            raise
        return own
    if own is None or joint.against == REPEATED:
        return joint
    there = tuple(test for test in joint.backtests if abs(np.log(test.inputs[1] / images)) < SAME_BUDGET)
    if not own.backtests or not there:
        return joint
    return min((joint, own), key=lambda each: held_out_score(replace(each, backtests=there) if each is joint else each))


def _same(study: StudyLaws, budget: float | None, images: float | None) -> bool:
    """Whether laws at `budget` are of runs that saw so many: budgets may be counted in anything."""
    if budget is None or images is None or study.columns.data is None:
        return budget is images
    seen = study.rows.loc[study.rows[study.columns.budget] == budget, study.columns.data]
    return not seen.empty and bool((np.abs(np.log(seen / images)) < SAME_BUDGET).all())


def _order_notes(
    study: StudyLaws,
    target: str,
    params: float,
    images: float | None,
    record: LawRecord,
    low: float,
    high: float,
) -> tuple[Note, ...]:
    """`loss_rises`: an answer that its own rows contradict, since a loss falls with size and with data.

    A run that is no larger and saw no more data lies below the law's whole interval by more than a run's luck, or one
    that is no smaller and saw no less lies above it.
    """
    columns, rows = study.columns, study.rows
    if columns.params is None or (columns.data is not None) != (images is not None):
        return ()
    rows = rows[rows[target].notna()]
    unit = float(rows[target].median()) if record.law.kind.additive else 1.0  # whose residuals are no logarithms
    luck = LUCK * 1.4826 * float(np.median(np.abs(record.law.residuals))) / unit  # one odd row does not make it wide
    luck = max(luck, SLIGHT)
    low, high = low * np.exp(-luck), high * np.exp(luck)
    less, more = rows[columns.params] <= params, rows[columns.params] >= params
    if columns.data is not None:
        less, more = less & (rows[columns.data] <= images), more & (rows[columns.data] >= images)
    if record.against == REPEATED:  # the answer is for data seen once: a row that repeated may well lie above it
        more &= False
    found = []
    if less.any() and (best := float(rows.loc[less, target].min())) < low:
        found.append((best, "no larger and saw no more", "below"))
    if more.any() and (worst := float(rows.loc[more, target].max())) > high:
        found.append((worst, "no smaller and saw no less", "above"))
    return tuple(
        Note(
            "loss_rises",
            f"a row that is {words} has {target} {value:.4g}, {side} the whole interval of the answer: the law "
            "contradicts its own rows there; trust the row, and look at the residuals",
            value,
        )
        for value, words, side in found
    )


def _epoch_notes(study: StudyLaws, record: LawRecord, images: float | None) -> tuple[Note, ...]:
    """`mixed_conventions`: an answer for more passes over the data than any row has made."""
    unique, rows = usual(study.rows, "unique"), study.rows
    if images is None or unique is None or not pd.api.types.is_numeric_dtype(rows[unique]):
        return ()
    known, seen = float(rows[unique].max()), study.columns.data
    epochs, made = images / known, float((rows[seen] / rows[unique]).max())
    if epochs <= max(1.0, made) * (1 + ONE_SIZE):
        return ()
    times = f"{float(f'{epochs:.3g}'):,g}"  # three digits, and no 1.14e+03
    words = f"{images:,.0f} {amount_name(seen)} are {times} epochs of the {known:,.0f} there are, "
    words += f"and the rows make {made:.3g} "
    if record.against == REPEATED:
        words += "at most: the answer is for as many new ones"
    else:
        words += "at most: the law counts data seen again as new ones, so expect less of so long a run, or add data"
    return (Note("mixed_conventions", words, epochs),)


def check_possible(study: StudyLaws, params: float, images: float | None) -> None:
    """Raise a ValueError where no run can have that size and data."""
    if not np.isfinite(params) or params <= 0:
        raise BadRequest(f"the size is {params:g} parameters; give a positive number")
    if images is None:
        return
    name = study.columns.data
    if not np.isfinite(images) or images < least_data(study) or images <= 0:
        wanted = "at least 1" if least_data(study) else "a positive number"
        raise BadRequest(f"the data are {images:g} {amount_name(name) if name else 'images'}; give {wanted}")


def least_data(study: StudyLaws) -> float:
    """The least data that a run can see: one, unless the column may count millions."""
    name = study.columns.data
    return 1.0 if name is None or study.rows[name].min() > COUNTS else 0.0
