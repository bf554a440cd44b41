"""What a study is read for first: of each quantity one law, of one form over all budgets, and what is determined."""

from __future__ import annotations

from analysis.study.comparison import by_budget, figure_form, target_groups
from analysis.study.reading import slope_known
from analysis.study.record import LawRecord, StudyLaws

FIRST = ("params", "data", "params, data", "params, data, epochs", "compute")  # what a quantity's law is against
UNDETERMINED = ("flat_profile", "at_bound")


def of_one_form(study: StudyLaws, target: str, against: str) -> list[LawRecord]:
    """The laws of one target against one thing, a budget each, all of the form that its figure draws; empty of none.

    Of a target with laws against size and against compute, compute takes the form that was chosen for size, where it
    could be fitted: the two exponents stand side by side.
    """
    groups = target_groups(study, against)
    beside = next((targets for targets in groups.values() if target in targets), [])
    records = [record for found in by_budget(study, target, against).values() for record in found]
    forms = {record.form for record in records if record.law is not None}
    first = of_one_form(study, target, "params") if against == "compute" else []
    form = first[0].form if first and first[0].form in forms else figure_form(study, beside, against)
    return [record for record in records if record.law is not None and record.form == form]


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
