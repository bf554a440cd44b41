"""What a study's fits leave: one record a law, or the refusal in its place, and all of them with what they rest on."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from analysis.errors import CannotFit, Note
from analysis.laws.backtest import Backtest
from analysis.laws.form import Form
from analysis.laws.isoflop import IsoFlop
from analysis.laws.law import Law
from analysis.rows.columns import Columns
from analysis.rows.falls import FallCheck
from analysis.study.collapse import Collapse
from analysis.study.trajectories import Trajectories

LEVEL = 0.95


@dataclass(frozen=True)
class LawRecord:
    """One law that was asked for, or the refusal in its place.

    Attributes:
        target: column that was fitted.
        against: "params", "data" (of a table that knows nothing else), "compute" (the frontier of finished budgets),
            "compute, trajectories" (the frontier of unfinished ones), "params, data", "params, data, epochs" or "loss"
            (FID of one family).
        budget: the budget that its rows share; None where the law spans budgets.
        form: "power", "power + offset", "power + fixed offset ...", "saturating", "chinchilla", "tied exponents",
            "coupled", "repeated data" or "FID given loss, FAMILY".
        law: the fit, or None.
        refusal: why there is none.
        rows: what was fitted: columns x (and data), y, run (and row, of a CSV that names no runs); one line a row.
        backtests: hidden points, predicted.
        backtest_refusal: why there are none.
    """

    target: str
    against: str
    budget: float | None
    form: str
    law: Law | None
    refusal: CannotFit | None
    rows: pd.DataFrame = field(repr=False)
    backtests: tuple[Backtest, ...] = ()
    backtest_refusal: CannotFit | None = None

    @property
    def name(self) -> str:
        """Stable and unique within a study."""
        budget = "" if self.budget is None else f" at {self.budget:g}"
        return f"{self.target} against {self.against}{budget}, {self.form}"

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        result = {
            "name": self.name,
            "target": self.target,
            "against": self.against,
            "budget": self.budget,
            "form": self.form,
            "refused": self.refusal.as_dict() if self.refusal else None,
            "backtests": [test.as_dict() for test in self.backtests],
            "backtest_refused": self.backtest_refusal.as_dict() if self.backtest_refusal else None,
        }
        if self.law is not None:
            result |= self.law.as_dict(level=LEVEL)
            result["correlation"] = getattr(self.law, "correlation", None)  # NaN is written as null
        return result


@dataclass(frozen=True)
class StudyLaws:
    """Everything that fit-laws found.

    Attributes:
        name: of the study or file.
        source: where the rows came from.
        columns: which column played which part.
        conventions: how N, D, C and the losses were counted, in words.
        records: one a law, in a stable order.
        falls: whether losses fall with size and with budget, as the rows say.
        notes: about the rows as a whole.
        rows: the table that was fitted.
        sensitivity: name -> table of the same fit with something left out or counted differently.
        sensitivity_of: the law that `sensitivity` repeats, in words.
        collapse: normalised training curves, where the rows come from run folders.
        trajectories: trunk curves against compute and their frontier, never mixed with finished budgets.
        isoflop: minima over size at equal compute of the first target, or why there are none.
    """

    name: str
    source: str
    columns: Columns
    conventions: dict[str, str]
    records: tuple[LawRecord, ...]
    falls: tuple[FallCheck, ...]
    notes: tuple[Note, ...]
    rows: pd.DataFrame = field(repr=False)
    sensitivity: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    sensitivity_of: str = ""
    collapse: Collapse | None = field(default=None, repr=False)
    trajectories: Trajectories | None = field(default=None, repr=False)
    isoflop: IsoFlop | CannotFit | None = field(default=None, repr=False)

    def find(
        self,
        target: str | None = None,
        against: str | None = None,
        form: Form | str | None = None,
        budget: float | None = None,
    ) -> list[LawRecord]:
        """Records that match everything given."""
        return [
            record
            for record in self.records
            if (target is None or record.target == target)
            and (against is None or record.against == against)
            and (form is None or record.form == (form.name if isinstance(form, Form) else form))
            and (budget is None or record.budget == budget)
        ]

    def other_sentences(self) -> list[str]:
        """The collapse of training curves and the isoFLOP minima, each in a sentence for people."""
        return ([self.collapse.sentence] if self.collapse is not None else []) + self.isoflop_sentences()

    def isoflop_sentences(self) -> list[str]:
        """The isoFLOP minima, the optimal size first, or why there are none; empty where nobody would look for them."""
        sentences = []
        if isinstance(self.isoflop, CannotFit):
            sentences.append(f"no isoFLOP minima ({self.isoflop.code}): {self.isoflop.sentence}")
        if isinstance(self.isoflop, IsoFlop):
            for name, law in (("N*", self.isoflop.optimum), ("D*", self.isoflop.data_optimum)):
                low, high = law.interval("exponent", LEVEL)
                sentences.append(
                    f"isoFLOP ({len(self.isoflop.minima)} minima): {name} = {law.coefficient:.3g} C^{law.exponent:.4f} "
                    f"[{low:.3g} to {high:.3g}]"
                )
            test = self.isoflop.held_out
            if test is not None:
                sentences.append(
                    f"isoFLOP, largest budget predicted from the others: N* found {test.measured:.3g}, predicted "
                    f"{test.predicted:.3g} [{test.low:.3g} to {test.high:.3g}], {100 * test.error:+.2g} %: "
                    f"{'inside' if test.inside else 'outside'} its interval"
                )
        return sentences

    @property
    def fitted(self) -> list[LawRecord]:
        """Records that hold a law."""
        return [record for record in self.records if record.law is not None]

    @property
    def refused(self) -> list[LawRecord]:
        """Records that hold a refusal."""
        return [record for record in self.records if record.law is None]

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return {
            "study": self.name,
            "source": self.source,
            "rows": len(self.rows),
            "conventions": self.conventions,
            "columns": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.columns.__dict__.items()
            },
            "notes": [note.as_dict() for note in self.notes],
            "falls": [
                {
                    "target": check.target,
                    "along": check.along,
                    "holds": check.holds,
                    "pairs": check.pairs,
                    "worst": check.worst,
                    "sentence": check.sentence,
                }
                for check in self.falls
            ],
            "laws": [record.as_dict() for record in self.records],
            "sensitivity_of": self.sensitivity_of,
            "sensitivity": {name: table.to_dict("records") for name, table in self.sensitivity.items()},
            "collapse": None if self.collapse is None else self.collapse.as_dict(),
            "isoflop": _isoflop_dict(self.isoflop),
        }


def _isoflop_dict(found: IsoFlop | CannotFit | None) -> dict | None:
    if found is None or isinstance(found, CannotFit):
        return None if found is None else {"refused": found.as_dict()}
    return found.as_dict(LEVEL)
