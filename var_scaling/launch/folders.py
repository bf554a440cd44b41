"""What a launch writes: a folder for each work, what is asked of it, and the study as it was launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from var_scaling.config import yaml
from var_scaling.planning.plan import Plan
from var_scaling.planning.works import Work
from var_scaling.runs import layout, store


def new_launch_folder(sweep: Path) -> Path:
    launches = layout.launches_folder(sweep)
    launches.mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in launches.iterdir() if p.name.isdecimal()), default=-1) + 1
    while True:  # two launches at once take different numbers
        folder = layout.launch(sweep, number)
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def study_json(plan: Plan, now: str) -> dict[str, Any]:
    return {
        "name": plan.study.name,
        "description": plan.study.description,
        "launched": now,
        "trials": [
            {
                "trial": trial.work.id,
                "folder": Path(trial.work.folder).name,
                "depth": trial.config.model.depth,
                "seed": trial.config.seed,
                "axes": {name: _plain(value) for name, value in plan.point(trial).items()},
                "budgets": [{"asked": asked, "images": images} for asked, images in trial.budgets],
                "evaluations": [e.name for e in trial.works.evaluations],
                "stages": [s.folder for s in trial.works.stages],
            }
            for trial in plan.trials
        ],
        "evaluations": _unique([e.dump() for trial in plan.trials for e in trial.works.evaluations]),
    }


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return list(value) if isinstance(value, tuple) else value


def _unique(values: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({value["name"]: value for value in values}.values())


def write_work(runs: Path, work: Work) -> None:
    """Write a work's folder where it is not there; identity never changes, execution and placement may.

    Not durable one by one, which would be a thousand waits for the disk: a launch syncs once, before anything runs.
    """
    folder = runs / work.folder
    if not layout.identity(folder).exists():
        folder.mkdir(parents=True, exist_ok=True)
        store.write_bytes(layout.config(folder), yaml.dump(work.config).encode(), durable=False)
        store.write_json(layout.needs(folder), list(work.needs), durable=False)
        store.write_json(layout.identity(folder), work.identity, durable=False)
    elif layout.config(folder).read_bytes() != (text := yaml.dump(work.config).encode()):
        store.write_bytes(layout.config(folder), text)


def write_asked(folder: Path, study: str, asked: Mapping[str, Any]) -> None:
    path = layout.asked(folder, study)
    path.parent.mkdir(exist_ok=True)
    if store.read_json(path) != asked:
        store.write_json(path, asked, durable=False)
