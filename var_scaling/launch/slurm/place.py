"""A SLURM cluster, as a place for a launch: jobs are handed over, and the launching process leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from var_scaling.launch.local import worker_command
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.slurm.profile import Profile
from var_scaling.tracking.address import tracking_uri
from var_scaling.tracking.filesystem import check_store

if TYPE_CHECKING:
    from var_scaling.launch.slurm.launcher import SlurmLauncher


@dataclass(frozen=True)
class Slurm:
    """The cluster that a profile describes."""

    profile: Profile
    keeps: Mapping[str, bytes] = field(default_factory=dict)  # the profile's file, as it was given
    name: str = field(default="slurm", init=False)
    stays: bool = field(default=False, init=False)
    cores: int | None = field(default=None, init=False)
    notes: tuple[str, ...] = field(default=(), init=False)

    @property
    def extras(self) -> tuple[str, ...]:
        return (
            ("slurm",) if self.profile.python else ("train", "slurm")
        )  # its workers may have an environment of their own

    def mirrors(self, asked: bool) -> tuple[bool, bool]:
        return self.profile.mirror, not self.profile.python  # a job of its own sends it, so the profile decides

    def check(self, runs: Path) -> None:
        from var_scaling.launch.slurm.script import check_path

        check_path(runs)

    def require(self, mlflow: bool) -> None:
        scheduler.require()
        if mlflow:
            check_store(tracking_uri())

    def launcher(self, runs: Path, sweep: str, mlflow: bool) -> SlurmLauncher:
        from var_scaling.launch.slurm.launcher import SlurmLauncher

        profile = self.profile.model_copy(update={"mirror": mlflow})
        return SlurmLauncher(runs, profile, sweep, worker=worker_command())
