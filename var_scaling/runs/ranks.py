"""Which of a trial's processes this one is, and where they meet. Standard library only.

Rank 0 holds the claim and runs the trial; it opens a meeting by writing `ranks.json` into its attempt. The other ranks
are tasks of the same SLURM job step, or children of rank 0 where no scheduler starts them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from var_scaling.runs import store
from var_scaling.runs.slurm_task import SlurmTask, this_task
from var_scaling.runs.store import Attempt

RANK = "VAR_SCALING_RANK"  # set by rank 0 for the processes that it starts
ATTEMPT = "VAR_SCALING_ATTEMPT"
ARRIVAL_SECONDS = 300.0  # for rank 0 to claim, and for every rank to import torch and arrive


@dataclass(frozen=True)
class Meeting:
    """Where the ranks find each other."""

    address: str
    port: int
    size: int


def this_rank() -> int:
    """0 for the process that runs the trial."""
    task = this_task()
    return int(os.environ.get(RANK, task.rank if task else 0))


def local_rank() -> int:
    """This process's number on its node, which is the number of its GPU."""
    task = this_task()
    return int(os.environ.get(RANK) or (task.local_rank if task else 0))


def open_meeting(attempt: Attempt, meeting: Meeting, started_by_scheduler: bool) -> tuple[subprocess.Popen[bytes], ...]:
    """Tell the other ranks where to come, and start them where no scheduler did.

    Returns:
        The processes started here.
    """
    store.write_json(attempt.folder / "ranks.json", vars(meeting))
    if started_by_scheduler:
        return ()
    return tuple(
        subprocess.Popen(sys.orig_argv, env={**os.environ, RANK: str(rank), ATTEMPT: str(attempt.number)})
        for rank in range(1, meeting.size)
    )


def find_meeting(folder: Path, done: Callable[[Path], bool]) -> tuple[Attempt, Meeting] | None:
    """Rank 0's attempt and where it waits; None where all is `done`, it ended, or did not come."""
    task = this_task()
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while time.monotonic() < deadline and not done(folder):
        attempt = _attempt_of_rank_0(folder, task)
        if attempt is not None:
            if (attempt.folder / "end.json").exists():
                return None
            if place := store.read_json(attempt.folder / "ranks.json"):
                return attempt, Meeting(**place)
        time.sleep(0.1)
    return None


def _attempt_of_rank_0(folder: Path, task: SlurmTask | None) -> Attempt | None:
    numbers = store.attempt_numbers(folder)
    number = int(os.environ.get(ATTEMPT, numbers[-1] if numbers else -1))
    holder = store.read_holder(folder, number) if number >= 0 else None
    if holder is None or (ATTEMPT not in os.environ and (task is None or holder.scheduler != task.holder)):
        return None
    return Attempt(folder, number, holder)
