"""`var-sweep next-round`: what the last job of a round runs on a cluster, where nothing stays alive."""

from __future__ import annotations

from pathlib import Path

import typer

from var_scaling.cli import pursue
from var_scaling.cli.act import mirrored
from var_scaling.cli.options import Json, Runs, SweepName, plan_of
from var_scaling.config import yaml
from var_scaling.errors import RequestProblem
from var_scaling.launch import status as state
from var_scaling.launch.order import Order
from var_scaling.launch.places import place_of
from var_scaling.launch.slurm.profile import card_of
from var_scaling.launch.sweep import last_launch
from var_scaling.planning.tuned import recipe_of_launch
from var_scaling.runs import layout


def register(app: typer.Typer) -> None:
    """Add the command to `var-sweep`."""
    app.command(hidden=True)(next_round)


def next_round(sweep: SweepName = "last", runs: Runs = Path("runs"), json: Json = False) -> None:
    """Decide and start the next round of a sweep that pursues a loss, as it was launched. SLURM's last job runs it.

    Example: var-sweep next-round depth
    """
    folder = state.find_sweep(runs, sweep)
    last = last_launch(folder)
    how, file = dict(last.how), layout.study_source(folder)
    place = place_of(last.launcher, last.profile if last.launcher == "slurm" else None, None, how.get("address"))
    place.check(runs)
    overrides, recipe = list(how.get("set", ())), recipe_of_launch(how)
    planned = plan_of(file, overrides, runs, card_of(place.profile), recipe, to_launch=True, whole=True)
    if planned.study.pursue is None:
        raise RequestProblem(f"sweep {folder.name} pursues nothing (no `pursue` in its file): it has no rounds")
    order = Order(planned, yaml.read_text(file), place, how=how, yes=True, mlflow=mirrored(place, True))
    pursue.run(order, file, overrides, recipe, json, alone=True)
