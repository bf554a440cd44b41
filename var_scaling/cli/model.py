"""`var-scaling train`, `tokenizer train | evaluate`, `tokens build`: one model or stage at a time.

Each is a launch of one trial or stage through the engine of a sweep, so it is resumed, shared and never done twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.options import Base, Cores, Json, Overrides, Runs, tell
from var_scaling.cli.run import Failed, err, out, print_json
from var_scaling.runs import layout, store

if TYPE_CHECKING:  # the engine is imported by the commands that use it, so that the laws start without it
    from var_scaling.planning.plan import Plan
    from var_scaling.planning.works import Kind, Work

tokens = typer.Typer(help="Encode a data set once, for all trials.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to `var-scaling`."""
    app.command()(train)
    app.add_typer(tokens, name="tokens")


def plan_of_one(
    base: Path | None, overrides: list[str], runs: Path, images: int, fid: dict[str, Any] | None = None
) -> tuple[Plan, str]:
    """The plan of one trial: the base of a sweep file, or the defaults of a small ladder, with overrides.

    Where a FID is asked for, the file's own evaluations go before it: what a launch measures is what is measured here.
    """
    from var_scaling.config import yaml
    from var_scaling.planning.plan import plan_to_launch
    from var_scaling.planning.study import parse_study

    evaluate: dict[str, Any] = {}
    if base is None:
        raw: dict[str, Any] = {"model": {"head_dim": 16, "depth": 4}}
    else:
        content = yaml.load(base)[0]
        raw = dict(content.get("base", {})) if isinstance(content, dict) else {}
        evaluate = dict(content.get("evaluate") or {}) if isinstance(content, dict) else {}
    study: dict[str, Any] = {"name": "single", "base": raw, "budgets": {"images": (images,)}}
    if fid is not None:
        study["evaluate"] = {"fid": fid} | evaluate
    text = yaml.dump(study)
    parsed, configs = parse_study(text, str(base or "the defaults"), overrides)
    planned = plan_to_launch(parsed, configs, runs, tell=tell)
    (trial,) = planned.trials
    name = f"single-{trial.work.id}"
    return replace(planned, study=parsed.model_copy(update={"name": name})), text.replace("single", name, 1)


def train(
    images: Annotated[int, typer.Option(help="Budget: images seen by the annealed model.", min=1)] = 20_480,
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Train one model to one budget, with its tokenizer and tokens if they are not there yet.

    Examples:

      var-scaling train --set model.depth=4 --images 20480

      var-scaling train --from sweeps/depth.yaml --set model.depth=3 --set train.learning_rate=0.01
    """
    extras.need("train")
    from var_scaling.cli.drive import drive
    from var_scaling.launch.order import Order
    from var_scaling.launch.places import place_of

    planned, text = plan_of_one(base, set_, runs, images)
    drive(Order(planned, text, place_of("local", cores=cores), yes=True, mlflow=False), json)


def built(planned: Plan, text: str, kind: Kind, runs: Path, cores: int | None) -> tuple[Work, dict[str, Any]]:
    """Build one stage of a plan and what it needs, or find it built; the stage, and what it says of itself.

    Raises:
        Failed: it could not be built; its failure has been told.
    """
    from var_scaling.cli.drive import drive
    from var_scaling.launch.order import Order
    from var_scaling.launch.places import place_of
    from var_scaling.runs.record import read_record

    place = place_of("local", cores=cores)
    drive(Order(planned, text, place, stages_only=(kind,), yes=True, mlflow=False), json=False, quiet=True)
    work = next(work for work, _ in planned.stages if work.kind == kind)  # of several feature spaces the first
    result = layout.result(runs / work.folder)
    report = store.read_json(layout.report(result)) or store.read_json(layout.latents(result))
    if report is None:
        record = read_record(runs, work)
        err.print(f"{work.folder}: {record.state}: {record.message or ''}", soft_wrap=True)
        raise Failed
    return work, report


def stage(kind: Kind, base: Path | None, overrides: list[str], runs: Path, cores: int | None, json: bool) -> None:
    """Build one stage and what it needs, and print its report."""
    extras.need("train")
    planned, text = plan_of_one(base, overrides, runs, 10**9)
    work, report = built(planned, text, kind, runs, cores)
    if json:
        print_json({"schema": 1, "stage": work.folder, **report})
        return
    out.print(f"{work.folder}")
    scales = [key for key in report if "_scale_" in key]
    for key in [*(key for key in report if key not in scales), *scales]:  # what counts first
        value = report[key]
        if isinstance(value, int | float | str):
            out.print(f"  {key:<26}{value:.4f}" if isinstance(value, float) else f"  {key:<26}{value}", soft_wrap=True)


@tokens.command("build")
def tokens_build(
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Encode K views of every image into the cache that all trials share.

    Example: var-scaling tokens build --set data.views=4
    """
    stage("tokens", base, set_, runs, cores, json)
