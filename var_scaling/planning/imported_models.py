"""A model with weights from elsewhere as a work of the store, and the plan of measuring it. Torch-free.

It lies in `store/import/<family>-d<depth>-<id>/` and looks like a trial that is trained: identity.json, config.yaml,
needs.json, and one budget in `budgets/0/`, since nobody here knows how many images it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from var_scaling.config import yaml
from var_scaling.config.data import NAMED_SETS, DataConfig, resolve_data
from var_scaling.config.evaluate import EvaluateConfig
from var_scaling.config.image_manifest import Manifests
from var_scaling.errors import RequestProblem
from var_scaling.families.base import ModelConfig
from var_scaling.families.registry import families
from var_scaling.planning import estimate, flops
from var_scaling.planning.imported import Known
from var_scaling.planning.plan import Plan, PlannedTrial
from var_scaling.planning.prices import Prices
from var_scaling.planning.study import Budgets, Study
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.planning.works import Work, reconstruction_works, works_of_import
from var_scaling.runs import layout, store
from var_scaling.runs.record import read_record
from var_scaling.tokenizers.base import TokenizerConfig
from var_scaling.tokenizers.registry import kind_of

BUDGET = 0  # images that an imported model is said to have seen


def model_config(known: Known) -> ModelConfig:
    """The resolved config of an imported model."""
    config: ModelConfig = families()[known.name].config.model_validate(yaml.tuples(dict(known.config)))
    return config


def misfits(model: ModelConfig, tokenizer: TokenizerConfig) -> list[str]:
    """What keeps a model from standing on a tokenizer, a clause each."""
    family, kind = families()[model.family], kind_of(tokenizer)
    if family.latents != kind.latents:
        return [f"{family.name} stands on {family.latents}, and the tokenizer gives {kind.latents}"]
    facts = kind.facts(tokenizer)
    return [
        f"{name} is {_shown(getattr(model, name))} of the model and {_shown(facts[name])} of the tokenizer"
        for name in family.facts
        if name in facts and getattr(model, name) != facts[name]
    ]


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def config_of_import(
    model: ModelConfig, tokenizer: TokenizerConfig | None, data: str | None, image_folder: str | None
) -> TrialConfig:
    """The config of an imported model: with its tokenizer, and the data that its evaluations compare it with.

    Args:
        model: resolved.
        tokenizer: resolved; None: not known yet.
        data: name of a set; None: the one named set of so many classes in that size, else a folder, to be named later.
        image_folder: of an imagefolder.

    Raises:
        ValueError: no such set, or one of another number of classes.
    """
    facts = vars(model)
    config = TrialConfig(model=model)
    config = config.model_copy(update={"tokenizer": tokenizer}) if tokenizer else config
    sizes = vars(tokenizer) if tokenizer else {}
    side, channels, classes = sizes.get("resolution"), sizes.get("image_channels"), facts["num_classes"]
    fitting = [
        name
        for name, known in NAMED_SETS.items()
        if known.classes == classes
        and (not known.resolutions or side in known.resolutions)
        and channels in (None, known.channels)
    ]
    sets = {**{name: known.classes for name, known in NAMED_SETS.items()}, "imagefolder": classes}
    if data is not None and sets.get(data) != classes:
        what = f"has {sets[data]} classes, and the model {classes}" if data in sets else "is no set here"
        fits = ", ".join(name for name, number in sets.items() if number == classes)
        raise ValueError(f"{data} {what}; of so many classes are {fits}")
    name = data or ("imagefolder" if image_folder or len(fitting) != 1 else fitting[0])
    placement = config.placement.model_copy(update={"image_folder": image_folder})
    chosen = DataConfig.model_validate({"name": name, "classes": classes, "resolution": side, "channels": channels})
    return config.model_copy(update={"data": chosen, "placement": placement})


def plan_of_import(
    runs: Path, folder: Path, fid: Mapping[str, Any], feature_weights: str | None = None
) -> tuple[Plan, str]:
    """The plan of measuring an imported model, as `plan_to_launch` of a trained one, and the text of its study.

    Raises:
        RequestProblem: it has no tokenizer, or the evaluation cannot be done.
        EnvironmentProblem: its images are not here.
    """
    config = _with_data(runs, read_trial(yaml.load(layout.config(folder))[0]), feature_weights)
    whole = store.read_json(layout.identity(folder))
    if "tokenizer" not in whole:
        raise RequestProblem(f"{folder.name} was imported without its tokenizer; import it again with --tokenizer NAME")
    study = Study(
        name=f"evaluate-{folder.name.rpartition('-')[2]}",
        budgets=Budgets(images=(1,)),
        evaluate=EvaluateConfig.model_validate({"fid": yaml.tuples(dict(fid)), "samples_grid": "off"}),
    )
    try:
        works = works_of_import(config, whole["weights"], study.evaluate)
    except ValueError as problem:
        raise RequestProblem(str(problem)) from None
    prices = Prices(runs)
    record = read_record(runs, works.trial, [BUDGET], [each.name for each in works.evaluations])
    weights = flops.parameter_bytes(config.model)
    planned = PlannedTrial(
        config,
        works,
        ((BUDGET, BUDGET),),
        record,
        0,
        0,
        estimate.Cost(0.0, "", weights, 0, 2 * weights, 0, micro_batch=1),
        prices.evaluations(config, works.evaluations, record.missing_evaluations),
        False,
    )
    text = yaml.dump({"name": study.name, "evaluate": {"fid": dict(fid)}, "budgets": {"images": (1,)}})
    return _plan(study, runs, works.stages, prices, (planned,)), text


def plan_of_reconstruction(runs: Path, config: TrialConfig, evaluate: EvaluateConfig) -> Plan:
    """The plan of measuring a tokenizer on a data set that it need not have the size of.

    Args:
        runs: the runs folder.
        config: data and tokenizer, resolved.
        evaluate: its first FID names the features of the rFID.

    Raises:
        RequestProblem: the evaluation cannot be done on these data.
    """
    study = Study(name="tokenizer", budgets=Budgets(images=(1,)), evaluate=evaluate)
    try:
        works = reconstruction_works(config, study.evaluate)
    except ValueError as problem:
        raise RequestProblem(str(problem)) from None
    return _plan(study, runs, works, Prices(runs))


def _plan(
    study: Study, runs: Path, works: tuple[Work, ...], prices: Prices, trials: tuple[PlannedTrial, ...] = ()
) -> Plan:
    stages = tuple((stage, read_record(runs, stage)) for stage in works)
    costs = {stage.folder: prices.stage(stage) for stage, record in stages if record.state != "finished"}
    return Plan(study, runs, trials, stages, costs)


def _with_data(runs: Path, config: TrialConfig, feature_weights: str | None) -> TrialConfig:
    placement = config.placement.model_copy(
        update={"feature_weights": feature_weights or config.placement.feature_weights}
    )
    try:
        manifests = Manifests(layout.store(runs), build=True)
        data = resolve_data(config.data, image_folder=placement.image_folder, manifests=manifests)
    except ValueError as problem:
        raise RequestProblem(str(problem)) from None
    return config.model_copy(update={"data": data, "placement": placement})
