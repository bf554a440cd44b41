"""What is on disk about one work: read, never written. `plan`, `status` and the launchers see only this."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from var_scaling.runs import holders, layout, store

if TYPE_CHECKING:  # a worker starts without pydantic: it only looks at folders
    from var_scaling.planning.works import Work

State = Literal["new", "running", "unknown", "interrupted", "stopped", "finished", "failed"]

# Ends that say nothing against the work itself: the next launch goes on with it.
RESUMABLE_CAUSES = frozenset({"stopped", "finished", "preempted", "time-limit", "node"})
FRUITLESS_LIMIT = 3  # attempts in a row that were killed and gained nothing


@dataclass(frozen=True)
class Record:
    """One work folder at one moment."""

    state: State
    attempts: int = 0
    cause: str | None = None  # of the last attempt that ended
    message: str | None = None
    place: str | None = None
    holder: holders.Holder | None = None
    done: float = 0.0  # of the last attempt, in images, as it said itself
    total: float = 0.0
    what: str = ""
    rows: tuple[int, ...] = ()  # budgets that are trained, in images spent
    missing_evaluations: int = 0

    @property
    def runnable(self) -> bool:
        """Whether a launch should start it (a failed one needs `retry`)."""
        return self.state in ("new", "interrupted", "stopped")


def read_record(
    runs: Path,
    work: Work | str,
    budgets: Sequence[int] = (),
    evaluations: Sequence[str] = (),
    ask_scheduler: holders.AskScheduler | None = None,
) -> Record:
    """The record of a stage or trial.

    Args:
        runs: the runs folder.
        work: the work, or its folder below `runs`.
        budgets: images spent that are asked of a trial (ignored for a stage).
        evaluations: file names that are asked in each budget's `evaluations/`.
        ask_scheduler: answers for a scheduler id; see `holders.life`.
    """
    name = work if isinstance(work, str) else work.folder
    folder = runs / name
    if not folder.is_dir():
        return Record("new")
    rows: tuple[int, ...] = ()
    missing = 0
    if layout.has_budgets(name):
        rows = tuple(sorted(int(name) for name in _names(layout.budgets(folder)) if name.isdecimal()))
        done = set(rows)
        for budget in budgets:
            if budget in done and evaluations:
                missing += len(set(evaluations) - _names(layout.evaluations(layout.budget(folder, budget))))
        finished = bool(budgets) and done.issuperset(budgets) and not missing
    else:
        finished = layout.result(folder).exists()
    numbers = store.attempt_numbers(folder)
    if finished:
        return Record("finished", len(numbers), rows=rows)
    if not numbers:
        return Record("new", rows=rows, missing_evaluations=missing)
    return _of_last_attempt(folder, numbers, rows, missing, ask_scheduler)


def nothing_missing(folder: Path) -> bool:
    """Whether everything that any study asks of a work folder is there."""
    if not layout.has_budgets(folder):
        return layout.result(folder).is_dir()
    requests = [store.read_json(path) for path in layout.all_asked(folder)]
    if not requests:
        return False
    for request in requests:
        for budget in request["budgets"]:
            here = layout.budget(folder, budget)
            names = _names(here)
            if layout.ROW not in names or (request["samples_grid"] != "off" and layout.SAMPLES not in names):
                return False
            if {e["name"] for e in request["evaluations"]} - _names(layout.evaluations(here)):
                return False
    return True


def _of_last_attempt(
    folder: Path,
    numbers: list[int],
    rows: tuple[int, ...],
    missing: int,
    ask_scheduler: holders.AskScheduler | None,
) -> Record:
    attempt = layout.attempt(folder, numbers[-1])
    progress: dict[str, Any] = store.read_json(layout.progress(attempt)) or {}
    end: dict[str, Any] | None = store.read_json(layout.end(attempt))
    holder = store.read_holder(folder, numbers[-1])
    state: State
    if end is None:
        life = holders.life(holder, ask_scheduler) if holder else "unknown"
        state = {"alive": "running", "unknown": "unknown", "dead": "interrupted"}[life]  # type: ignore[assignment]
    else:
        state = "stopped" if end["cause"] in RESUMABLE_CAUSES else "failed"
    cause = end["cause"] if end else None
    message = end.get("message") if end else None
    if (state == "interrupted" or cause in ("preempted", "time-limit")) and _fruitless(folder, numbers):
        state, cause = "failed", "killed without progress"
        message = f"the last {FRUITLESS_LIMIT} attempts were killed before their first checkpoint"
    return Record(
        state,
        len(numbers),
        cause,
        message,
        end.get("place") if end else None,
        holder,
        float(progress.get("done", 0)),
        float(progress.get("total", 0)),
        str(progress.get("what", "")),
        rows,
        missing,
    )


def _fruitless(folder: Path, numbers: list[int]) -> bool:
    return fruitless_attempts(folder, numbers) >= FRUITLESS_LIMIT


def fruitless_attempts(folder: Path, numbers: Sequence[int], launch: str | None = None) -> int:
    """How many of the last attempts were killed or sent away without a gain, of all or of those of one launch."""
    count = 0
    for number in reversed(numbers):
        attempt = layout.attempt(folder, number)
        end = store.read_json(layout.end(attempt))
        if (end and end["cause"] not in ("preempted", "time-limit")) or gained(attempt):
            break
        if launch and (store.read_json(layout.claim(attempt)) or {}).get("launch") != launch:
            break
        count += 1
    return count


def gained(attempt: Path) -> bool:
    """Whether an attempt left something durable: a checkpoint, or a budget that was published."""
    if _names(layout.checkpoints(attempt)):
        return True
    try:
        text = layout.journal(attempt).read_text(errors="replace", encoding="utf-8")
    except OSError:
        return False
    return '"event": "checkpoint"' in text or '"event": "budget"' in text


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
