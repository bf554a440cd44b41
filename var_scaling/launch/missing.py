"""What of a launch is not there when it ends, and why: the one answer behind `launch`'s words and exit code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from var_scaling.launch.early_log import early_log, last_line
from var_scaling.launch.order import Launch
from var_scaling.launch.wishes import wished
from var_scaling.runs import layout
from var_scaling.runs.record import Record, read_record


@dataclass(frozen=True)
class Missing:
    """One work that was asked for and is not finished."""

    work: str  # its folder below the runs folder
    state: str
    why: str
    next: str  # the command that goes on with it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def what_is_missing(launch: Launch, kept_back: str | None = None, submitted: Collection[str] = ()) -> list[Missing]:
    """Every work that a launch was asked for, works at or left out, and that is neither finished nor `submitted`.

    Args:
        launch: what was asked for.
        kept_back: why the launcher did not start what is left, where it says so.
        submitted: works that a queue has now; they are for `status` to follow.
    """
    runs, sweep = launch.plan.runs, launch.order.name
    trials = {t.work.folder: t for t in launch.plan.trials}
    left_out = [folder for folder, _ in launch.skipped]
    stages = [job.work.folder for job in launch.jobs if job.work.kind != "trial"]
    asked = [*stages, *(job.work.folder for job in launch.jobs if job.work.kind == "trial"), *left_out]
    records: dict[str, Record] = {}
    for folder in asked:
        trial = trials.get(folder)
        budgets = trial.spent if trial else ()
        evaluations = [e.name for e in trial.works.evaluations] if trial else ()
        if trial is None or launch.order.first_budget_only:
            budgets, evaluations = budgets[:1], ()
        known = trial.record if trial and folder in left_out else None  # it was asked of the scheduler, once for all
        records[folder] = known or read_record(runs, folder, budgets, evaluations)
    found = []
    for folder in asked:
        if records[folder].state == "finished" or folder in submitted:
            continue
        needs = [stage.folder for stage in trials[folder].works.stages] if folder in trials else ()
        why, command = _reason(launch, folder, records, needs, kept_back)
        found.append(Missing(folder, records[folder].state, why, command.replace("SWEEP", sweep)))
    return found


def _reason(
    launch: Launch, folder: str, records: dict[str, Record], needs: Sequence[str], kept_back: str | None
) -> tuple[str, str]:
    record, name = records[folder], Path(folder).name
    again = "launch again"
    if record.state == "failed":
        found = failure("SWEEP", folder, record)
        return found.why, found.next
    if record.state == "unknown":
        return (
            f"held by {record.holder}, of which nobody here can say whether it lives",
            f"var-sweep retry SWEEP {name} --take-over, where you know that it does not",
        )
    if record.state == "running":
        return f"another launch runs it ({record.holder})", "var-sweep watch SWEEP"
    broken = [need for need in needs if need in records and records[need].state != "finished"]
    if broken and record.state == "new":
        return f"its stage {broken[0]} is not there ({records[broken[0]].state})", f"{again} when that is mended"
    if wished(launch.folder, folder):
        return "cancelled from another shell", again
    log = early_log(launch.plan.runs, folder)
    if log and log.is_relative_to(launch.folder) and record.state != "interrupted" and (said := last_line(log)):
        return f"its worker left before it began: {said}", f"var-sweep logs {name}"
    if kept_back:
        return kept_back, again
    if record.state == "interrupted":
        return (
            f"its worker was killed ({record.holder}), often for want of memory; its last checkpoint stays",
            again,
        )
    if record.state == "stopped":
        return record.message or "it was asked to save and stop", again
    return "it was not started", f"{again}; var-sweep status SWEEP says what waits and why"


def failure(sweep: str, work: str, record: Record) -> Missing:
    """A failed stage or trial, and the command that deals with its cause."""
    words = f"{record.cause}: {record.message}" + (f" [{record.place}]" if record.place else "")
    command = _way_out(record.cause or "?", Path(work).name, not layout.is_trial(work))
    return Missing(work, "failed", words, command.replace("SWEEP", sweep))


def _way_out(cause: str, name: str, stage: bool) -> str:
    if stage:
        return f"var-sweep logs {name}, then launch again"
    if cause == "diverged":
        return f"it would diverge again: change its config, which makes a new trial (var-sweep logs {name})"
    if cause in ("out-of-gpu-memory", "out-of-host-memory"):
        return f"var-sweep retry SWEEP cause={cause} --set execution.micro_batch=..."
    return f"var-sweep logs {name}, then var-sweep retry SWEEP cause={cause.replace(' ', chr(92) + ' ')}"


def missing_text(missing: Iterable[Missing]) -> str:
    """What is missing, grouped by its reason, each with an example and the command that goes on."""
    groups: dict[tuple[str, str], list[Missing]] = {}
    for each in missing:
        reason = each.why.replace(Path(each.work).name, "...")
        groups.setdefault((each.state, reason), []).append(each)
    lines = []
    for (state, _), group in groups.items():
        first = group[0]
        kind = "" if layout.is_trial(first.work) else "stage "
        lines.append(f"{len(group)} x {kind}{state}: {first.why}")
        lines.append(f"    e.g. {first.work}; {first.next}")
    return "\n".join(lines)
