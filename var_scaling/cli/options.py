"""What the commands of `var-sweep` share: their options, and the plan of a sweep file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from var_scaling.errors import RequestProblem

if TYPE_CHECKING:
    from var_scaling.config.evaluate import Features
    from var_scaling.planning.plan import Plan
    from var_scaling.planning.tuned import TunedRecipe


def _tell_version(asked: bool) -> None:
    if asked:
        from var_scaling.about import NAME, version_of

        typer.echo(f"{NAME} {version_of() or 'not installed'}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Say the version and leave.", is_eager=True, callback=_tell_version)
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of trials, stages and sweeps.", envvar="VAR_SCALING_RUNS")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Override a field of the base, e.g. train.batch_size=128.")]
SweepFile = Annotated[Path, typer.Argument(help="A sweep file, e.g. sweeps/depth.yaml.")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="A cluster's profile, slurm/profiles/<name>.yaml.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="A recipe that `var-sweep tune` wrote.")]
Address = Annotated[str | None, typer.Option(help="Of a running Ray: host:port or auto (default: a private one).")]
LauncherName = Annotated[str, typer.Option("--launcher", help="local, slurm or ray.")]
Yes = Annotated[bool, typer.Option("--yes", help="Launch without asking, whatever it costs.")]
MostHours = Annotated[float | None, typer.Option("--max-gpu-hours", help="Refuse a launch that may take more.", min=0)]
SweepName = Annotated[str, typer.Argument(help="A sweep's name, or `last`.")]
Base = Annotated[Path | None, typer.Option("--from", help="A sweep file whose base to start from.")]
Cores = Annotated[int | None, typer.Option(help="Cores for local workers (default: all).", min=1)]
Filters = Annotated[list[str], typer.Argument(help="Filters: depth=16, seed=0, state=failed, cause=node, or a trial.")]


def features_named(name: str) -> Features:
    """The feature space of `--features`.

    Raises:
        RequestProblem: there is none of that name; with those there are.
    """
    from var_scaling.config.evaluate import Features

    known: tuple[Features, ...] = get_args(Features)
    if name not in known:
        raise RequestProblem(f"--features {name} is none of {', '.join(known)}")
    return known[known.index(name)]


def plan_of(
    file: Path,
    overrides: list[str],
    runs: Path,
    device: str | None = None,
    recipe: TunedRecipe | None = None,
    to_launch: bool = False,
    chosen: Mapping[str, Collection[int]] | None = None,
    whole: bool = False,
) -> Plan:
    """The plan of a sweep file as things stand; to launch it, image folders are read first, so that ids are final.

    Of a study that pursues a loss it is of the budgets chosen so far, of those `chosen`, or of its `whole` grid.
    """
    from var_scaling.launch.pursuit import chosen_of, read_decisions
    from var_scaling.launch.slurm.arrays import ask_once
    from var_scaling.planning.plan import make_plan, plan_to_launch
    from var_scaling.planning.study import load_study
    from var_scaling.planning.tuned import apply_recipe
    from var_scaling.runs import layout

    study, configs = load_study(file, overrides)
    configs = apply_recipe(configs, recipe) if recipe else configs
    if study.pursue is not None and chosen is None and not whole:
        chosen = chosen_of(read_decisions(layout.sweep(runs, study.name)))
    if to_launch:
        return plan_to_launch(study, configs, runs, device, ask_once(runs), tell, chosen)
    return make_plan(study, configs, runs, device, ask_once(runs), chosen=chosen)


def tell(text: str) -> None:
    """Say on stderr what takes long."""
    from var_scaling.cli.run import err

    err.print(text, highlight=False, soft_wrap=True)
