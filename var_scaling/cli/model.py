"""`var-scaling train | evaluate | sample`, `tokenizer train | evaluate`, `tokens build`: one model at a time.

Each is a launch of one trial or stage through the engine of a sweep, so it is resumed, shared and never done twice.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.options import Json, Overrides, Runs, tell
from var_scaling.cli.run import Failed, err, out, print_json
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import store

if TYPE_CHECKING:  # the engine is imported by the commands that use it, so that the laws start without it
    from var_scaling.planning.plan import Plan
    from var_scaling.planning.works import Kind

tokenizer = typer.Typer(
    help="Train and measure the multi-scale VQ tokenizer.", no_args_is_help=True, rich_markup_mode=None
)
tokens = typer.Typer(help="Encode a data set once, for all trials.", no_args_is_help=True, rich_markup_mode=None)

Base = Annotated[Path | None, typer.Option("--from", help="A sweep file whose base to start from.")]
Cores = Annotated[int | None, typer.Option(help="Cores for local workers (default: all).", min=1)]
Trial = Annotated[str, typer.Argument(help="A trial's name or id, or the start of one.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `var-scaling`."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(sample)
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


Guidance = Annotated[
    float | None, typer.Option(help="Strength t of guidance; 0 is off (default: the family's).", min=0)
]
Sampler = Annotated[
    list[str], typer.Option("--sampler", help="Another setting of the family's sampler, e.g. top_k=900 or steps=250.")
]


def _settings(guidance: float | None, given: list[str]) -> dict[str, Any]:
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


def _trained(runs: Path, trial: str, images: int | None) -> tuple[Path, int]:
    """A trial's folder and one of its trained budgets, the largest unless named."""
    from var_scaling.launch.status import find_trial

    folder = find_trial(runs, trial)
    rows = sorted(int(p.parent.name) for p in folder.glob("budgets/*/row.json"))
    if not rows:
        raise RequestProblem(f"{folder.name} has no trained budget yet; `var-sweep status` says how far it is")
    budget = images if images is not None else rows[-1]
    if budget not in rows:
        raise RequestProblem(f"{folder.name} has no budget of {budget} images; it has {', '.join(map(str, rows))}")
    return folder, budget


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

    folder, budget = _trained(runs, trial, images)
    fid = {
        "samples": samples,
        "features": features,
        "reference": reference,
        **_settings(guidance, sampler),
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
    given = _settings(guidance, sampler)
    folder, budget = _trained(runs, trial, images)
    names = _class_names(folder)
    chosen = [_class(name, names) for name in classes] or None
    from var_scaling.config.evaluate import FidConfig
    from var_scaling.evaluation.generation import sample_grid
    from var_scaling.planning.resolve import fid_of, sampler_of
    from var_scaling.work.context import load_model

    err.print(f"sampling {folder.name} at {budget:,} images")
    model = load_model(runs, folder, budget)
    try:
        drawn = sampler_of(model.config, fid_of(model.config, FidConfig.model_validate(given)))
    except ValueError as error:
        raise RequestProblem(str(error).replace("evaluate.fid.", "--sampler ")) from None
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


def _class_names(trial: Path) -> tuple[str, ...]:
    from var_scaling.config import yaml
    from var_scaling.config.class_names import class_names
    from var_scaling.planning.trial import read_trial

    try:
        config = read_trial(yaml.load(trial / "config.yaml")[0])
    except ValueError as error:  # of a family whose package is not installed here
        raise EnvironmentProblem(f"{trial.name}: {error}") from None
    return class_names(config.data, config.placement.image_folder)


def _class(wanted: str, names: tuple[str, ...]) -> int:
    """Number of a class by its name, or by itself where no class is called so."""
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise RequestProblem(f"--class {wanted} is none of the {len(names)} classes ({listed}), nor a number below it")


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
