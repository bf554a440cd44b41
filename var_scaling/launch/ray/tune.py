"""The search behind `var-sweep tune`: learning rates and the family's knobs at small depth, cut short by ASHA.

A candidate is an ordinary trial with an ordinary folder; its budgets are ASHA's rungs, so a candidate that is stopped
has finished, annealed rows up to there, and a later sweep that asks for the same trial finds them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from var_scaling.families.registry import family_of
from var_scaling.launch.order import Launch
from var_scaling.launch.ray.driver import connected
from var_scaling.launch.ray.trial import climb
from var_scaling.planning.plan import PlannedTrial
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.tuned import Point, TunedRecipe
from var_scaling.runs import frozen, layout, store


def search(launch: Launch, worker: Sequence[str], cores: int, address: str | None = None) -> list[Point]:
    """Run the candidates of a launch whose stages are built; returns the furthest point of each, the best first.

    Args:
        launch: what `prepare` wrote: a folder for each candidate.
        worker: the command that is given a work's folder.
        cores: of the private Ray that is started where no address is given.
        address: of a running Ray.
    """
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    folder = layout.ray(launch.folder.resolve())
    layout.wishes(folder).mkdir(parents=True, exist_ok=True)
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"})
    trials = launch.plan.trials
    rungs, threads = trials[0].spent, trials[0].config.execution.threads
    store.write_json(
        layout.ray_jobs(folder),
        {
            "runs": str(launch.plan.runs.resolve()),
            "worker": list(worker),
            "study": launch.plan.study.name,
            "rungs": list(rungs),
            "metric": family_of(trials[0].config.model).losses[0].name,
            "env": frozen.environment(frozen.freeze(launch.plan.runs)),
        },
    )
    with connected(ray, address, cores):
        tune.Tuner(
            tune.with_resources(climb, {"cpu": threads}),
            param_space={
                "work": tune.grid_search([t.work.folder for t in from_the_middle(trials)]),
                "folder": str(folder),
                "cpu": threads,
            },
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                # In powers of two and not in images: budgets are whole batches, and the second is seldom twice the
                # first.
                scheduler=ASHAScheduler(
                    time_attr="rung", max_t=2 ** (len(rungs) - 1), grace_period=1, reduction_factor=2
                ),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{time.time_ns()}", storage_path=str(layout.ray_tune(folder)), verbose=0
            ),
        ).fit()
    points = [point for trial in trials if (point := furthest(launch.plan.runs, trial)) is not None]
    return sorted(points, key=lambda p: (-p.images, p.loss))


def from_the_middle(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The middle of the grid first. ASHA judges by what it has seen: in rising order each would be the best so far."""
    points = {trial.work.id: settings(trial.config) for trial in trials}
    tried = {name: sorted({point[name] for point in points.values()}) for name in points[trials[0].work.id]}

    def distance(trial: PlannedTrial) -> int:
        point = points[trial.work.id]
        return sum(abs(values.index(point[name]) - len(values) // 2) for name, values in tried.items())

    return sorted(trials, key=distance)


def settings(config: TrialConfig) -> dict[str, float]:
    """What a search varies: the learning rate, and the knobs of the model's family."""
    assert config.train.learning_rate is not None, "resolve the config first"
    knobs = {name: float(getattr(config.model, name)) for name in family_of(config.model).knobs}
    return {"learning_rate": config.train.learning_rate, **knobs}


def furthest(runs: Path, trial: PlannedTrial) -> Point | None:
    """The last row that a candidate reached."""
    for images in reversed(trial.spent):
        if (row := store.read_json(layout.row(runs / trial.work.folder, images))) is not None:
            knobs = settings(trial.config)
            headline = family_of(trial.config.model).losses[0].name
            return Point(learning_rate=knobs.pop("learning_rate"), knobs=knobs, images=images, loss=row[headline])
    return None


def winner(name: str, launch: Launch, points: Sequence[Point]) -> TunedRecipe:
    """The best candidate of those that were trained furthest, as a recipe with its evidence."""
    best, configs = points[0], [trial.config for trial in launch.plan.trials]
    points_tried = [settings(config) for config in configs]
    tried = {name: sorted({point[name] for point in points_tried}) for name in points_tried[0]}
    at_best = {"learning_rate": best.learning_rate, **best.knobs}
    return TunedRecipe(
        name=name,
        family=configs[0].model.family,
        depth=configs[0].model.depth,
        batch_size=configs[0].train.batch_size,
        learning_rate=best.learning_rate,
        knobs=best.knobs,
        at_edge=tuple(k for k, v in tried.items() if len(v) > 1 and at_best[k] in (v[0], v[-1])),
        evidence=tuple(points),
    )
