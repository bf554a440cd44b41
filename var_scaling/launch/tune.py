"""The search behind `var-sweep tune`: learning rates and initial gammas at small depth, cut short by ASHA.

A candidate is an ordinary trial with an ordinary folder; its budgets are ASHA's rungs, so a candidate that is stopped
has finished, annealed rows up to there, and a later sweep that asks for the same trial finds them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from var_scaling import frozen, store
from var_scaling.launch.ray import file_name
from var_scaling.launch.ray_driver import connect, run_child
from var_scaling.launch.sweep import Launch
from var_scaling.planning.plan import PlannedTrial
from var_scaling.planning.record import row_path
from var_scaling.planning.tuned import Point, TunedRecipe

FACTOR = 2**0.5  # between neighbouring learning rates: near the best a step of 1.41 costs less than seeds differ
METRIC = "loss_all_scales"


def candidate_rates(centre: float, steps: int) -> list[float]:
    """Learning rates around a centre, a factor 1.41 apart."""
    return [float(f"{centre * FACTOR**k:.4g}") for k in range(-steps, steps + 1)]


def search(launch: Launch, worker: Sequence[str], cores: int) -> list[Point]:
    """Run the candidates of a launch whose stages are built; returns the furthest point of each, the best first."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    folder = launch.folder.resolve() / "ray"
    for name in ("cancel", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"})
    trials = launch.plan.trials
    rungs = trials[0].spent
    jobs = {
        "runs": str(launch.plan.runs.resolve()),
        "worker": list(worker),
        "threads": trials[0].config.execution.threads,
        "env": frozen.environment(frozen.freeze(launch.plan.runs)),
    }
    connect(ray, None, cores)
    tuner = tune.Tuner(
        tune.with_resources(climb, {"cpu": jobs["threads"]}),
        param_space={
            "work": tune.grid_search([t.work.folder for t in trials]),
            "study": launch.plan.study.name,
            "rungs": list(rungs),
            "folder": str(folder),
            "jobs": jobs,
        },
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            scheduler=ASHAScheduler(time_attr="images", max_t=rungs[-1], grace_period=rungs[0], reduction_factor=2),
        ),
        run_config=tune.RunConfig(name=f"tune-{time.time_ns()}", storage_path=str(folder / "tune"), verbose=0),
    )
    tuner.fit()
    ray.shutdown()
    points = [point for trial in trials if (point := furthest(launch.plan.runs, trial)) is not None]
    return sorted(points, key=lambda p: (-p.images, p.loss))


def climb(config: dict[str, Any]) -> None:
    """The trainable: ask for one more budget at a time and report its annealed loss; ASHA may end it at a report."""
    from ray import tune

    folder, work = Path(config["folder"]), config["work"]
    trial = Path(config["jobs"]["runs"]) / work
    for number in range(1, len(config["rungs"]) + 1):
        path = trial / "asked" / f"{config['study']}.json"
        store.write_json(path, {**store.read_json(path), "budgets": config["rungs"][:number]})
        run_child(config["jobs"], work, folder / "cancel" / file_name(work), folder / "logs")
        row = store.read_json(row_path(trial, config["rungs"][number - 1]))
        if row is None:  # diverged or failed: its folder says why; the worst loss ends it
            tune.report({"images": config["rungs"][-1], "loss": float("inf")})
            return
        tune.report({"images": config["rungs"][number - 1], "loss": row[METRIC]})


def furthest(runs: Path, trial: PlannedTrial) -> Point | None:
    """The last row that a candidate reached."""
    for images in reversed(trial.spent):
        if (row := store.read_json(row_path(runs / trial.work.folder, images))) is not None:
            rate, gamma = trial.config.train.learning_rate, trial.config.model.gamma_init
            assert rate is not None and gamma is not None
            return Point(learning_rate=rate, gamma_init=gamma, images=images, loss=row[METRIC])
    return None


def winner(name: str, launch: Launch, points: Sequence[Point]) -> TunedRecipe:
    """The best candidate of those that were trained furthest, as a recipe with its evidence."""
    best = points[0]
    rates = sorted({t.config.train.learning_rate or 0.0 for t in launch.plan.trials})
    config = launch.plan.trials[0].config
    return TunedRecipe(
        name=name,
        depth=config.model.depth,
        batch_size=config.train.batch_size,
        learning_rate=best.learning_rate,
        gamma_init=best.gamma_init,
        at_edge=len(rates) > 1 and best.learning_rate in (rates[0], rates[-1]),
        evidence=tuple(points),
    )
