"""What a study is read for first: of each quantity one law, of one form over all budgets, and what is determined."""

from __future__ import annotations

from analysis.laws.power import OFFSET, PLAIN
from analysis.study.comparison import common_form
from analysis.study.reading import slope_known
from analysis.study.record import LawRecord, StudyLaws

FIRST = ("params", "data", "params, data", "params, data, epochs", "compute")  # what a quantity's law is against
ONE_VARIABLE = ("params", "data", "compute")
FORMS = (PLAIN, OFFSET)  # of laws in one variable: what a saturating form says besides is in the tables
UNDETERMINED = ("flat_profile", "at_bound")


def of_one_form(study: StudyLaws, target: str, against: str) -> list[LawRecord]:
    """The laws of one target against one thing, a budget each, all of one form (:func:`common_form`); empty of none.

    Of a target with laws against size and against compute, compute takes the form that was chosen for size.
    """
    groups: dict[float | None, list[LawRecord]] = {}
    for record in study.find(target, against):
        if against not in ONE_VARIABLE or record.law is None or record.law.kind in FORMS:
            groups.setdefault(record.budget, []).append(record)
    forms = {record.form for group in groups.values() for record in group if record.law is not None}
    first = of_one_form(study, target, "params") if against == "compute" else []
    form = first[0].form if first and first[0].form in forms else common_form(list(groups.values()))
    return [record for group in groups.values() for record in group if record.law is not None and record.form == form]


def floor_determined(record: LawRecord) -> bool:
    """Whether the rows tell a lower limit of the floor; also of a law that has none."""
    codes = {note.code for note in record.law.notes}
    return record.law.kind.floor is None or not codes & set(UNDETERMINED)


def headline_record(study: StudyLaws, target: str) -> LawRecord | None:
    """The law that a target is told by: against size at the largest budget, else the joint one, else in compute.

    The first that is determined; where none is, the first that there is; None where every fit was refused.
    """
    found = [records[-1] for against in FIRST if (records := of_one_form(study, target, against))]
    return next(filter(slope_known, found), found[0] if found else None)
