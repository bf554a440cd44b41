"""What a worker knows of the SLURM task it runs in, and may ask of it. Standard library only.

An array task is always named `<array>_<index>`: the last task's plain id *is* the array's, so requeueing a plain id
would send every task of the array back (measured: 4 of 4).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

COMMAND_SECONDS = 20.0

# Every state of squeue's manual page (22.05 to 24.11). What is not here is "unknown", which is assumed alive.
STATES: Mapping[str, str] = {
    "PENDING": "waiting",
    "CONFIGURING": "waiting",
    "REQUEUED": "waiting",
    "REQUEUE_FED": "waiting",
    "REQUEUE_HOLD": "waiting",
    "SPECIAL_EXIT": "waiting",
    "RESV_DEL_HOLD": "waiting",
    "RUNNING": "running",
    "COMPLETING": "running",
    "STAGE_OUT": "running",
    "SIGNALING": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
    "RESIZING": "running",
    "REVOKED": "gone",
    "BOOT_FAIL": "gone",
    "CANCELLED": "gone",
    "COMPLETED": "gone",
    "DEADLINE": "gone",
    "FAILED": "gone",
    "LAUNCH_FAILED": "gone",
    "NODE_FAIL": "gone",
    "OUT_OF_MEMORY": "gone",
    "PREEMPTED": "gone",
    "RECONFIG_FAIL": "gone",
    "TIMEOUT": "gone",
}


@dataclass(frozen=True)
class SlurmTask:
    """The task of this process."""

    job: str  # "52_7", or "52" for a job that is no array
    restarts: int
    rank: int
    node: str
    step_tasks: int = 1  # processes that srun started beside one another, this one included

    @property
    def holder(self) -> str:
        """How a claim names it: a requeued job keeps its id, so the run's number belongs to the name."""
        return f"slurm:{self.job}" + (f" run {self.restarts + 1}" if self.restarts else "")

    def seconds_left(self) -> float | None:
        """Until the time limit; None where SLURM does not say."""
        if end := os.environ.get("SLURM_JOB_END_TIME"):
            return float(end) - time.time()
        text = _ask("squeue", "-h", "-j", self.job, "-o", "%L")
        return None if text is None else parse_span(text.strip())

    def was_cancelled(self) -> bool:
        """Whether somebody took the job back with `scancel`, so that asking for a requeue would undo their wish.

        SLURM (22.05) says COMPLETING then, as it does at the end of the time limit; it says RUNNING during the grace of
        a preemption and PENDING after a requeue. So the caller asks this only where time is left.
        """
        text = _ask("scontrol", "show", "job", "-o", self.job)
        return text is not None and ("JobState=COMPLETING" in text or "JobState=CANCELLED" in text)

    def requeue(self) -> str:
        """Ask for this task to run again later; returns what SLURM said, empty where it said nothing."""
        done = _run("scontrol", "requeue", self.job)
        return "no answer" if done is None else done.stderr.strip()

    def leave_node(self) -> None:
        """Keep what is pending of this array off this node."""
        array = self.job.partition("_")[0]
        listed = _ask("squeue", "-h", "-j", array, "-o", "%x") or ""
        nodes = {n for line in listed.split() for n in line.split(",") if n not in ("", "(null)")}
        _run("scontrol", "update", f"JobId={array}", f"ExcNodeList={','.join(sorted(nodes | {self.node}))}")


def this_task() -> SlurmTask | None:
    """The SLURM task that this process is part of, or None."""
    env = os.environ
    if "SLURM_JOB_ID" not in env:
        return None
    array, index = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return SlurmTask(
        f"{array}_{index}" if array else env["SLURM_JOB_ID"],
        int(env.get("SLURM_RESTART_COUNT", 0)),
        int(env.get("SLURM_PROCID", 0)),
        env.get("SLURMD_NODENAME", ""),
        int(env.get("SLURM_STEP_NUM_TASKS", 1)),
    )


def parse_holder(scheduler: str) -> tuple[str, int] | None:
    """(job, restarts) of a claim's scheduler name, or None where it is not SLURM's."""
    if not scheduler.startswith("slurm:"):
        return None
    job, _, run = scheduler.removeprefix("slurm:").partition(" run ")
    return job, int(run) - 1 if run else 0


def life(scheduler: str) -> Literal["alive", "dead", "unknown"]:
    """Whether the SLURM task that holds a claim lives, asked from another task. Unknown is not dead."""
    parsed = parse_holder(scheduler)
    done = _run("squeue", "-h", "-r", "-t", "all", "-j", parsed[0], "-o", "%T") if parsed else None
    if done is None:
        return "unknown"
    if done.returncode:
        return "dead" if "Invalid job id" in done.stderr else "unknown"
    state = STATES.get(done.stdout.strip(), "unknown") if done.stdout.strip() else "gone"
    return "dead" if state in ("gone", "waiting") else "alive" if state == "running" else "unknown"


def parse_span(text: str) -> float | None:
    """SLURM's `days-hours:minutes:seconds` in seconds; None for UNLIMITED, INVALID and the like."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(p.isdecimal() for p in parts) or (dash and not days.isdecimal()):
        return None
    numbers = [int(p) for p in parts]
    if dash:  # days-hours[:minutes[:seconds]]
        numbers += [0] * (3 - len(numbers))
    elif len(numbers) == 1:  # minutes alone
        numbers = [0, numbers[0], 0]
    while len(numbers) < 3:
        numbers.insert(0, 0)
    return float(int(days or 0) * 86_400 + numbers[0] * 3_600 + numbers[1] * 60 + numbers[2])


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _ask(*command: str) -> str | None:
    done = _run(*command)
    return done.stdout if done and done.returncode == 0 else None
