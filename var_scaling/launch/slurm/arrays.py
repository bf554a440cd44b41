"""What was handed to SLURM, on disk: one intent a job array, written before sbatch is called and completed after it.

    <launch>/slurm/<token>.json     sweep, folders in the order of the indices, resources, time; job id once it is known
    <launch>/slurm/<token>.list     the same folders, a line each, for the script
    <launch>/slurm/<id>_<i>_0_log.out   what a task printed before its attempt had a log

An intent without an id is one whose answer got lost: its token is in the job's name, so the queue is asked for it.
"""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from var_scaling.launch.slurm import scheduler
from var_scaling.runs import holders, layout, store


@dataclass(frozen=True)
class Array:
    """One job array, submitted or about to be."""

    path: Path
    token: str
    name: str  # of the job; ends in the token
    folders: tuple[str, ...]  # of works below the runs folder; index i of the array runs folders[i]
    resources: Mapping[str, Any]
    time: str  # of the intent, ISO
    held: bool = False  # queued on hold, until the launch's pilots have passed
    job: str | None = None
    refused: str | None = None

    @property
    def since(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.time) - datetime.timedelta(minutes=1)

    @property
    def listing(self) -> Path:
        return layout.array_listing(self.path)

    def task(self, folder: str) -> str:
        return f"{self.job}_{self.folders.index(folder)}"

    def save(self, **changes: Any) -> Array:
        """Write it, with changes."""
        new = replace(self, **changes)
        store.write_json(new.path, {k: v for k, v in asdict(new).items() if k != "path"})
        return new


def new_array(
    launch: Path, sweep: str, folders: Sequence[str], resources: Mapping[str, Any], held: bool = False
) -> Array:
    """Write down the intent to submit an array."""
    layout.slurm(launch).mkdir(exist_ok=True)
    token = uuid.uuid4().hex[:10]
    now = datetime.datetime.now(datetime.UTC).isoformat()
    array = Array(layout.array(launch, token), token, f"{sweep}-{token}", tuple(folders), resources, now, held)
    array.listing.write_text("".join(f"{name}\n" for name in folders), encoding="utf-8")
    return array.save()


def read_arrays(root: Path) -> list[Array]:
    """Every array below a launch, a sweep or the runs folder that was not refused, the oldest first."""
    found = []
    for path in layout.arrays_below(root):
        value = store.read_json(path)
        if value and not value.get("refused"):
            found.append(Array(path, **{**value, "folders": tuple(value["folders"])}))
    return sorted(found, key=lambda a: a.time)


@dataclass(frozen=True)
class Queued:
    """Where a work is in SLURM's queue, by its newest task that has not left it (or else its newest)."""

    array: Array
    job: str | None
    state: str
    queue: str  # as protocol.Queue
    reason: str = ""

    @property
    def why(self) -> str:
        """Why it waits, for a person."""
        if self.array.held and self.reason == "JobHeldUser":
            return "held until the pilots have passed their first checkpoint"
        return scheduler.translate(self.reason)

    def __str__(self) -> str:
        if self.queue == "waiting":
            return f"{self.job} waiting: {self.why}"
        return f"{self.job} {self.state.lower()}"


def ask_once(runs: Path) -> holders.AskScheduler:
    """Whether holders in SLURM live: one question for all, asked when the first of them cannot be judged from here."""
    answer = functools.cache(lambda: look_up(read_arrays(runs))[1])
    return lambda holder: answer().life(holder)


def look_up(arrays: Sequence[Array], others: Sequence[str] = ()) -> tuple[dict[str, Queued], scheduler.Answer]:
    """Ask the queue once for all arrays (and for other jobs' ids); returns the state of each work folder."""
    nameless = [a.name for a in arrays if a.job is None]
    answer = scheduler.ask_queue([a.job for a in arrays if a.job] + list(others), nameless)
    by_name = {e.name: e.job.partition("_")[0] for e in answer.entries.values()}
    found: dict[str, Queued] = {}
    for array in arrays:
        job = array.job or by_name.get(array.name)
        for index, folder in enumerate(array.folders):
            task = f"{job}_{index}" if job else None
            entry = answer.find(task, array.name)
            if entry:
                new = Queued(array, task, entry.state, entry.queue, entry.reason)
            elif answer.silent is not None:
                new = Queued(array, task, "no answer from SLURM", "unknown")
            else:
                new = Queued(array, task, "left the queue" if job else "never submitted", "gone")
            if folder not in found or found[folder].queue == "gone" or new.queue != "gone":
                found[folder] = new
    return found, answer
