"""`var-sweep tune`: search a learning rate and a family's own knobs (VAR's initial gamma) at small depth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from var_scaling import extras
from var_scaling.cli.options import Address, Runs, tell
from var_scaling.cli.run import err, out
from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.families.base import Family
from var_scaling.families.registry import family_of
from var_scaling.launch.follow import follow
from var_scaling.launch.local import LocalLauncher, available_cores, worker_command
from var_scaling.launch.order import Order
from var_scaling.launch.ray.tune import settings
from var_scaling.planning.plan import plan_to_launch
from var_scaling.planning.resolve import resolve
from var_scaling.planning.study import load_study, parse_study
from var_scaling.planning.tuned import TunedRecipe, candidate_rates
from var_scaling.runs import layout, store


def register(app: typer.Typer) -> None:
    """Add the command to `var-sweep`."""
    app.command()(tune)


def tune(
    file: Annotated[Path, typer.Argument(help="A sweep file: its base and its largest budget are used.")],
    depth: Annotated[int, typer.Option(help="The depth to search at; small is cheap.", min=1)] = 4,
    steps: Annotated[
        int, typer.Option(help="Learning rates to each side of the recipe's, a factor 1.41 apart.", min=1)
    ] = 3,
    knob: Annotated[
        list[str],
        typer.Option(
            help="Values of a knob of the family to try, e.g. gamma_init=1e-2,1e-3 "
            "(default: the recipe's, a tenth and ten times of it)."
        ),
    ] = [],  # noqa: B006 (typer's way of an option that may be given several times)
    out_file: Annotated[Path, typer.Option("--out", help="Where the winner is written.")] = Path("sweeps/tuned.yaml"),
    runs: Runs = Path("runs"),
    cores: Annotated[int | None, typer.Option(min=1)] = None,
    address: Address = None,
) -> None:
    """Search learning rate and the family's knobs at small depth (Ray Tune, ASHA), and write the winner as a recipe.

    A candidate that is cut short keeps its rows, and the same command again goes on with what is missing. Use the
    winner with `var-sweep plan|launch FILE --recipe sweeps/tuned.yaml`.

    Example: var-sweep tune sweeps/depth.yaml --depth 4 --out sweeps/tuned.yaml
    """
    from var_scaling.launch.ray import tune as tuning
    from var_scaling.launch.ray.place import Ray

    extras.need("train", "ray")
    place = Ray(cores or available_cores(), address)
    place.check(runs)
    source = _study(file, depth, steps, knob)
    planned = plan_to_launch(*parse_study(source, f"{file} (tune)"), runs, tell=tell)
    worker = worker_command() or (sys.executable, "-P", "-m", "var_scaling.worker")
    first = Order(planned, source, place, only=lambda trial: False, first_budget_only=True).write()
    stages = Order(planned, source, place, stages_only=("tokens",)).write()
    launcher = LocalLauncher(runs, cores, worker)
    launcher.submit(stages.jobs, first.folder)
    follow(stages, launcher, lambda view: None)
    if launcher.failed:
        raise EnvironmentProblem(f"a stage failed: {', '.join(sorted(launcher.failed))}; see its attempt's log")
    err.print(f"{len(planned.trials)} candidates at depth {depth}, rungs {list(planned.trials[0].spent)} images")
    points = tuning.search(first, worker, cores or available_cores(), address)
    if not points:
        raise EnvironmentProblem(f"no candidate got as far as a row; see the logs under {layout.ray(first.folder)}")
    recipe = tuning.winner(out_file.stem, first, points)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(out_file, yaml.dump(recipe.model_dump(mode="python")).encode())
    out.print(_found(recipe, file, out_file), soft_wrap=True)


def _study(file: Path, depth: int, steps: int, given: list[str]) -> str:
    """The search as a sweep file: rates and knobs around what the recipe says at this depth, three rungs."""
    study, configs = load_study(file, [f"model.depth={depth}"])
    most = max(study.budgets.images or (), default=0)
    if most < 4:
        raise RequestProblem(f"{file}: tune wants budgets in images (its largest is the search's)")
    families = {config.model.family for config in configs}
    if len(families) > 1:
        raise RequestProblem(
            f"{file} has the families {', '.join(sorted(families))}, each with its own best rate; "
            "tune one at a time, with a file of its own"
        )
    family = family_of(configs[0].model)
    config = resolve(configs[0].model_copy(update={"model": family.at_depth(configs[0].model, depth)}))
    centre = settings(config)
    tried = {name: [centre[name] * factor for factor in (0.1, 1, 10)] for name in family.knobs} | _knobs(given, family)
    base = dict(yaml.load(file)[0].get("base", {}))
    base["model"] = {**base.get("model", {}), "depth": depth}
    return yaml.dump(
        {
            "name": f"tune-{study.name}-d{depth}",
            "base": base,
            "grid": {
                "train.learning_rate": candidate_rates(centre["learning_rate"], steps),
                **{f"model.{name}": [float(f"{value:.6g}") for value in values] for name, values in tried.items()},
            },
            "budgets": {"images": [most // 4, most // 2, most]},
        }
    )


def _knobs(given: list[str], family: Family) -> dict[str, list[float]]:
    """What `--knob name=1,2` says."""
    found = {}
    for text in given:
        name, _, values = text.partition("=")
        if name not in family.knobs:
            known = f"its knobs: {', '.join(family.knobs)}" if family.knobs else "it has none"
            raise RequestProblem(f"--knob {text}: {name!r} is no knob of family {family.name}; {known}")
        try:
            found[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise RequestProblem(f"--knob {text}: write numbers with commas between, e.g. {name}=1e-2,1e-3") from None
    return found


def _found(recipe: TunedRecipe, file: Path, out_file: Path) -> str:
    best = recipe.evidence[0]
    furthest = sum(point.images == best.images for point in recipe.evidence)
    knobs = "".join(f", {name} {value:g}" for name, value in recipe.knobs.items())
    lines = [
        f"learning rate {recipe.learning_rate:g}{knobs}: loss {best.loss:.4f} at "
        f"{best.images:,} images, the best of {furthest} that got so far of {len(recipe.evidence)} candidates"
    ]
    lines += [
        f"the best {name} is the last that was tried: widen the search with "
        + ("--steps" if name == "learning_rate" else f"--knob {name}=...")
        for name in recipe.at_edge
    ]
    return "\n".join([*lines, f"next: var-sweep plan {file} --recipe {out_file}"])
