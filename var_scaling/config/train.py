"""How a model is trained: identity (it changes numbers) apart from execution and placement (they do not)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from var_scaling.config.base import Neutral, Strict


class TrainConfig(Strict):
    """The recipe. `None` is filled by the recipe of the model's family, with a source for each value."""

    batch_size: int = Field(64, ge=1)
    recipe: str | None = None  # one of the family's; None: its own choice, by the model's size
    learning_rate: float | None = Field(None, gt=0)  # the peak, for this batch size
    weight_decay: float | None = Field(None, ge=0)
    final_weight_decay: float | None = Field(None, ge=0)  # equal to weight_decay under wsd (the trunk has no horizon)
    betas: tuple[float, float] | None = None
    gradient_clip: float | Literal["off"] | None = None
    label_drop: float | None = Field(None, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    schedule: Literal["wsd", "lin0", "cosine"] = "wsd"
    warmup_images: int | None = Field(None, ge=0)
    decay_share: float = Field(0.2, gt=0, le=1)  # of each budget, spent annealing its branch (wsd)
    decay_shape: Literal["1-sqrt", "linear"] = "1-sqrt"
    final_learning_rate: float | None = Field(None, ge=0, le=1)  # as a share of the peak
    horizon_images: int | Literal["off"] | None = None  # required by lin0 and cosine; off under wsd
    ema_half_life_images: int | Literal["off"] | None = None
    # Depth at which rate and initial weights are the recipe's; those of other depths follow from it ("off": none do).
    transfer_from: Annotated[Annotated[int, Field(ge=1, le=200)] | Literal["off"], Neutral("off")] = "off"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"  # tf32: on GPUs alone


class ExecutionConfig(Strict):
    """How numbers are computed; never hashed. Bit-equality is promised within one execution group."""

    threads: int = Field(1, ge=1)
    micro_batch: int | None = Field(None, ge=1)  # None: the most that fit a GPU's memory; on a CPU the whole batch
    recompute: Literal["off", "blocks"] = "off"  # blocks: a third more arithmetic for a fraction of the memory
    loader_workers: int = Field(0, ge=0)
    compile: bool = False
    checkpoint_seconds: float = Field(30.0, gt=0)
    keep: Literal["all", "last", "none"] = "all"  # of the trunk's checkpoints, one a budget, when all are trained
    journal_images: int = Field(1_280, ge=1)  # a training loss is journalled about this often


class PlacementConfig(Strict):
    """Where it runs; never hashed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = Field(1, ge=1)
    image_folder: str | None = None  # imagefolder: holds the pictures; relative to VAR_SCALING_DATA
    feature_weights: str | None = None  # folder with inception, dinov2 or clip weights; None: their own download
