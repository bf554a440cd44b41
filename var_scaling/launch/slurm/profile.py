"""A cluster's answers: partition, account, what a node has, how long a job may run. One YAML file each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from var_scaling.config import yaml
from var_scaling.config.base import Strict
from var_scaling.errors import RequestProblem
from var_scaling.planning.mistakes import sentences

OURS = set("job-name comment array output error dependency requeue no-requeue signal hold wrap".split())
OURS |= set("kill-on-invalid-dep nodes ntasks-per-node".split())
# What a profile has a key for, which the plan, the price and the size of a trial's job go by.
KEYS = {key: f"`{key}`" for key in ("partition", "account", "qos", "constraint", "exclude")}
KEYS |= {"time": "`limits.hours`", "mem": "`memory_gb`", "cpus-per-task": "`cpus`"}


class Gpu(Strict):
    """The card of a node, where it has one."""

    name: str  # as the price list knows it: A100, H100, H200
    memory_gb: float = Field(gt=0)
    per_node: int = Field(ge=1)
    request: str = "gpus-per-node"  # or "gres": sites that know only --gres=gpu:<n>


class Limits(Strict):
    """What this user may ask of this partition; `var-sweep doctor` compares them with the cluster's own."""

    hours: float = Field(24.0, gt=0)  # the longest job; a longer trial is requeued from its checkpoint
    least_minutes: int = Field(10, ge=1)  # the shortest worth queueing
    parallel: int = Field(64, ge=1)  # tasks of one array that run at once
    jobs: int | None = Field(None, ge=1)  # array elements in the queue at once (MaxSubmitJobs); the rest is held back
    array: int | None = Field(None, ge=1)  # elements of one array (MaxArraySize); None: asked of the cluster


class Profile(Strict):
    """One cluster, or one partition of it."""

    name: str
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gpu: Gpu | None = None  # None: CPU nodes
    cpus: int = Field(1, ge=1)  # for a task (one task a GPU, or one in all)
    memory_gb: float | None = Field(None, gt=0)  # host memory for a task; None: estimated from the plan
    time_factor: float = Field(2.0, ge=1)  # requested over expected time
    limits: Limits = Limits()
    signal_seconds: int = Field(120, ge=30)  # before the time limit; SLURM looks every 30 s and may be 60 s early
    mirror: bool = False  # each launch's last job, of one CPU, sends curves and rows to MLflow; nodes must reach it
    confirm_gpu_hours: float = Field(100.0, ge=0)  # above this a launch asks, or wants --yes (core-hours on CPU nodes)
    setup: tuple[str, ...] = ()  # shell lines before the worker: modules, environment
    python: str | None = None  # the interpreter on a node, or a command line of a container; None: the launching one
    scratch: str | None = None  # a fast folder of the node's own, for TMPDIR
    sbatch: dict[str, Any] = Field(default_factory=dict)  # any other option of sbatch, e.g. {reservation: class}

    @field_validator("sbatch")
    @classmethod
    def _leaves_ours_alone(cls, options: dict[str, Any]) -> dict[str, Any]:
        names = sorted(k.replace("_", "-") for k in options)
        if odd := [name for name in names if not re.fullmatch(r"[a-z][a-z0-9-]+", name)]:
            raise ValueError(f"{', '.join(odd)}: give the long name of an option of sbatch, without dashes before it")
        if taken := [name for name in names if name in OURS]:
            raise ValueError(f"{', '.join(taken)} is set by the launcher itself; remove it")
        if keyed := [f"{name} by {KEYS[name]}" for name in names if name in KEYS]:
            raise ValueError(f"{', '.join(keyed)} of the profile is what the plan goes by; set that instead")
        return options


def load_profile(path: Path) -> Profile:
    """Read and check a profile.

    Raises:
        RequestProblem: every problem at once, with line, rule and nearest valid name.
    """
    raw, lines = yaml.load(path)
    if not isinstance(raw, dict):
        raise RequestProblem(
            f"{path}: a profile is a mapping with at least `name` (see slurm/profiles/generic-cpu.yaml)"
        )
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        raise RequestProblem(*sentences(error, Profile, str(path), lines, raw)) from None


def card_of(profile: Profile | None) -> str | None:
    """The card that a profile's nodes have, as the price list knows it, with its memory."""
    return f"{profile.gpu.name} {profile.gpu.memory_gb:.0f}GB" if profile and profile.gpu else None
