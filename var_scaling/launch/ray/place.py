"""Ray, as a place for a launch: a private one on this machine, or the cluster at an address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from var_scaling.launch.local import available_cores, cores_notes, worker_command
from var_scaling.launch.ray.launcher import RayLauncher, check_address
from var_scaling.launch.slurm.profile import Profile
from var_scaling.tracking.address import tracking_uri
from var_scaling.tracking.filesystem import check_store


@dataclass(frozen=True)
class Ray:
    """A Ray; without an address one is started here."""

    own_cores: int = field(default_factory=available_cores)  # of a private one
    address: str | None = None
    profile: Profile | None = None
    name: str = field(default="ray", init=False)
    stays: bool = field(default=True, init=False)
    keeps: Mapping[str, bytes] = field(default_factory=dict, init=False)
    extras: tuple[str, ...] = field(default=("train", "ray"), init=False)

    @property
    def cores(self) -> int | None:
        return None if self.address else self.own_cores

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self.address else cores_notes(self.own_cores)

    def check(self, runs: Path) -> None:
        if self.address not in (None, "auto"):
            check_address(str(self.address))

    def require(self, mlflow: bool) -> None:
        if mlflow:
            check_store(tracking_uri())

    def mirrors(self, asked: bool) -> tuple[bool, bool]:
        return asked, True

    def launcher(self, runs: Path, sweep: str, mlflow: bool) -> RayLauncher:
        return RayLauncher(runs, self.own_cores, self.address, worker_command())
