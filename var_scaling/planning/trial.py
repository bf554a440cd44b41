"""One trial: everything that a training run of one model needs to be told, whatever its family and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field, SerializeAsAny, create_model

from var_scaling.config.base import Strict
from var_scaling.config.data import DataConfig
from var_scaling.config.train import ExecutionConfig, PlacementConfig, TrainConfig
from var_scaling.families.base import ModelConfig
from var_scaling.families.registry import families, unknown_family
from var_scaling.tokenizers.base import TokenizerConfig, WeightsConfig
from var_scaling.tokenizers.registry import config_type, kinds

NOT_IDENTITY = frozenset({"execution", "placement"})


class TrialConfig(Strict):
    """Identity (data, tokenizer, model, train, seed, numerics), execution and placement.

    As a user writes it, `None` means "derive it". `planning.resolve` fills every identity and execution field, and
    only a resolved config is hashed, saved and replayed. A trial that is read (`read_trial`) is of a subclass that
    knows the fields of its family and its tokenizer.
    """

    data: DataConfig = DataConfig()
    tokenizer: SerializeAsAny[TokenizerConfig] = next(iter(kinds().values())).config.model_validate({})
    model: SerializeAsAny[ModelConfig] = next(iter(families().values())).config.model_validate({})
    train: TrainConfig = TrainConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    numerics: int | None = Field(None, ge=1)  # raised by hand when a change of code alters numbers
    execution: ExecutionConfig = ExecutionConfig()
    placement: PlacementConfig = PlacementConfig()


def read_trial(raw: Mapping[str, Any]) -> TrialConfig:
    """A trial from plain values.

    Raises:
        ValueError: no such family or preset (one sentence); as `pydantic.ValidationError`, any other problem.
    """
    return trial_type(raw).model_validate(raw)


def trial_type(raw: Mapping[str, Any]) -> type[TrialConfig]:
    """What a trial of the family and the tokenizer that are written in it is made of.

    Raises:
        ValueError: no such family or preset.
    """
    family = _said(raw, "model", "family", next(iter(families())))
    if family not in families():
        raise ValueError(f"`model.family`: {unknown_family(family)}")
    section = raw.get("tokenizer")
    try:
        tokenizer = config_type(section if isinstance(section, Mapping) else {})
    except ValueError as error:
        raise ValueError(f"`tokenizer.preset`: {error}") from None
    return _trial_type(family, tokenizer)


def _said(raw: Mapping[str, Any], section: str, key: str, default: str) -> str:
    """What is written there; a section that is no mapping is left for the model to complain of."""
    inside = raw.get(section)
    value = inside.get(key, default) if isinstance(inside, Mapping) else default
    return str(value)


@lru_cache(maxsize=64)
def _trial_type(family: str, tokenizer: type[TokenizerConfig]) -> type[TrialConfig]:
    model = families()[family].config
    own = ... if tokenizer is WeightsConfig else tokenizer.model_validate({})
    whole: Any = SerializeAsAny[tokenizer]  # type: ignore  # that of weights becomes its kind's
    fields: dict[str, Any] = {"model": (model, model.model_validate({})), "tokenizer": (whole, own)}
    return create_model("TrialConfig", __base__=TrialConfig, **fields)
