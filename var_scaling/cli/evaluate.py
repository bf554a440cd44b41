"""`var-scaling evaluate`: FID and its relatives of a trained model, or of anybody's samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.model import built
from var_scaling.cli.options import Base, Cores, Json, Overrides, Runs, features_named, tell
from var_scaling.cli.progress import progress
from var_scaling.cli.run import Failed, err, out, print_json
from var_scaling.cli.trained import Guidance, Sampler, at, load, settings, trained
from var_scaling.config.evaluate import NETWORKS
from var_scaling.errors import RequestProblem
from var_scaling.runs import layout, store

if TYPE_CHECKING:
    from var_scaling.evaluation.features import Extractor
    from var_scaling.evaluation.others import FileReference
    from var_scaling.planning.plan import Plan

SPLITS = ("train", "validation")


def register(app: typer.Typer) -> None:
    """Add the command to `var-scaling`."""
    app.command()(evaluate)


def evaluate(
    trial: Annotated[
        str | None, typer.Argument(help="A trial's name or id, or the start of one; of samples, the one of their data.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Which budget, in images (default: the largest).")] = None,
    samples: Annotated[int, typer.Option(help="Images to draw.", min=2)] = 2_000,
    samples_from: Annotated[
        Path | None, typer.Option("--samples-from", help="Measure these: .npz (arr_0) or a folder of pictures.")
    ] = None,
    features: Annotated[str, typer.Option(help="classifier, shape, inception, dinov2 or clip.")] = "classifier",
    reference: Annotated[
        str, typer.Option(help="train, validation, an .npz (mu and sigma, or arr_0), or a folder of pictures.")
    ] = "train",
    guidance: Guidance = None,
    sampler: Sampler = [],  # noqa: B006
    weights: Annotated[str | None, typer.Option(help="Folder with the feature network's weights.")] = None,
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Measure FID, KID, Inception score, precision and recall of a trained model or of samples; trains no model.

    Examples:

      var-scaling evaluate var-d4-s0

      var-scaling evaluate var-d4-s0 --samples 5000 --guidance 3

      var-scaling evaluate var-d4 --features inception --samples 10240 --weights ~/weights

      var-scaling evaluate var-d30 --samples 50000 --features inception --reference VIRTUAL_imagenet256.npz

      var-scaling evaluate --samples-from theirs.npz --reference ref.npz --features inception

      var-scaling evaluate var-d4-s0 --samples-from their_pictures/ --reference validation
    """
    extras.need("train")
    space = features_named(features)
    if trial is None and samples_from is None:
        raise RequestProblem("say which trial to measure, or --samples-from FILE for samples that are there")
    folder, budget = trained(runs, trial, images) if trial is not None else (None, 10**9)
    if samples_from is None and reference in SPLITS:
        assert folder is not None
        fid = {"samples": samples, "features": space, "reference": reference, **settings(guidance, sampler)}
        _evaluate_trial(folder, budget, fid, weights, runs, cores, json)
        return
    if samples_from is not None and (guidance is not None or sampler):
        raise RequestProblem(
            "--guidance and --sampler draw samples, and --samples-from has them already; leave one out"
        )
    if reference not in SPLITS and not Path(reference).exists():
        raise RequestProblem(
            f"--reference {reference} is neither train nor validation, nor a file or folder that is there"
        )
    place = samples_from
    if place is None:
        assert folder is not None
        place = _drawn(runs, folder, budget, samples, settings(guidance, sampler))
    planned = _data_plan(folder, budget, base, set_, space, reference, weights, runs)
    result = _measured(place, reference, space, weights, planned, runs, cores)
    if json:
        print_json({"schema": 1, **result})
        return
    out.print(f"{place}, {result['label']}", soft_wrap=True)
    _print_numbers(result)


def _print_numbers(result: dict[str, Any]) -> None:
    for key, value in result.items():
        if isinstance(value, float):
            out.print(f"  {key:<24}{value:.4f}")
    if note := result.get("note"):
        out.print(f"  no FID: {note}", soft_wrap=True)


def _evaluate_trial(
    folder: Path, budget: int, fid: dict[str, Any], weights: str | None, runs: Path, cores: int | None, json: bool
) -> None:
    """A measurement as a study asks for one: kept with the budget, and never made twice."""
    from var_scaling.cli.drive import drive
    from var_scaling.launch.order import Order
    from var_scaling.launch.places import place_of

    planned, text = _plan_of_trial(folder, budget, fid, weights, runs)
    place = place_of("local", cores=cores)
    drive(Order(planned, text, place, failed_too=True, yes=True, mlflow=False), json=False, quiet=True)
    (evaluation,) = planned.trials[0].works.evaluations
    result = store.read_json(layout.evaluation(layout.budget(folder, budget), evaluation.name))
    if result is None:
        raise Failed
    if json:
        print_json({"schema": 1, "trial": folder.name, "images": budget, **result})
        return
    out.print(f"{at(folder, budget)}, {result['label']}")
    _print_numbers(result)


def _plan(
    raw: dict[str, Any], budget: int, fid: dict[str, Any], weights: str | None, runs: Path, *overrides: str
) -> tuple[Plan, str]:
    """The study of one trial and one measurement."""
    from var_scaling.config import yaml
    from var_scaling.planning.plan import plan_to_launch
    from var_scaling.planning.study import parse_study

    study = {"name": "evaluate", "base": raw, "budgets": {"images": (budget,)}, "evaluate": {"fid": fid}}
    if weights:
        raw.setdefault("placement", {})["feature_weights"] = weights
    text = yaml.dump(study)
    parsed, configs = parse_study(text, "evaluate", overrides)
    return plan_to_launch(parsed, configs, runs, tell=tell), text


def _plan_of_trial(folder: Path, budget: int, fid: dict[str, Any], weights: str | None, runs: Path) -> tuple[Plan, str]:
    from var_scaling.config import yaml
    from var_scaling.planning.imported_models import plan_of_import

    if layout.is_import(folder):
        return plan_of_import(runs, folder, fid, weights)
    planned, text = _plan(yaml.load(layout.config(folder))[0], budget, fid, weights, runs)
    name = f"evaluate-{folder.name.rpartition('-')[2]}"
    study = planned.study.model_copy(update={"name": name})
    return replace(planned, study=study), text.replace("evaluate", name, 1)


def _drawn(runs: Path, folder: Path, budget: int, samples: int, given: dict[str, Any]) -> Path:
    """A set of a trial's samples, beside its budget: as many of each class; drawn once for all references."""
    from var_scaling.evaluation.sets import draw_set
    from var_scaling.planning.identity import digest

    model, drawn = load(runs, folder, budget, given)
    about = {"trial": folder.name, "images": budget}
    name = digest({**about, "sampler": drawn.model_dump(mode="json"), "count": samples})
    place = layout.sample_set(layout.budget(folder, budget), name)
    err.print(f"drawing {samples:,} samples of {folder.name} into {place}", soft_wrap=True)
    classes = range(model.num_classes)
    with progress("drawn") as beat:
        try:
            draw_set(model, drawn, place, count=samples, classes=classes, about=about, beat=beat)
        except ValueError as problem:
            raise RequestProblem(str(problem)) from None
    return place


def _data_plan(
    folder: Path | None,
    budget: int,
    base: Path | None,
    overrides: list[str],
    features: str,
    reference: str,
    weights: str | None,
    runs: Path,
) -> tuple[Plan, str] | None:
    """The data that our own network is of, or a split of which is the reference; None where neither is wanted."""
    from var_scaling.config import yaml

    if features in NETWORKS and reference not in SPLITS:
        return None
    fid = {"features": features, "samples": 20_480}  # enough for any features: nothing is drawn for it
    if folder is not None:
        return _plan_of_trial(folder, budget, fid, weights, runs)
    if base is None and not overrides:
        what = f"--reference {reference} is" if features in NETWORKS else f"{features} features are"
        raise RequestProblem(
            f"{what} of a data set: name a trial on it, or say which set, e.g. --set data.name=fashion-mnist-mini or "
            "--from sweeps/depth.yaml; --features inception with --reference FILE needs none"
        )
    content = {} if base is None else yaml.load(base)[0]
    raw = dict(content.get("base", {})) if isinstance(content, dict) else {}
    return _plan(raw, 10**9, fid, weights, runs, *overrides)


def _measured(
    place: Path,
    reference: str,
    features: Any,
    weights: str | None,
    planned: tuple[Plan, str] | None,
    runs: Path,
    cores: int | None,
) -> dict[str, Any]:
    from var_scaling.evaluation.others import measure_set
    from var_scaling.training.device import choose_device

    device = choose_device("auto")
    with progress("measured") as beat:
        try:
            if planned is None:
                from var_scaling.config.data import DataConfig
                from var_scaling.evaluation.features import load_extractor

                # The data is asked for its classes by our own classifier alone.
                network = load_extractor(features, data=DataConfig(), weights_folder=weights, device=device)
                return measure_set(place, network, channels=network.channels, reference=Path(reference), beat=beat)
            network, channels, compared = _of_data(planned, reference, weights, runs, cores, device)
            return measure_set(place, network, channels=channels, reference=compared, beat=beat)
        except ValueError as problem:
            raise RequestProblem(str(problem)) from None


def _of_data(
    planned: tuple[Plan, str], reference: str, weights: str | None, runs: Path, cores: int | None, device: Any
) -> tuple[Extractor, int, FileReference | Path]:
    """The feature network, its channels, and what is compared with."""
    from var_scaling.data.images import load_images
    from var_scaling.evaluation.features import evaluation_extractor, reference_features
    from var_scaling.evaluation.others import FileReference

    plan, text = planned
    (trial,) = plan.trials
    (request,) = trial.works.evaluations
    result = None if request.network is None else layout.result(runs / request.network)
    if result is not None and not result.exists():
        kind = next(work.kind for work, _ in plan.stages if work.folder == request.network)
        built(plan, text, kind, runs, cores)
    evaluation = request.config
    network = evaluation_extractor(evaluation, result, weights, device)
    channels = network.channels or evaluation.data.channels or 3
    if reference not in SPLITS:
        return network, channels, Path(reference)
    images = load_images(evaluation.data, image_folder=trial.config.placement.image_folder, store=layout.store(runs))
    split: Any = reference
    kept = reference_features(images, split, network, cache=layout.features(runs))
    name = f"{evaluation.data.name}-{reference}@{images.content_hash[:8]}"
    return network, channels, FileReference(kept, name, kept.gaussian.count)
