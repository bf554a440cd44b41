"""What a launcher is: submit, states, cancel; and a place, which makes one. Everything else is on disk.

Claims, skipping, resuming and rows are the same under every launcher, and none of its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from var_scaling.launch.slurm.profile import Profile
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


class StayingLauncher(Launcher, Protocol):
    """One whose process stays until all is done: it sees what is kept back, and Ctrl-C can end its workers."""

    @property
    def held_because(self) -> str | None:
        """Why what is left was not started, where it was kept back."""

    @property
    def broken(self) -> str | None:
        """Why the launcher itself ended before its works did, where it did."""

    def kill(self) -> None:
        """End every worker at once; their last checkpoints stay."""


class Place(Protocol):
    """Where a launch is to run, as a user names it; a frozen value, which touches nothing until it is asked."""

    @property
    def name(self) -> str:
        """As `--launcher` has it."""

    @property
    def stays(self) -> bool:
        """Whether the launching process has to stay until all is done."""

    @property
    def profile(self) -> Profile | None:
        """Whose card, limits and questions hold; None: this machine's, or a running Ray's."""

    @property
    def cores(self) -> int | None:
        """Of this machine, where the works share them; None where they run elsewhere."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Of our libraries, what has to be installed here."""

    def mirrors(self, asked: bool) -> tuple[bool, bool]:
        """Whether a launch is mirrored to MLflow, given what was asked; and whether with libraries of this machine."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the request, but no reason to refuse it."""

    @property
    def keeps(self) -> Mapping[str, bytes]:
        """Files that a later `retry` needs beside the launch."""

    def check(self, runs: Path) -> None:
        """Refuse what cannot be, before anything is planned, written or asked.

        Raises:
            RequestProblem: the request makes no sense here.
            EnvironmentProblem: nobody answers.
        """

    def require(self, mlflow: bool) -> None:
        """Refuse a launch that this place could not take now, or whose mirror could not be written.

        Raises:
            EnvironmentProblem: with the way out.
        """

    def launcher(self, runs: Path, sweep: str, mlflow: bool) -> Launcher:
        """What places the workers of a launch, mirrored to MLflow or not."""
