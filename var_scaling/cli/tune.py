"""`var-sweep tune`: search a learning rate and an initial gamma at small depth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from var_scaling import store
from var_scaling.cli.cluster import worker_command
from var_scaling.cli.run import err, out
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch.sweep import prepare


def register(app: typer.Typer) -> None:
    """Add the command to `var-sweep`."""
    app.command()(tune)


def tune(
    file: Annotated[Path, typer.Argument(help="A sweep file: its base and its largest budget are used.")],
    depth: Annotated[int, typer.Option(help="The depth to search at; small is cheap.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Learning rates to each side of the recipe's, a factor 1.41 apart.")] = 3,
    gammas: Annotated[str, typer.Option(help="Initial gammas to try.")] = "1e-2,1e-3,1e-4",
    out_file: Annotated[Path, typer.Option("--out", help="Where the winner is written.")] = Path("sweeps/tuned.yaml"),
    runs: Annotated[Path, typer.Option("--runs", envvar="VAR_SCALING_RUNS")] = Path("runs"),
    cores: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Search learning rate and initial gamma at small depth (Ray Tune, ASHA), and write the winner as a recipe.

    Use it with `var-sweep plan|launch FILE --recipe sweeps/tuned.yaml`.

    Example: var-sweep tune sweeps/depth.yaml --depth 4 --out sweeps/tuned.yaml
    """
    from var_scaling.config import yaml
    from var_scaling.config.study import load_study, parse_study
    from var_scaling.launch import tune as tuning
    from var_scaling.launch.local import LocalLauncher, available_cores
    from var_scaling.launch.sweep import follow
    from var_scaling.planning.plan import make_plan
    from var_scaling.planning.resolve import resolve

    study, configs = load_study(file, [f"model.depth={depth}"])
    most = max(study.budgets.images or (), default=0)
    if not most:
        raise RequestProblem(f"{file}: tune wants budgets in images (its largest is the search's)")
    rate = resolve(configs[0].model_copy(update={"model": configs[0].model.model_copy(update={"depth": depth})}))
    assert rate.train.learning_rate is not None
    base = dict(yaml.load(file)[0].get("base", {}))
    base["model"] = {**base.get("model", {}), "depth": depth}
    raw = {
        "name": f"tune-{study.name}-d{depth}",
        "base": base,
        "grid": {
            "train.learning_rate": tuning.candidate_rates(rate.train.learning_rate, steps),
            "model.gamma_init": [float(g) for g in gammas.split(",")],
        },
        "budgets": {"images": [max(most // 4, 1), max(most // 2, 1), most]},
    }
    source = yaml.dump(raw)
    planned = make_plan(*parse_study(source, f"{file} (tune)"), runs)
    worker = worker_command() or (sys.executable, "-P", "-m", "var_scaling.worker")
    first = prepare(planned, source, "ray", only=lambda trial: False, first_budget_only=True)
    stages = prepare(planned, source, "ray", stages_only=("tokens",))
    launcher = LocalLauncher(runs, cores, worker)
    launcher.submit(stages.jobs, first.folder)
    follow(stages, launcher, lambda view: None)
    if launcher.failed:
        raise EnvironmentProblem(f"a stage failed: {', '.join(sorted(launcher.failed))}; see its attempt's log")
    err.print(f"{len(planned.trials)} candidates at depth {depth}, rungs {list(planned.trials[0].spent)} images")
    points = tuning.search(first, worker, cores or available_cores())
    if not points:
        raise EnvironmentProblem(f"no candidate got as far as a row; see the logs under {first.folder}/ray")
    recipe = tuning.winner(out_file.stem, first, points)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(out_file, yaml.dump(recipe.model_dump(mode="python")).encode())
    edge = "; it lies at the edge of the search: widen it with --steps" if recipe.at_edge else ""
    out.print(
        f"learning rate {recipe.learning_rate:g}, gamma {recipe.gamma_init:g} (loss {points[0].loss:.4f} at "
        f"{points[0].images:,} images; {len(points)} candidates){edge}\n"
        f"next: var-sweep plan {file} --recipe {out_file}",
        highlight=False,
    )
