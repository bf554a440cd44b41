"""Following a launch: ask its launcher again and again, read what the works wrote, and show each view."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from var_scaling.launch.order import Launch
from var_scaling.launch.protocol import Launcher, Queue
from var_scaling.runs import layout, store
from var_scaling.runs.record import Record, read_record


@dataclass(frozen=True)
class View:
    """A launch at one moment, for whoever draws it."""

    queue: Mapping[str, Queue]
    records: Mapping[str, Record]


def follow(launch: Launch, launcher: Launcher, draw: Callable[[View], None], poll_seconds: float = 0.2) -> View:
    """Ask the launcher until nothing is queued or running, drawing each view; returns the last one."""
    runs = launch.plan.runs
    trials = {t.work.folder: t for t in launch.plan.trials}
    known: dict[str, tuple[Queue | None, Record]] = {}
    while True:
        queue = launcher.states()
        records = {}
        for job in launch.jobs:
            folder = job.work.folder
            before = known.get(folder)
            if before and before[0] == queue.get(folder) != "running":  # it waits, or is over: thousands may
                records[folder] = before[1]
                continue
            trial = trials.get(folder)
            record = read_record(
                runs,
                folder,
                _asked_budgets(runs / folder, launch.plan.study.name) if trial else (),
                [e.name for e in trial.works.evaluations] if trial else (),
            )
            records[folder] = record
            known[folder] = queue.get(folder), record
        view = View(queue, records)
        draw(view)
        if all(state == "gone" for state in queue.values()):
            return view
        time.sleep(poll_seconds)


def _asked_budgets(folder: Path, study: str) -> tuple[int, ...]:
    asked = store.read_json(layout.asked(folder, study)) or {}
    return tuple(asked.get("budgets", ()))
