"""The places that a launch can be sent to, by the names that `--launcher` takes. A new launcher is a line here."""

from __future__ import annotations

from pathlib import Path

from var_scaling import extras
from var_scaling.errors import RequestProblem
from var_scaling.launch.local import Local, available_cores
from var_scaling.launch.protocol import Place
from var_scaling.launch.ray.place import Ray
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import load_profile
from var_scaling.runs import layout

LAUNCHERS = ("local", "slurm", "ray")


def place_of(launcher: str, profile: Path | None = None, cores: int | None = None, address: str | None = None) -> Place:
    """The place that a user names.

    Args:
        launcher: one of LAUNCHERS.
        profile: a cluster's profile; SLURM needs one, the others are priced by it.
        cores: of this machine; None: all that this process may use.
        address: of a running Ray.

    Raises:
        EnvironmentProblem: libraries of this launcher, or of training, are not installed.
        RequestProblem: no such launcher, none without its profile, or a profile with mistakes; with the way out.
    """
    if launcher not in LAUNCHERS:
        raise RequestProblem(f"--launcher {launcher}: there are {', '.join(LAUNCHERS)}")
    if launcher == "slurm" and profile is None:
        raise RequestProblem("--launcher slurm needs a cluster's profile: --profile slurm/profiles/generic-cpu.yaml")
    loaded = load_profile(profile) if profile else None
    place: Place
    if loaded and profile and launcher == "slurm":
        place = Slurm(loaded, {layout.PROFILE: profile.read_bytes()})
    elif launcher == "ray":
        place = Ray(cores or available_cores(), address, loaded)
    else:
        place = Local(cores or available_cores(), loaded)
    extras.need(*place.extras)
    return place
