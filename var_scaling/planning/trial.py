"""One trial: everything that a training run of one model needs to be told."""

from __future__ import annotations

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.config.data import DataConfig
from var_scaling.config.train import ExecutionConfig, PlacementConfig, TrainConfig
from var_scaling.families.var.config import ModelConfig
from var_scaling.tokenizers.vq.config import TokenizerConfig

NOT_IDENTITY = frozenset({"execution", "placement"})


class TrialConfig(Strict):
    """Identity (data, tokenizer, model, train, seed, numerics), execution and placement.

    As a user writes it, `None` means "derive it". `planning.resolve` fills every identity and execution field, and
    only a resolved config is hashed, saved and replayed.
    """

    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    seed: int = Field(0, ge=0, lt=2**31)
    numerics: int | None = Field(None, ge=1)  # raised by hand when a change of code alters numbers
    execution: ExecutionConfig = ExecutionConfig()
    placement: PlacementConfig = PlacementConfig()
