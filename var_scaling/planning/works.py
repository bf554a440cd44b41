"""The work that a study consists of: stages (tokenizer, classifier, tokens, reconstruction) and trials.

A *work* is a folder with an identity, a resolved config and what it needs first. It is content-addressed, so two
studies that need the same tokenizer share it. Sizes that a stage does not depend on are no part of its identity: a
tokenizer is trained on all images whatever `unique_images` the trials use, and tokens are cached for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import (
    ClassifierConfig,
    EvaluateConfig,
    FidConfig,
    FidEvaluation,
    NetworkConfig,
    fid_evaluations,
    metric_data,
)
from var_scaling.config.train import ExecutionConfig, PlacementConfig
from var_scaling.families.base import ModelConfig
from var_scaling.planning import identity
from var_scaling.planning.resolve import fid_of
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import layout
from var_scaling.tokenizers.base import TokenizerConfig

Kind = Literal["tokenizer", "classifier", "shape", "tokens", "reconstruction", "trial", "import"]
NOTHING = EvaluateConfig(samples_grid="off")
STAGES: tuple[Kind, ...] = ("tokenizer", "classifier", "shape", "tokens", "reconstruction")


@dataclass(frozen=True)
class Work:
    """One folder's worth of work."""

    kind: Kind
    id: str
    folder: str  # below the runs folder
    identity: Mapping[str, Any]
    config: Mapping[str, Any]  # what config.yaml holds
    needs: tuple[str, ...]  # folders of stages below the runs folder that must be finished before it starts


@dataclass(frozen=True)
class _How:
    """Execution and placement of the stages, which are no part of their identity."""

    execution: ExecutionConfig
    placement: PlacementConfig


def _dump(**sections: Any) -> dict[str, Any]:
    return {
        name: value.model_dump(mode="python", exclude_none=True) if isinstance(value, BaseModel) else value
        for name, value in sections.items()
    }


def _stage(kind: Kind, parts: Mapping[str, Any], how: _How, needs: tuple[str, ...], **sections: Any) -> Work:
    whole = {"kind": kind, **parts}
    key = identity.digest(whole)
    config = _dump(**sections, execution=how.execution, placement=how.placement)
    return Work(kind, key, layout.stage_name(kind, key), whole, config, needs)


# A tokenizer is trained on the plain images of the whole set; its own recipe says whether it flips them.
_NOT_OF_TOKENIZER = frozenset({"unique_images", "validation_images", "views", "crop", "flip"})


@lru_cache(maxsize=1024)
def _tokenizer(data: DataConfig, tokenizer: TokenizerConfig, how: _How) -> Work:
    if tokenizer.imported:  # it was trained on whatever it was trained on
        return _stage("tokenizer", {"tokenizer": identity.canonical(tokenizer)}, how, (), tokenizer=tokenizer)
    data = metric_data(data)
    parts = {"data": identity.canonical(data, _NOT_OF_TOKENIZER), "tokenizer": identity.canonical(tokenizer)}
    return _stage("tokenizer", parts, how, (), data=data, tokenizer=tokenizer)


@lru_cache(maxsize=1024)
def _tokens(data: DataConfig, tokenizer: TokenizerConfig, how: _How) -> Work:
    whole = data.model_copy(update={"unique_images": metric_data(data).unique_images})
    made = _tokenizer(data, tokenizer, how)
    parts = {"data": identity.canonical(whole), "tokenizer": made.id}
    return _stage("tokens", parts, how, (made.folder,), data=whole, tokenizer=tokenizer)


@lru_cache(maxsize=1024)
def _network(recipe: NetworkConfig | str, evaluation: FidEvaluation, how: _How) -> Work | None:
    """A network that is trained on the data of an evaluation; None for a published one."""
    if isinstance(recipe, str):
        return None
    kind: Kind = "classifier" if isinstance(recipe, ClassifierConfig) else "shape"
    parts = {"data": identity.canonical(evaluation.data), kind: identity.canonical(recipe)}
    return _stage(kind, parts, how, (), data=evaluation.data, **{kind: recipe})


@lru_cache(maxsize=1024)
def _reconstruction(evaluation: FidEvaluation, data: DataConfig, tokenizer: TokenizerConfig, how: _How) -> Work:
    made = _tokenizer(data, tokenizer, how)
    needs = [made.folder]
    if network := _network(evaluation.extractor, evaluation, how):
        needs.append(network.folder)
    parts = {"tokenizer": made.id, **identity.canonical(_plain(evaluation), frozenset({"kind"}))}
    return _stage("reconstruction", parts, how, tuple(needs), tokenizer=tokenizer, evaluation=_plain(evaluation))


def _plain(evaluation: FidEvaluation) -> FidEvaluation:
    """The part of an evaluation that a tokenizer's own rFID depends on: features and data, not sampling."""
    fid = FidConfig(features=evaluation.fid.features)
    return evaluation.model_copy(update={"fid": fid, "judge": "none"})


@dataclass(frozen=True)
class Evaluation:
    """One evaluation that a study asks for at every budget, and the stages it stands on."""

    config: FidEvaluation
    name: str  # of its file in a budget's evaluations/
    label: str  # see `identity.evaluation_label`
    network: str | None  # folder of the feature network, where it is ours
    reconstruction: str  # folder of the tokenizer's own figures
    judge: str | None = None  # folder of the network that keeps the best of several candidates

    def dump(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label,
            "config": self.config.model_dump(mode="python"),
            "network": self.network,
            "reconstruction": self.reconstruction,
            **({} if self.judge is None else {"judge": self.judge}),
        }


@dataclass(frozen=True)
class TrialWorks:
    """A trial with everything it stands on; `stages` are in an order in which they can be built."""

    trial: Work
    stages: tuple[Work, ...]  # for training and evaluation
    evaluations: tuple[Evaluation, ...]


def works_of(config: TrialConfig, evaluate: EvaluateConfig) -> TrialWorks:
    """The work that one resolved trial of a study asks for.

    Raises:
        ValueError: an evaluation that cannot be done on these data.
    """
    for fid in evaluate.fids:
        if config.train.label_drop == 0 and (strength := fid.sampler.get("guidance")):  # a default is told by a note
            raise ValueError(
                f"evaluate.fid.guidance {strength:g} with train.label_drop 0: the model never learns to draw without a "
                "class, which is what guidance pushes away from; use guidance 0, or train with label dropout (0.1)"
            )
    how = _How(config.execution, config.placement)
    tokenizer = _tokenizer(config.data, config.tokenizer, how)
    tokens = _tokens(config.data, config.tokenizer, how)
    stages, evaluations = _evaluations(config, evaluate)
    whole = identity.of_trial(config)
    key = identity.digest(whole)
    folder = layout.trial_name(f"{config.model.family}-d{config.model.depth}-s{config.seed}-{key}")
    dump = config.model_dump(mode="python", exclude_none=True)
    trial = Work("trial", key, folder, whole, dump, (tokenizer.folder, tokens.folder))
    unique = {stage.folder: stage for stage in (tokenizer, tokens, *stages)}
    return TrialWorks(trial, tuple(unique.values()), tuple(evaluations))


def tokenizer_work(config: TrialConfig) -> Work:
    """The tokenizer that a resolved trial stands on."""
    return _tokenizer(config.data, config.tokenizer, _How(config.execution, config.placement))


def works_of_import(config: TrialConfig, weights: str, evaluate: EvaluateConfig = NOTHING) -> TrialWorks:
    """The work that a model with weights from elsewhere is, and what it asks for.

    Args:
        config: data of its evaluations, tokenizer (where it is known) and model, resolved; the rest is not looked at.
        weights: hash of the content.
        evaluate: what is measured.

    Raises:
        ValueError: an evaluation that cannot be done on these data.
    """
    whole: dict[str, Any] = {"kind": "import", "model": identity.canonical(config.model), "weights": weights}
    needs: tuple[Work, ...] = ()
    if config.tokenizer.imported:
        needs = (tokenizer_work(config),)
        whole["tokenizer"] = needs[0].id
    key = identity.digest(whole)
    names = ("data", "model", "execution", "placement", *(("tokenizer",) if needs else ()))
    dump = _dump(**{name: getattr(config, name) for name in names})
    folder = layout.stage_name("import", f"{config.model.family}-d{config.model.depth}-{key}")
    model = Work("import", key, folder, whole, dump, tuple(work.folder for work in needs))
    stages, evaluations = _evaluations(config, evaluate)
    unique = {stage.folder: stage for stage in (*needs, *stages)}
    return TrialWorks(model, tuple(unique.values()), tuple(evaluations))


def reconstruction_works(config: TrialConfig, evaluate: EvaluateConfig) -> tuple[Work, ...]:
    """What measuring a tokenizer takes, in an order in which it can be built; the last is the reconstruction.

    Args:
        config: data and tokenizer, resolved; the rest is not looked at.
        evaluate: its first FID names the features.

    Raises:
        ValueError: an evaluation that cannot be done on these data.
    """
    stages, _ = _evaluations(config, evaluate)
    return tuple({stage.folder: stage for stage in (tokenizer_work(config), *stages)}.values())


def _evaluations(config: TrialConfig, evaluate: EvaluateConfig) -> tuple[list[Work], list[Evaluation]]:
    """Evaluations of a model, and the stages that they stand on besides the tokenizer."""
    how = _How(config.execution, config.placement)
    stages: list[Work] = []
    evaluations: list[Evaluation] = []
    for evaluation in _fid_evaluations(evaluate, config.data, config.model) if evaluate.fids else ():
        network = _network(evaluation.extractor, evaluation, how)
        reconstruction = _reconstruction(evaluation, config.data, config.tokenizer, how)
        judge = _network(evaluation.judge, evaluation, how)
        stages += [stage for stage in (network, judge, reconstruction) if stage]
        evaluations.append(
            Evaluation(
                evaluation,
                identity.evaluation_name(evaluation),
                identity.evaluation_label(evaluation),
                network.folder if network else None,
                reconstruction.folder,
                judge.folder if judge else None,
            )
        )
    return stages, evaluations


def _fid_evaluations(evaluate: EvaluateConfig, data: DataConfig, model: ModelConfig) -> tuple[FidEvaluation, ...]:
    fids = tuple(fid_of(model, fid) for fid in evaluate.fids)
    return fid_evaluations(evaluate.model_copy(update={"fid": fids}), data)
