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
from var_scaling.runs import store

if TYPE_CHECKING:  # the engine is imported by the commands that use it, so that the laws start without it
    from var_scaling.planning.plan import Plan
    from var_scaling.planning.works import Kind

tokenizer = typer.Typer(
    help="Train and measure the multi-scale VQ tokenizer.", no_args_is_help=True, rich_markup_mode=None
)
tokens = typer.Typer(help="Encode a data set once, for all trials.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to `var-scaling`."""
    app.command()(train)
    app.add_typer(tokenizer, name="tokenizer")
    app.add_typer(tokens, name="tokens")


def _plan(
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

    planned, text = _plan(base, set_, runs, images)
    drive(Order(planned, text, place_of("local", cores=cores), yes=True, mlflow=False), json)


def _stage(
    kind: Kind, base: Path | None, overrides: list[str], runs: Path, cores: int | None, json: bool, fid: bool = False
) -> Path:
    """Build one stage and what it needs, and print its report; returns its result folder."""
    extras.need("train")
    from var_scaling.cli.drive import drive
    from var_scaling.launch.order import Order
    from var_scaling.launch.places import place_of
    from var_scaling.runs.record import read_record

    planned, text = _plan(base, overrides, runs, 10**9, {"features": "classifier"} if fid else None)
    place = place_of("local", cores=cores)
    drive(Order(planned, text, place, stages_only=(kind,), yes=True, mlflow=False), json=False, quiet=True)
    stage = next(work for work, _ in planned.stages if work.kind == kind)  # of several feature spaces the first
    report = store.read_json(runs / stage.folder / "result" / "report.json") or store.read_json(
        runs / stage.folder / "result" / "meta.json"
    )
    if report is None:
        record = read_record(runs, stage)
        err.print(f"{stage.folder}: {record.state}: {record.message or ''}", soft_wrap=True)
        raise Failed
    result = runs / stage.folder / "result"
    if json:
        print_json({"schema": 1, "stage": stage.folder, **report})
        return result
    out.print(f"{stage.folder}")
    scales = [key for key in report if "_scale_" in key]
    for key in [*(key for key in report if key not in scales), *scales]:  # what counts first
        value = report[key]
        if isinstance(value, int | float | str):
            out.print(f"  {key:<26}{value:.4f}" if isinstance(value, float) else f"  {key:<26}{value}", soft_wrap=True)
    return result


@tokenizer.command("train")
def tokenizer_train(
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Train a tokenizer, or find it trained.

    Examples:

      var-scaling tokenizer train --set tokenizer.preset=small

      var-scaling tokenizer train --set data.name=cifar10 --set tokenizer.train.images=200000
    """
    _stage("tokenizer", base, set_, runs, cores, json)


@tokenizer.command("evaluate")
def tokenizer_evaluate(
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """PSNR, rFID against training and validation images, and use of the codebook at each scale.

    Example: var-scaling tokenizer evaluate --set tokenizer.preset=small
    """
    result = _stage("reconstruction", base, set_, runs, cores, json, fid=True)
    if json:
        return
    sanity = store.read_json(result / "sanity.json")
    if sanity:
        out.print(
            "what the same FID says of images whose quality is known (validation images against training images;\n"
            "corrected for their number, with 95 %):"
        )
        for row in sanity:
            low, high = row["fid_low"], row["fid_high"]
            out.print(f"  {row['images']:<24}{row['fid_corrected']:8.3f}  ({low:.3f} to {high:.3f})")
    out.print(f"truth above its reconstruction: {result / 'reconstructions.png'}", soft_wrap=True)
    for words in _tokenizer_symptoms(runs, result, sanity):
        out.print(f"look: {words}", soft_wrap=True)


def _tokenizer_symptoms(runs: Path, result: Path, sanity: Any) -> list[str]:
    from var_scaling.config import yaml
    from var_scaling.runs.symptoms import of_reconstructions, of_tokenizer

    needs = store.read_json(result.parent / "needs.json")
    trained = next(runs / need / "result" for need in needs if need.startswith("store/tokenizer/"))
    size = yaml.load(result.parent / "config.yaml")[0]["tokenizer"]["vocab_size"]
    report = store.read_json(result / "report.json")
    return [
        *of_tokenizer(store.read_json(trained / "report.json") or {}, size),
        *of_reconstructions(report, sanity),
    ]


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
    _stage("tokens", base, set_, runs, cores, json)
