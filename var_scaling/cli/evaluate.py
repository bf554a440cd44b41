"""`var-scaling evaluate`: FID and its relatives of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from var_scaling import extras
from var_scaling.cli.options import Cores, Json, Runs, tell
from var_scaling.cli.run import Failed, out, print_json
from var_scaling.cli.trained import Guidance, Sampler, Trial, settings, trained
from var_scaling.runs import store


def register(app: typer.Typer) -> None:
    """Add the command to `var-scaling`."""
    app.command()(evaluate)


def evaluate(
    trial: Trial,
    images: Annotated[int | None, typer.Option(help="Which budget, in images (default: the largest).")] = None,
    samples: Annotated[int, typer.Option(help="Images to draw.", min=2)] = 2_000,
    features: Annotated[str, typer.Option(help="classifier, inception, dinov2 or clip.")] = "classifier",
    reference: Annotated[str, typer.Option(help="train or validation.")] = "train",
    guidance: Guidance = None,
    sampler: Sampler = [],  # noqa: B006
    weights: Annotated[str | None, typer.Option(help="Folder with the feature network's weights.")] = None,
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Measure FID, KID, Inception score, precision and recall of a trained model; trains nothing.

    Examples:

      var-scaling evaluate var-d4-s0

      var-scaling evaluate var-d4-s0 --samples 5000 --guidance 3

      var-scaling evaluate var-d4 --features inception --samples 10240 --weights ~/weights
    """
    extras.need("train")
    from var_scaling.cli.drive import drive
    from var_scaling.config import yaml
    from var_scaling.launch.order import Order
    from var_scaling.launch.places import place_of
    from var_scaling.planning.plan import plan_to_launch
    from var_scaling.planning.study import parse_study

    folder, budget = trained(runs, trial, images)
    fid = {
        "samples": samples,
        "features": features,
        "reference": reference,
        **settings(guidance, sampler),
    }
    study = {
        "name": f"evaluate-{folder.name.rpartition('-')[2]}",
        "base": yaml.load(folder / "config.yaml")[0],
        "budgets": {"images": (budget,)},
        "evaluate": {"fid": fid},
    }
    if weights:
        study["base"]["placement"]["feature_weights"] = weights
    text = yaml.dump(study)
    parsed, configs = parse_study(text, "evaluate")
    planned = plan_to_launch(parsed, configs, runs, tell=tell)
    place = place_of("local", cores=cores)
    drive(Order(planned, text, place, failed_too=True, yes=True, mlflow=False), json=False, quiet=True)
    (evaluation,) = planned.trials[0].works.evaluations
    result = store.read_json(folder / "budgets" / str(budget) / "evaluations" / evaluation.name)
    if result is None:
        raise Failed
    if json:
        print_json({"schema": 1, "trial": folder.name, "images": budget, **result})
        return
    out.print(f"{folder.name} at {budget:,} images, {result['label']}")
    for key, value in result.items():
        if isinstance(value, float):
            out.print(f"  {key:<24}{value:.4f}")
