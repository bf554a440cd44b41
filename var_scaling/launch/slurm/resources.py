"""What a job asks of a cluster: GPUs, memory and time, in few classes; a d6 and a d30 do not ask for the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from var_scaling.errors import RequestProblem
from var_scaling.launch.protocol import Job
from var_scaling.launch.slurm.profile import Profile

START_SECONDS = 180.0  # imports, compilation, reading the token cache on a cold file system
MEMORY_STEPS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # GB
MINUTE_STEPS = (10, 20, 30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 7200, 10080)


@dataclass(frozen=True, order=True)
class Resources:
    """One class: jobs that ask for the same share an array."""

    level: int  # stages before what stands on them
    gpus: int
    cpus: int  # a task
    memory_gb: int  # a task
    minutes: int
    tasks: int = 1  # one a GPU

    def __str__(self) -> str:
        what = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else f"{self.tasks * self.cpus} CPU"
        return f"{what}, {self.memory_gb} GB, {self.minutes} min"


def resources(job: Job, level: int, profile: Profile) -> Resources:
    """What one job asks for: the estimate with room, rounded up to a step, never above the profile's limit."""
    placement = job.work.config["placement"]
    tasks = job.processes
    gpus = tasks if profile.gpu and placement["device"] != "cpu" else 0
    if profile.gpu and gpus > profile.gpu.per_node and gpus % profile.gpu.per_node:
        raise RequestProblem(
            f"placement.gpus = {gpus} is neither within one node nor whole nodes of {profile.gpu.per_node}; "
            f"use a multiple of {profile.gpu.per_node}"
        )
    execution = job.work.config["execution"]
    cpus = max(profile.cpus, int(execution["threads"]) + int(execution["loader_workers"]))
    if profile.memory_gb:
        memory = math.ceil(profile.memory_gb)
    else:  # on a GPU the host holds the token cache and a checkpoint's copy; on a CPU all of it
        need = 1.5 + (0.5 if gpus else 1.5) * job.memory_bytes / 2**30
        memory = next((m for m in MEMORY_STEPS if m >= need), MEMORY_STEPS[-1])
    seconds = profile.time_factor * job.seconds / tasks + START_SECONDS
    most = int(profile.limits.hours * 60)
    wanted = max(math.ceil(seconds / 60), profile.limits.least_minutes)
    minutes = min(next((m for m in MINUTE_STEPS if m >= wanted), most), most)
    if wanted == profile.limits.least_minutes:
        minutes = min(wanted, most)
    return Resources(level, gpus, cpus, memory, max(1, minutes), tasks)


def levels(jobs: Sequence[Job]) -> dict[str, int]:
    """How many stages lie before each job; what is not among the jobs is there already or queued."""
    known = {job.work.folder: job for job in jobs}

    def level(folder: str) -> int:
        return 1 + max((level(need) for need in known[folder].after if need in known), default=-1)

    return {folder: level(folder) for folder in known}


def expected_requeues(seconds: float, profile: Profile) -> int:
    """How often a job of that length meets the profile's time limit."""
    usable = profile.limits.hours * 3600 - START_SECONDS - profile.signal_seconds
    return max(0, math.ceil(seconds / max(usable, 60.0)) - 1)
