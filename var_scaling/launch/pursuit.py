"""The rounds of a study that pursues a loss: what was decided and why, on disk, and where it stands.

    <sweep>/pursuit/000.json    what round 0 trains, what was known when that was decided, and why; never rewritten
    <sweep>/pursuit/001.json    ...; the last one of a pursuit that is over names its end and trains nothing

A decision is a function of the rows told before it, so a pursuit that is killed anywhere and launched again decides the
same: what stands on disk holds, the round that is open is trained to its end first, and then the next is asked for.
"""

from __future__ import annotations

import datetime
import json
import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from var_scaling.planning.question import Question
from var_scaling.runs import layout, store
from var_scaling.runs.record import read_record


@dataclass(frozen=True)
class Decision:
    """What one round trains, or that there is none.

    Attributes:
        number: of the round, from 0.
        chosen: labels of candidates.
        prices: FLOPs of each, beside those made and chosen before it.
        spent: FLOPs of all rounds before.
        rows: that were known.
        failed: candidates that were known to be lost, for their trial failed.
        value: the quantity at the point, as believed then; None where nothing was known.
        low: end of the 95 % interval of a new run there.
        high: the other end.
        expected: half-width over value that the rest of the sum is expected to leave.
        asked: what was pursued: quantity, params, images, interval, spend.
        reason: in a sentence.
        end: why the pursuit is over; None where it is not.
        time: when, ISO.
    """

    number: int
    chosen: tuple[str, ...]
    prices: tuple[float, ...]
    spent: float
    rows: int
    failed: int
    value: float | None
    low: float | None
    high: float | None
    expected: float | None
    asked: Mapping[str, Any]
    reason: str
    end: str | None = None
    time: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    @property
    def half_width(self) -> float | None:
        """Of the interval, over the value."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value

    @property
    def cost(self) -> float:
        """FLOPs of this round."""
        return sum(self.prices)


def read_decisions(sweep: Path) -> list[Decision]:
    """What was decided so far, in order."""
    found: list[Decision] = []
    while (value := store.read_json(layout.decision(sweep, len(found)))) is not None:
        value = {**value, "chosen": tuple(value["chosen"]), "prices": tuple(value["prices"])}
        found.append(Decision(**value))
    return found


def write_decision(sweep: Path, decision: Decision) -> Decision:
    """Write a decision unless that round is decided already; returns the one that holds.

    It appears whole and once: two launches that decide at a time end with the same one.
    """
    final = layout.decision(sweep, decision.number)
    final.parent.mkdir(parents=True, exist_ok=True)
    prepared = final.with_name(f".{uuid.uuid4().hex}")
    content = {**asdict(decision), "asked": dict(decision.asked)}
    store.write_bytes(prepared, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    try:
        os.link(prepared, final)
    except FileExistsError:
        pass
    finally:
        prepared.unlink()
    return read_decisions(sweep)[decision.number]


@dataclass(frozen=True)
class Standing:
    """Where a pursuit stands.

    Attributes:
        question: what is pursued.
        decisions: so far.
        told: of every candidate with a row, its loss; None of one whose trial failed.
        open: labels that were chosen and are neither trained nor failed.
    """

    question: Question
    decisions: tuple[Decision, ...]
    told: Mapping[str, float | None]
    open: tuple[str, ...]

    @property
    def over(self) -> Decision | None:
        """The decision that ended it, where it is over for what is asked now."""
        last = self.decisions[-1] if self.decisions else None
        return last if last and last.end and last.asked == asked(self.question) else None

    @property
    def spent(self) -> float:
        """FLOPs of all rounds that were decided."""
        return sum(decision.cost for decision in self.decisions)

    @property
    def chosen(self) -> dict[str, set[int]]:
        """Budgets that all rounds so far train, by trial's folder."""
        return chosen_of(self.decisions)


def chosen_of(decisions: Sequence[Decision]) -> dict[str, set[int]]:
    """Budgets by trial's folder."""
    found: dict[str, set[int]] = {}
    for decision in decisions:
        for label in decision.chosen:
            name, _, images = label.rpartition(" at ")
            found.setdefault(layout.trial_name(name), set()).add(int(images))
    return found


def asked(question: Question) -> dict[str, Any]:
    """What is pursued, as a decision keeps it: another interval or sum is another pursuit of the same rows."""
    pursue = question.pursue
    return {
        "quantity": pursue.quantity,
        "params": question.params,
        "images": question.images,
        "interval": pursue.interval,
        "spend": pursue.spend.train_flops,
    }


def standing(question: Question, runs: Path, sweep: Path) -> Standing:
    """Where a pursuit stands, from what is on disk. Writes nothing."""
    decisions = tuple(read_decisions(sweep))
    chosen = chosen_of(decisions)
    failed = {trial for trial, budgets in chosen.items() if _failed(runs, trial, budgets)}
    told: dict[str, float | None] = {}
    open_: list[str] = []
    for candidate in question.candidates:
        row = store.read_json(layout.row(runs / candidate.trial, candidate.images))
        if row is not None:
            loss = row.get(question.pursue.quantity)
            told[candidate.label] = float(loss) if isinstance(loss, (int, float)) else None
        elif candidate.trial in failed:  # its trunk failed, so no budget of it is worth asking for
            told[candidate.label] = None
        elif candidate.images in chosen.get(candidate.trial, ()):
            open_.append(candidate.label)
    return Standing(question, decisions, told, tuple(open_))


def _failed(runs: Path, trial: str, budgets: Collection[int]) -> bool:
    record = read_record(runs, trial, sorted(budgets))
    return record.state == "failed" and record.cause != "disk"  # a full disk is nobody's loss: it is tried again
