"""What a worker knows of the SLURM job it runs in, and may ask of it; how SLURM's commands are called.

Standard library only. Two things are told apart. A process may *run in* a job: whatever a batch script, srun or Ray
starts there, so it has ended when the job has. A worker may *be* a task of a job: of an array that our launcher has
submitted for this work. Only then is the job the worker's to requeue, and the step's rank a rank of the trial. No
variable of SLURM's tells the two apart, so the script that was submitted says it (`TASK`).

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

COMMAND_SECONDS = 30.0
WORKER_SECONDS = 20.0  # of a worker that is asked to leave, and has perhaps 30 left

# "<name of the array>:<task>": set by the script of an array, taken away by whoever starts workers beside one another.
# The name holds the array's token: ids come again when a cluster is set up anew.
TASK = "VAR_SCALING_TASK"

# What these commands read from a user's shell: filters that make an answer partial (SQUEUE_PARTITION), options that win
# over a script's (SBATCH_PARTITION), and what an enclosing job is (SLURM_RESTART_COUNT), which sbatch hands on.
_COMMANDS = ("SLURM", "SQUEUE", "SBATCH", "SCANCEL", "SACCT", "SACCTMGR", "SCONTROL", "SINFO", "SRUN", "SALLOC")
_VARIABLES = tuple(f"{name}_" for name in _COMMANDS)
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})  # which cluster, and as whom

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
    """The job of this process, or its task where the job is an array."""

    job: str  # "52_7", or "52" for a job that is no array
    restarts: int
    rank: int
    node: str
    step_tasks: int = 1  # processes that srun started beside one another, this one included
    local_rank: int = 0  # of those on this node
    name: str = ""  # of the array that our launcher has submitted; empty for any other job

    @property
    def holder(self) -> str:
        """How a claim names it: a requeued job keeps its id, so the run's number belongs to the name."""
        run = f" run {self.restarts + 1}" if self.restarts else ""
        return f"slurm:{self.job}{run}" + (f" named {self.name}" if self.name else "")

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
        return run("scontrol", "requeue", self.job, seconds=WORKER_SECONDS).stderr.strip()

    def leave_node(self) -> None:
        """Keep what is pending of this array off this node."""
        array = self.job.partition("_")[0]
        listed = _ask("squeue", "-h", "-j", array, "-o", "%x") or ""
        nodes = {n for line in listed.split() for n in line.split(",") if n not in ("", "(null)")}
        run("scontrol", "update", f"JobId={array}", f"ExcNodeList={','.join(sorted(nodes | {self.node}))}")


def this_job() -> SlurmTask | None:
    """The SLURM job that this process runs in, or None."""
    env = os.environ
    # A shell of salloc has the job's id but stays outside, and lives on when the allocation has ended.
    if "SLURM_JOB_ID" not in env or "SLURMD_NODENAME" not in env:
        return None
    array, index = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{index}" if array else env["SLURM_JOB_ID"]
    name, _, task = env.get(TASK, "").rpartition(":")
    return SlurmTask(
        job,
        int(env.get("SLURM_RESTART_COUNT", 0)),
        int(env.get("SLURM_PROCID", 0)),
        env["SLURMD_NODENAME"],
        int(env.get("SLURM_STEP_NUM_TASKS", 1)),
        int(env.get("SLURM_LOCALID", 0)),
        name if task == job else "",
    )


def this_task() -> SlurmTask | None:
    """The array task that this worker is, or None: no SLURM here, or a worker that somebody else's job merely holds."""
    job = this_job()
    return job if job and job.name else None


@dataclass(frozen=True)
class JobName:
    """How a claim names the job that its holder runs in."""

    job: str
    restarts: int
    name: str  # of one of our arrays, or empty


def parse_holder(scheduler: str) -> JobName | None:
    """The job of a claim's scheduler name, or None where it is not SLURM's."""
    if not scheduler.startswith("slurm:"):
        return None
    text, _, name = scheduler.removeprefix("slurm:").partition(" named ")
    job, _, run = text.partition(" run ")
    return JobName(job, int(run) - 1 if run else 0, name)


def life(scheduler: str) -> Literal["alive", "dead", "unknown"]:
    """Whether the SLURM task that holds a claim lives, asked from another task. Unknown is not dead."""
    holder = parse_holder(scheduler)
    if holder is None:
        return "unknown"
    done = run("squeue", "-h", "-r", "-t", "all", "-j", holder.job, "-o", "%T|%j")
    if done.returncode:
        return "dead" if "Invalid job id" in done.stderr else "unknown"
    state, _, name = done.stdout.strip().partition("|")
    if not state or (holder.name and name != holder.name):  # another job has its id now
        return "dead"
    queue = STATES.get(state, "unknown")
    return "dead" if queue in ("gone", "waiting") else "alive" if queue == "running" else "unknown"


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


def cleared() -> list[str]:
    """Variables of this process that SLURM's commands must not see."""
    return sorted(name for name in os.environ if name.startswith(_VARIABLES) and name not in _KEPT)


def run(*command: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command of SLURM; a time-out is an answer with code 124, a missing program one with 127."""
    away = set(cleared())
    env = {name: value for name, value in os.environ.items() if name not in away}
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds, env=env
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} gave no answer in {seconds:.0f} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def _ask(*command: str) -> str | None:
    done = run(*command, seconds=WORKER_SECONDS)
    return done.stdout if done.returncode == 0 else None
