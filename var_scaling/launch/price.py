"""What a launch will cost, said before it is spent: hours as a range, memory, disk, requeues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.slurm.resources import expected_requeues
from var_scaling.planning.plan import PlannedTrial
from var_scaling.planning.prices import WorkCost

# How far a real run strayed from its estimate: a rate measured at the same size, at another size, or assumed. Working
# guesses; the first launch that is measured replaces them, since its rows are then the source.
MEASURED, NEAR, ASSUMED = (0.85, 1.2), (0.6, 1.7), (0.4, 2.5)


@dataclass(frozen=True)
class Price:
    """The sum over the trials that a launch would start."""

    trials: int
    hours: tuple[float, float]  # of GPUs; on CPUs, of a cluster's cores or of this machine
    unit: str
    sources: tuple[str, ...]
    memory_bytes: int  # of the largest trial
    memory_limit: int | None  # of the card
    disk_bytes: int
    requeues: int
    longest: tuple[str, float] | None  # trial, seconds
    makespan: float  # seconds, by the middle of the range
    parallel: int  # trials at once, for which the makespan holds

    def as_dict(self) -> dict[str, object]:
        return {**vars(self), "hours": list(self.hours), "sources": list(self.sources)}


def price(
    trials: Sequence[PlannedTrial],
    profile: Profile | None = None,
    cores: int | None = None,
    stages: Sequence[WorkCost] = (),
) -> Price:
    """The price of what is still to be trained, measured and built.

    Args:
        trials: what a launch would start.
        stages: what is not there yet of the stages that these stand on.
        profile: the cluster's; None: this machine, or a running Ray.
        cores: of this machine; its hours are then the unit. None: hours of single cores.
    """
    work = [t for t in trials if t.new_images or t.evaluations.seconds]
    on_gpus = profile.gpu is not None if profile else any(t.config.placement.device == "cuda" for t in work)
    low = high = middle = 0.0
    requeues = 0
    for trial in work:
        factor = _range(trial.cost.source)
        share = 1.0 if on_gpus else trial.config.execution.threads / (1 if profile else cores or 1)
        low += trial.seconds * share * factor[0] / 3600
        high += trial.seconds * share * factor[1] / 3600
        middle += trial.seconds
        requeues += expected_requeues(trial.seconds, profile) if profile else 0
    for stage in stages:
        factor = _range(stage.source)
        share = 1.0 if on_gpus else 1 / (1 if profile else cores or 1)
        low += stage.seconds * share * factor[0] / 3600
        high += stage.seconds * share * factor[1] / 3600
        middle += stage.seconds
    longest = max(work, key=lambda t: t.seconds, default=None)
    threads = max((t.config.execution.threads for t in work), default=1)
    parallel = profile.limits.parallel if profile else max(1, (cores or 1) // threads)
    return Price(
        len(work),
        (low, high),
        "GPU-h" if on_gpus else "core-h" if profile or not cores else "machine-h",
        tuple(sorted({t.cost.source for t in work})),
        max((t.cost.memory_bytes for t in work), default=0),
        int(profile.gpu.memory_gb * 2**30) if profile and profile.gpu else None,
        sum(t.disk_bytes for t in work) + sum(stage.disk_bytes for stage in stages),
        requeues,
        (longest.work.folder, longest.seconds) if longest else None,
        max(middle / parallel, longest.seconds if longest else 0.0),
        parallel,
    )


def _range(source: str) -> tuple[float, float]:
    if source.startswith("measured"):
        return NEAR if "nearest" in source else MEASURED
    return ASSUMED
