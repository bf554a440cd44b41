"""`var-sweep tune`: search a learning rate and an initial gamma at small depth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from var_scaling.cli.cluster import worker_command
from var_scaling.cli.options import Address, Runs, tell
from var_scaling.cli.run import err, out
from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch.local import LocalLauncher, available_cores
from var_scaling.launch.sweep import follow, prepare
from var_scaling.planning.plan import plan_to_launch
from var_scaling.planning.resolve import resolve
from var_scaling.planning.study import load_study, parse_study
from var_scaling.planning.tuned import TunedRecipe, candidate_rates
from var_scaling.runs import store


def register(app: typer.Typer) -> None:
    """Add the command to `var-sweep`."""
    app.command()(tune)


def tune(
    file: Annotated[Path, typer.Argument(help="A sweep file: its base and its largest budget are used.")],
    depth: Annotated[int, typer.Option(help="The depth to search at; small is cheap.", min=1)] = 4,
    steps: Annotated[
        int, typer.Option(help="Learning rates to each side of the recipe's, a factor 1.41 apart.", min=1)
    ] = 3,
    gammas: Annotated[
        str | None, typer.Option(help="Initial gammas to try (default: the recipe's, a tenth and ten times of it).")
    ] = None,
    out_file: Annotated[Path, typer.Option("--out", help="Where the winner is written.")] = Path("sweeps/tuned.yaml"),
    runs: Runs = Path("runs"),
    cores: Annotated[int | None, typer.Option(min=1)] = None,
    address: Address = None,
) -> None:
    """Search learning rate and initial gamma at small depth (Ray Tune, ASHA), and write the winner as a recipe.

    A candidate that is cut short keeps its rows, and the same command again goes on with what is missing. Use the
    winner with `var-sweep plan|launch FILE --recipe sweeps/tuned.yaml`.

    Example: var-sweep tune sweeps/depth.yaml --depth 4 --out sweeps/tuned.yaml
    """
    from var_scaling.launch import tune as tuning
    from var_scaling.launch.ray import check_address

    if address not in (None, "auto"):
        check_address(str(address))
    source = _study(file, depth, steps, gammas)
    planned = plan_to_launch(*parse_study(source, f"{file} (tune)"), runs, tell=tell)
    worker = worker_command() or (sys.executable, "-P", "-m", "var_scaling.worker")
    first = prepare(planned, source, "ray", only=lambda trial: False, first_budget_only=True)
    stages = prepare(planned, source, "ray", stages_only=("tokens",))
    launcher = LocalLauncher(runs, cores, worker)
    launcher.submit(stages.jobs, first.folder)
    follow(stages, launcher, lambda view: None)
    if launcher.failed:
        raise EnvironmentProblem(f"a stage failed: {', '.join(sorted(launcher.failed))}; see its attempt's log")
    err.print(f"{len(planned.trials)} candidates at depth {depth}, rungs {list(planned.trials[0].spent)} images")
    points = tuning.search(first, worker, cores or available_cores(), address)
    if not points:
        raise EnvironmentProblem(f"no candidate got as far as a row; see the logs under {first.folder}/ray")
    recipe = tuning.winner(out_file.stem, first, points)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(out_file, yaml.dump(recipe.model_dump(mode="python")).encode())
    out.print(_found(recipe, file, out_file), soft_wrap=True)


def _study(file: Path, depth: int, steps: int, gammas: str | None) -> str:
    """The search as a sweep file: rates and gammas around what the recipe says at this depth, three rungs."""
    study, configs = load_study(file, [f"model.depth={depth}"])
    most = max(study.budgets.images or (), default=0)
    if most < 4:
        raise RequestProblem(f"{file}: tune wants budgets in images (its largest is the search's)")
    config = resolve(configs[0].model_copy(update={"model": configs[0].model.model_copy(update={"depth": depth})}))
    assert config.train.learning_rate is not None and config.model.gamma_init is not None
    try:
        tried = [float(g) for g in gammas.split(",")] if gammas else [config.model.gamma_init * k for k in (0.1, 1, 10)]
    except ValueError:
        raise RequestProblem(f"--gammas {gammas}: write numbers with commas between, e.g. 1e-2,1e-3") from None
    base = dict(yaml.load(file)[0].get("base", {}))
    base["model"] = {**base.get("model", {}), "depth": depth}
    return yaml.dump(
        {
            "name": f"tune-{study.name}-d{depth}",
            "base": base,
            "grid": {
                "train.learning_rate": candidate_rates(config.train.learning_rate, steps),
                "model.gamma_init": [float(f"{g:.6g}") for g in tried],
            },
            "budgets": {"images": [most // 4, most // 2, most]},
        }
    )


def _found(recipe: TunedRecipe, file: Path, out_file: Path) -> str:
    best = recipe.evidence[0]
    furthest = sum(point.images == best.images for point in recipe.evidence)
    lines = [
        f"learning rate {recipe.learning_rate:g}, gamma {recipe.gamma_init:g}: loss {best.loss:.4f} at "
        f"{best.images:,} images, the best of {furthest} that got so far of {len(recipe.evidence)} candidates"
    ]
    ways = {"learning_rate": "--steps", "gamma_init": "--gammas"}
    lines += [
        f"the best {name} is the last that was tried: widen the search with {ways[name]}" for name in recipe.at_edge
    ]
    return "\n".join([*lines, f"next: var-sweep plan {file} --recipe {out_file}"])
