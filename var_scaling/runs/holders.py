"""Who holds a claim, and whether it lives: asked of the process table or the scheduler, never of a clock."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from var_scaling.runs.slurm_task import parse_holder, this_job

Life = Literal["alive", "dead", "unknown"]
AskScheduler = Callable[[str], Life]


@dataclass(frozen=True)
class Holder:
    """One process, named so that nobody can mistake another for it."""

    host: str
    boot: str
    namespace: str
    pid: int
    start: str  # the process's start in clock ticks after boot: pids are used again
    scheduler: str  # e.g. "slurm:1234_5"; "" on a laptop
    token: str

    def __str__(self) -> str:
        job = f", {self.scheduler}" if self.scheduler else ""
        return f"pid {self.pid} on {self.host}{job}"


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str, str]:
    def read(path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return socket.gethostname(), read("/proc/sys/kernel/random/boot_id"), namespace


def _process_start(pid: int) -> str | None:
    """Start time of a live process (None: there is none; a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def this_process() -> Holder:
    """The holder that the running process is; a new token each time."""
    host, boot, namespace = _machine()
    job = this_job()
    pid = os.getpid()
    return Holder(host, boot, namespace, pid, _process_start(pid) or "", job.holder if job else "", uuid.uuid4().hex)


def life(holder: Holder, ask_scheduler: AskScheduler | None = None) -> Life:
    """Whether a holder lives, as far as anybody here can tell. Unknown is not dead."""
    host, boot, namespace = _machine()
    if _earlier_run_of_this_job(holder):
        return "dead"
    if boot and (holder.boot, holder.namespace) == (boot, namespace):
        return "alive" if _process_start(holder.pid) == holder.start else "dead"
    if holder.host == host and holder.boot and boot and holder.boot != boot and not holder.scheduler:
        return "dead"  # this machine has been restarted since
    if holder.scheduler and ask_scheduler:
        return ask_scheduler(holder.scheduler)
    return "unknown"


def _earlier_run_of_this_job(holder: Holder) -> bool:
    """Whether SLURM has put this process in the holder's place: it runs a job again once it has given the copy up.

    That copy may still compute, on a node that lost touch. The fence keeps it from writing, so it counts as dead.
    """
    mine, other = this_job(), parse_holder(holder.scheduler)
    if mine is None or other is None or (other.name and mine.name and other.name != mine.name):
        return False
    return other.job == mine.job and other.restarts < mine.restarts
