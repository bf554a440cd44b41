"""From what a user wrote to what is run: fills every `None`, in the order data, tokenizer, model, recipe.

Nothing here looks at the machine, so a config resolves to the same values everywhere. The one thing read is an image
folder's manifest, where `imagefolder` is asked for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from pydantic import ValidationError

from var_scaling.config.data import DataConfig, mirrors, resolve_data
from var_scaling.config.evaluate import FidConfig
from var_scaling.config.image_manifest import Manifests
from var_scaling.config.train import TrainConfig
from var_scaling.errors import RequestProblem
from var_scaling.families.base import ModelConfig, Recipe, Recomputing, SamplerConfig, Transferring
from var_scaling.families.registry import families, family_of
from var_scaling.planning import flops
from var_scaling.planning.imported import Imports
from var_scaling.planning.study import Budgets
from var_scaling.planning.trial import TrialConfig
from var_scaling.tokenizers.base import TokenizerConfig
from var_scaling.tokenizers.registry import kind_of, presets


@lru_cache(maxsize=4096)
def _data(config: DataConfig, image_folder: str | None, manifests: Manifests) -> DataConfig:
    return resolve_data(config, image_folder=image_folder, manifests=manifests)


@lru_cache(maxsize=4096)
def _tokenizer(config: TokenizerConfig, resolution: int, channels: int, flip: bool) -> TokenizerConfig:
    """One that is trained here: the same on every machine, so it is resolved once."""
    resolved: TokenizerConfig = kind_of(config).resolve(config, resolution=resolution, channels=channels, flip=flip)
    return resolved


def resolve(config: TrialConfig, manifests: Manifests | None = None, imports: Imports | None = None) -> TrialConfig:
    """A config without `None` in its identity.

    Args:
        config: as a user wrote it, or resolved.
        manifests: what one plan knows of image folders; None looks afresh.
        imports: what it knows of imported weights; None looks into the runs folder that is meant without a word.

    Raises:
        RequestProblem: values that contradict one another; the value, the rule and the way out.
        EnvironmentProblem: an image folder that is needed for its facts is not there.
    """
    try:
        data = _data(config.data, config.placement.image_folder, manifests or Manifests())
        assert data.resolution is not None and data.channels is not None
        resolve_it = (imports or Imports()).tokenizer if config.tokenizer.imported else _tokenizer
        tokenizer = resolve_it(config.tokenizer, data.resolution, data.channels, mirrors(config.data))
    except ValueError as error:
        raise RequestProblem(str(error)) from None
    if config.train.precision == "tf32" and config.placement.device == "cpu":
        raise RequestProblem("train.precision = tf32 with placement.device = cpu, which has none; use float32")
    model, train = _recipe(config.model, config.train)
    model = _model(model, tokenizer, data)
    if problems := list(family_of(model).problems(model)):
        raise RequestProblem(*problems)
    if config.execution.recompute != "off" and not isinstance(family_of(model), Recomputing):
        raise RequestProblem(
            f"execution.recompute = {config.execution.recompute}: family {model.family} does not say which of its "
            "parts can be computed again; leave it out"
        )
    _check_batch(train, "execution.micro_batch", config.execution.micro_batch or 1)
    _check_batch(train, "placement.gpus", config.placement.gpus)
    numerics = config.numerics if config.numerics is not None else family_of(model).numerics
    return config.model_copy(
        update={
            "data": data,
            "tokenizer": tokenizer,
            "model": model,
            "train": train,
            "numerics": numerics,
        }
    )


def _model(model: ModelConfig, tokenizer: TokenizerConfig, data: DataConfig) -> ModelConfig:
    family, kind = family_of(model), kind_of(tokenizer)
    if kind.latents != family.latents:
        fitting = [preset for preset, other in presets().items() if other.latents == family.latents]
        given = "the weights give" if tokenizer.imported else f"tokenizer.preset {tokenizer.preset} gives"
        raise RequestProblem(
            f"model.family {family.name} stands on {family.latents}, and {given} {kind.latents}; "
            f"use one of the presets {', '.join(fitting)}"
        )
    facts = {**kind.facts(tokenizer), "num_classes": data.classes}
    derived = {name: facts[name] for name in family.facts}
    for name, value in derived.items():
        asked = getattr(model, name)
        if asked is not None and asked != value:
            source = "data" if name == "num_classes" else "tokenizer"
            raise RequestProblem(f"model.{name} = {asked} differs from the {source}'s {value}; leave it out")
    return model.model_copy(update=derived)


def _recipe(model: ModelConfig, train: TrainConfig) -> tuple[ModelConfig, TrainConfig]:
    family = family_of(model)
    name = train.recipe or family.default_recipe(model)
    if name not in family.recipes:
        raise RequestProblem(
            f"train.recipe = {name!r} is no recipe of family {family.name}; its recipes: {', '.join(family.recipes)}"
        )
    horizon = _horizon(train)
    recipe = family.recipe(name, model, train, horizon)
    if train.transfer_from != "off":
        recipe = _transferred(name, model, train, horizon, recipe)
    filled = train.model_copy(
        update={
            "recipe": name,
            "learning_rate": train.learning_rate or recipe.learning_rate,
            **_weight_decay(train, recipe),
            "warmup_images": recipe.warmup_images if train.warmup_images is None else train.warmup_images,
            "betas": train.betas or recipe.betas,
            "gradient_clip": train.gradient_clip or recipe.gradient_clip,
            "label_drop": recipe.label_drop if train.label_drop is None else train.label_drop,
            "ema_half_life_images": train.ema_half_life_images or recipe.ema_half_life_images,
            "horizon_images": horizon or "off",
        }
    )
    left_open = {name: value for name, value in recipe.model.items() if getattr(model, name) is None}
    return model.model_copy(update=left_open), filled


def _transferred(name: str, model: ModelConfig, train: TrainConfig, horizon: int | None, recipe: Recipe) -> Recipe:
    """The rate and the knobs of the base's recipe; the family's torch half makes the rest of them (`Transferring`)."""
    family, base = family_of(model), train.transfer_from
    assert isinstance(base, int)
    if not isinstance(family, Transferring):
        able = [other for other, each in families().items() if isinstance(each, Transferring)]
        raise RequestProblem(
            f"train.transfer_from = {base}: family {model.family} has no rule for how its parts change with size; "
            f"leave it out, or use one of {', '.join(able)}"
        )
    there = family.recipe(name, family.at_depth(model, base), train, horizon)
    knobs = {knob: there.model[knob] for knob in family.knobs if knob in there.model}
    return replace(recipe, learning_rate=there.learning_rate, model={**recipe.model, **knobs})


def sampler_of(model: ModelConfig, fid: FidConfig) -> SamplerConfig:
    """How an evaluation draws from a model of this family: the settings that its sampler has, the rest by default.

    Raises:
        ValueError: as `pydantic.ValidationError`, a value that the sampler cannot have.
    """
    sampler = family_of(model).sampler
    return sampler.model_validate({name: value for name, value in fid.sampler.items() if name in sampler.model_fields})


def fid_of(model: ModelConfig, fid: FidConfig) -> FidConfig:
    """The measurement with every setting of this family's sampler, and none of another's.

    Raises:
        ValueError: a setting that no family's sampler has, or a value that it cannot have; a sentence each.
    """
    known = {name for family in families().values() for name in family.sampler.model_fields}
    problems = []
    for name in fid.sampler.keys() - known:
        own = list(family_of(model).sampler.model_fields)
        close = difflib.get_close_matches(name, own, n=1, cutoff=0.5)
        hint = f" (did you mean `{close[0]}`?)" if close else ""
        fields = [field for field in FidConfig.model_fields]
        problems.append(
            f"unknown key `evaluate.fid.{name}`{hint}; keys: {', '.join(fields)}; "
            f"of the sampler of {model.family}: {', '.join(own)}"
        )
    if problems:
        raise ValueError("; ".join(problems))
    try:
        sampler = sampler_of(model, fid)
    except ValidationError as error:
        raise ValueError(
            "; ".join(
                f"`evaluate.fid.{e['loc'][0]}` = {e['input']!r}: {e['msg'][0].lower()}{e['msg'][1:]}"
                for e in error.errors()
            )
        ) from None
    if impossible := list(sampler.problems(model)):
        raise ValueError("; ".join(f"evaluate.fid: {words}" for words in impossible))
    plain = {name: getattr(fid, name) for name in FidConfig.model_fields}
    return FidConfig.model_validate({**plain, **sampler.model_dump()})


def _horizon(train: TrainConfig) -> int | None:
    """Images at which the schedule ends; None on a trunk."""
    horizon = None if train.horizon_images == "off" else train.horizon_images
    trunk = train.schedule == "wsd"
    if trunk and horizon is not None:
        raise RequestProblem(
            f"train.horizon_images = {horizon} with schedule wsd: a trunk knows no horizon, its budgets branch off; "
            "leave it out, or use schedule lin0 or cosine"
        )
    if not trunk and horizon is None:
        raise RequestProblem(
            f"train.schedule = {train.schedule} needs train.horizon_images, which is part of the trial's identity; "
            "give it (one value, or a grid equal to the budgets), or use schedule wsd"
        )
    if horizon is not None and horizon < train.batch_size:
        raise RequestProblem(
            f"train.horizon_images = {horizon} is below one batch; use at least train.batch_size = {train.batch_size}"
        )
    return horizon


def _weight_decay(train: TrainConfig, recipe: Recipe) -> dict[str, float]:
    """Decay and rate where the schedule ends: on a trunk, where nothing may depend on a horizon, decay is constant."""
    trunk = train.schedule == "wsd"
    decay = train.weight_decay if train.weight_decay is not None else recipe.weight_decay
    final_decay = train.final_weight_decay
    if trunk and final_decay is not None and final_decay != decay:
        raise RequestProblem(
            f"train.final_weight_decay = {final_decay} with schedule wsd: weight decay on a trunk is constant "
            f"({decay}), since nothing on it may depend on a horizon; leave it out"
        )
    if final_decay is None:
        final_decay = decay if trunk or train.weight_decay is not None else recipe.final_weight_decay
    final_rate = train.final_learning_rate
    if final_rate is None:
        final_rate = 0.0 if trunk else recipe.final_learning_rate
    return {"weight_decay": decay, "final_weight_decay": final_decay, "final_learning_rate": final_rate}


def _check_batch(train: TrainConfig, field: str, value: int) -> None:
    """A batch is never rounded to what it is computed on, for its size is identity."""
    if train.batch_size % value:
        valid = [m for m in range(1, train.batch_size + 1) if train.batch_size % m == 0]
        nearest = min(valid, key=lambda m: abs(m - value))
        raise RequestProblem(f"{field} = {value} does not divide train.batch_size = {train.batch_size}; use {nearest}")


# ---- budgets --------------------------------------------------------------------------------------------------------


def images_spent(config: TrialConfig, images: int) -> int:
    """The first step boundary at or after a budget: whole batches, by arithmetic that knows no device."""
    batch = config.train.batch_size
    return -(-images // batch) * batch


def branch_point(config: TrialConfig, images: int) -> int:
    """Images on the trunk before the branch of a budget of so many images spent; its last share is the branch.

    Under a schedule with a horizon there is no branch and the whole budget is trunk.
    """
    if config.train.schedule != "wsd":
        return images
    batch = config.train.batch_size
    steps = images // batch
    return (steps - max(1, round(steps * config.train.decay_share))) * batch


def asked_images(config: TrialConfig, budgets: Budgets) -> tuple[tuple[int, int], ...]:
    """Budgets of a resolved trial as (asked, spent) images, in rising order.

    Raises:
        RequestProblem: a budget below one batch, or one that branches off inside the warm-up, or no budget that is
            this trial's horizon.
    """
    asked: Sequence[int] = budgets.images or [
        math.ceil(f / flops.train_flops_per_image(config.model)) for f in budgets.train_flops or ()
    ]
    train = config.train
    if train.schedule != "wsd":
        assert isinstance(train.horizon_images, int)
        if train.horizon_images not in asked:
            raise RequestProblem(
                f"train.schedule = {train.schedule} finishes at its horizon only: train.horizon_images = "
                f"{train.horizon_images} is none of the budgets {list(asked)}; make one of them equal"
            )
        asked = [train.horizon_images]
    problems = []
    result: dict[int, int] = {}
    for images in sorted(asked):
        if images < train.batch_size:
            problems.append(
                f"budget of {images} images is below one batch of {train.batch_size}; use at least {train.batch_size}"
            )
            continue
        spent = images_spent(config, images)
        assert train.warmup_images is not None
        if train.schedule == "wsd" and branch_point(config, spent) < train.warmup_images:
            least = math.ceil(train.warmup_images / (1 - train.decay_share)) if train.decay_share < 1 else None
            hint = (
                f"use at least {least} images, or a shorter train.warmup_images" if least else "use a decay_share < 1"
            )
            problems.append(
                f"budget of {images} images branches off at {branch_point(config, spent)}, inside the warm-up of "
                f"{train.warmup_images} images; {hint}"
            )
            continue
        result.setdefault(spent, images)
    if problems:
        raise RequestProblem(*problems)
    return tuple((images, spent) for spent, images in result.items())
