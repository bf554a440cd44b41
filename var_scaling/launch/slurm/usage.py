"""What was asked of SLURM against what was used, for each class of resources: the next profile can ask for less."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from var_scaling.launch.slurm.arrays import Array
from var_scaling.launch.slurm.resources import Resources
from var_scaling.runs import slurm_task

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Usage:
    """One class over all arrays that asked for it."""

    resources: Resources
    tasks: int  # that have run
    seconds: float  # of the longest run; a requeued task counts by its last one
    memory_bytes: int  # at the peak of the largest process; 0 where the accounting does not say

    @property
    def asked_bytes(self) -> int:
        return self.resources.memory_gb * self.resources.tasks * 2**30

    def as_dict(self) -> dict[str, object]:
        return {
            **vars(self.resources),
            "ran": self.tasks,
            "asked_seconds": 60 * self.resources.minutes,
            "longest_seconds": self.seconds,
            "asked_bytes": self.asked_bytes,
            "peak_bytes": self.memory_bytes,
        }


def read_usage(arrays: Sequence[Array]) -> list[Usage]:
    """One question to sacct, bounded by the oldest array's time."""
    # A stage and a trial that ask for the same are one class here.
    known = {array.job: replace(Resources(**array.resources), level=0) for array in arrays if array.job}
    if not known:
        return []
    since = min(array.since for array in arrays).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    fields = "jobid,elapsedraw,maxrss,start"
    done = slurm_task.run("sacct", "-n", "-P", "-S", since, "-j", ",".join(map(str, known)), "-o", fields, seconds=60)
    return parse_usage(done.stdout, known) if done.returncode == 0 else []


def parse_usage(text: str, known: dict[str, Resources]) -> list[Usage]:
    """The lines of `sacct -P -o jobid,elapsedraw,maxrss,start`: a job's has the time, its steps' have the memory."""
    seconds: dict[str, float] = {}
    memory: dict[str, int] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != 4 or parts[3] in ("", "None", "Unknown") or not re.fullmatch(r"\d+(_\d+)?(\.\w+)?", parts[0]):
            continue
        task, _, step = parts[0].partition(".")
        if not step and parts[1].isdecimal():
            seconds[task] = float(parts[1])
        if found := re.fullmatch(r"([\d.]+)([KMGT]?)", parts[2]):
            memory[task] = max(memory.get(task, 0), int(float(found[1]) * UNITS[found[2]]))
    classes: dict[Resources, list[str]] = {}
    for task in {**seconds, **memory}:
        if (job := task.partition("_")[0]) in known:
            classes.setdefault(known[job], []).append(task)
    return [
        Usage(each, len(tasks), max(seconds.get(t, 0.0) for t in tasks), max(memory.get(t, 0) for t in tasks))
        for each, tasks in sorted(classes.items())
    ]
