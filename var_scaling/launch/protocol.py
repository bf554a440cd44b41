"""What a launcher is: submit, states, cancel. Everything else (claims, skipping, resuming, rows) is on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from var_scaling.planning.works import Work

Queue = Literal["waiting", "running", "gone", "unknown"]  # unknown is assumed alive


@dataclass(frozen=True)
class Job:
    """One work to run, with the folders of the works that must be finished before it."""

    work: Work
    after: tuple[str, ...]
    seconds: float  # expected; longer ones start first
    memory_bytes: int = 0  # expected: weights, moments and activations
    held: bool = False  # not before the launch's pilots have passed (`var_scaling.runs.pilot`)

    @property
    def processes(self) -> int:
        """Of one trial, one a GPU; a stage is one."""
        return int(self.work.config["placement"]["gpus"]) if self.work.kind == "trial" else 1

    @property
    def threads(self) -> int:
        """Of all its processes."""
        return self.processes * int(self.work.config["execution"]["threads"])


class Launcher(Protocol):
    """Places workers. It is asked again and again for states, and may start what is waiting while it answers."""

    name: str

    def submit(self, jobs: Sequence[Job], launch: Path) -> None:
        """Queue jobs, stages before what needs them; `launch` is this launch's own folder, for scripts and logs."""

    def states(self) -> Mapping[str, Queue]:
        """State of every job that was submitted, by the work's folder."""

    def cancel(self, folders: Sequence[str]) -> None:
        """Take jobs out of the queue and ask running ones to save and stop."""
