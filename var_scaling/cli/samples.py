"""`var-scaling sample`: pictures drawn by a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from var_scaling import extras
from var_scaling.cli.options import Json, Runs
from var_scaling.cli.run import err, out, print_json
from var_scaling.cli.trained import Guidance, Sampler, Trial, class_names_of, class_number, load, settings, trained
from var_scaling.errors import EnvironmentProblem


def register(app: typer.Typer) -> None:
    """Add the command to `var-scaling`."""
    app.command()(sample)


def sample(
    trial: Trial,
    to: Annotated[Path, typer.Option("--to", help="PNG to write.")] = Path("samples.png"),
    images: Annotated[int | None, typer.Option(help="Which budget, in images (default: the largest).")] = None,
    per_class: Annotated[int, typer.Option(help="Images of each class.", min=1)] = 8,
    classes: Annotated[
        list[str], typer.Option("--class", help="Only this class, by name or number; more than once for several.")
    ] = [],  # noqa: B006
    guidance: Guidance = None,
    sampler: Sampler = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0)] = 0,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Draw a grid of samples: a column for each class.

    Examples:

      var-scaling sample var-d6-s0

      var-scaling sample var-d6-s0 --images 20480 --guidance 3 --to early.png

      var-scaling sample var-d6-s0 --class coat --class 9 --per-class 20
    """
    extras.need("train")
    given = settings(guidance, sampler)
    folder, budget = trained(runs, trial, images)
    names = class_names_of(folder)
    chosen = [class_number(name, names) for name in classes] or None
    from var_scaling.evaluation.generation import sample_grid

    err.print(f"sampling {folder.name} at {budget:,} images")
    model, drawn = load(runs, folder, budget, given)
    try:
        sample_grid(
            model,
            drawn,
            path=to,
            per_class=per_class,
            classes=chosen,
            names=names,
            seed=seed,
        )
    except OSError as error:
        raise EnvironmentProblem(f"{to} cannot be written: {error.strerror}; choose another place with --to") from None
    if json:
        print_json({"schema": 1, "trial": folder.name, "images": budget, "file": str(to)})
    else:
        out.print(f"wrote {to}")
