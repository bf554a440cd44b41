"""A sweep on disk: how it was launched last, what a new plan leaves out of it, and a wish to stop what runs of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from var_scaling.launch.wishes import leave_wishes
from var_scaling.planning.plan import Plan
from var_scaling.runs import layout, store


@dataclass(frozen=True)
class LastLaunch:
    """How a sweep was launched last."""

    launcher: str = "local"
    profile: Path | None = None
    how: Mapping[str, Any] = field(default_factory=dict)


def last_launch(sweep: Path) -> LastLaunch:
    """What a sweep's newest launch wrote down."""
    for folder in reversed(layout.launches(sweep)):
        if (note := store.read_json(layout.launch_note(folder))) is not None:
            profile = layout.profile(folder)
            return LastLaunch(note.get("launcher", "local"), profile if profile.exists() else None, note.get("how", {}))
    return LastLaunch()


@dataclass(frozen=True)
class Leaving:
    """What a sweep has had so far and a plan of the same name does not ask for."""

    rows: int  # that are trained
    of: int  # rows that it has
    unfinished: int  # trials without all their rows: if they run, they run on

    def __str__(self) -> str:
        parts = []
        if self.rows:
            parts.append(
                f"{self.rows} of its {self.of} rows are no longer in the study (they stay on disk, but status, "
                "fit-laws and the rest leave them out)"
            )
        if self.unfinished:
            parts.append(
                f"{self.unfinished} unfinished trials are no longer in the study; what runs of them runs on until "
                "`var-sweep cancel`"
            )
        return "; ".join(parts)


def leaving(plan: Plan) -> Leaving:
    """Compare a plan with what was launched last under its name."""
    known = store.read_json(layout.study(layout.sweep(plan.runs, plan.study.name))) or {"trials": []}
    asked = {Path(t.work.folder).name: set(t.spent) for t in plan.trials}
    rows = of = unfinished = 0
    for trial in known["trials"]:
        folder = layout.trial(plan.runs, trial["folder"])
        budgets = {budget["images"] for budget in trial["budgets"]}
        have = {images for images in budgets if layout.row(folder, images).exists()}
        of += len(have)
        rows += len(have - asked.get(trial["folder"], set()))
        unfinished += trial["folder"] not in asked and have != budgets and bool(store.attempt_numbers(folder))
    return Leaving(rows, of, unfinished)


def ask_to_withdraw(sweep: Path, works: Sequence[str]) -> dict[str, str]:
    """Leave the wish to cancel where launchers that stay look for it (SLURM's queue is asked itself).

    Returns:
        Launches whose folder does not take it, with the reason.
    """
    failed = {}
    for launch in layout.launches(sweep):
        if (store.read_json(layout.launch_note(launch)) or {}).get("launcher") in ("local", "ray"):
            try:
                leave_wishes(launch, works)
            except OSError as error:
                why = f"{error.strerror or error}: what waits in that launch goes on; its user can cancel it"
                failed[f"launch {launch.name}"] = why
    return failed


def free_bytes(runs: Path) -> int:
    """Free space where the runs folder is, or will be."""
    while not runs.exists():
        runs = runs.parent
    return shutil.disk_usage(runs).free
