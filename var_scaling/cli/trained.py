"""What the commands that use a trained model share: which one is meant, how it draws, its classes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import layout

if TYPE_CHECKING:
    from var_scaling.evaluation.generation import Trained
    from var_scaling.families.base import SamplerConfig
    from var_scaling.planning.trial import TrialConfig

Trial = Annotated[str, typer.Argument(help="A trial's name or id, or the start of one.")]
Guidance = Annotated[
    float | None, typer.Option(help="Strength t of guidance; 0 is off (default: the family's).", min=0)
]
Sampler = Annotated[
    list[str], typer.Option("--sampler", help="Another setting of the family's sampler, e.g. top_k=900 or steps=250.")
]


def settings(guidance: float | None, given: list[str]) -> dict[str, Any]:
    """What the command line says of sampling, as `evaluate.fid` has it."""
    from var_scaling.config import yaml

    found: dict[str, Any] = {} if guidance is None else {"guidance": guidance}
    if guidance is not None and not math.isfinite(guidance):
        raise RequestProblem(f"--guidance {guidance:g} is no finite number; give one of 0 or more (0 is off)")
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestProblem(f"--sampler {text}: write it as name=value, e.g. --sampler top_k=900")
        found[name] = yaml.parse_scalar(value)
    return found


def trained(runs: Path, trial: str, images: int | None) -> tuple[Path, int]:
    """A trial's folder and one of its trained budgets, the largest unless named."""
    from var_scaling.launch.status import find_trial

    folder = find_trial(runs, trial)
    rows = list(layout.rows(folder))
    if not rows:
        raise RequestProblem(f"{folder.name} has no trained budget yet; `var-sweep status` says how far it is")
    budget = images if images is not None else rows[-1]
    if budget not in rows:
        raise RequestProblem(f"{folder.name} has no budget of {budget} images; it has {', '.join(map(str, rows))}")
    return folder, budget


def at(folder: Path, budget: int) -> str:
    """A model in words: how far it was trained, where anybody knows."""
    return f"{folder.name} at {budget:,} images" if budget else f"{folder.name} (imported)"


def load(runs: Path, folder: Path, budget: int, asked: dict[str, Any]) -> tuple[Trained, SamplerConfig]:
    """A trained model, and its sampler with what the command line says of it (`settings`)."""
    from var_scaling.config.evaluate import FidConfig
    from var_scaling.planning.resolve import fid_of, sampler_of
    from var_scaling.work.context import load_model

    model = load_model(runs, folder, budget)
    try:
        return model, sampler_of(model.config, fid_of(model.config, FidConfig.model_validate(asked)))
    except ValueError as error:
        raise RequestProblem(str(error).replace("evaluate.fid.", "--sampler ")) from None


def config_of(trial: Path) -> TrialConfig:
    """The resolved config of a trial."""
    from var_scaling.config import yaml
    from var_scaling.planning.trial import read_trial

    try:
        return read_trial(yaml.load(layout.config(trial))[0])
    except ValueError as error:  # of a family whose package is not installed here
        raise EnvironmentProblem(f"{trial.name}: {error}") from None


def class_names_of(trial: Path) -> tuple[str, ...]:
    """The names of a trial's classes, in the order of their numbers."""
    from var_scaling.config.class_names import class_names

    config = config_of(trial)
    return class_names(config.data, config.placement.image_folder)


def class_number(wanted: str, names: tuple[str, ...]) -> int:
    """Number of a class by its name, or by itself where no class is called so."""
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise RequestProblem(f"--class {wanted} is none of the {len(names)} classes ({listed}), nor a number below it")
