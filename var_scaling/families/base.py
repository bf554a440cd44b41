"""What a kind of generative model is to the rest of the house: a family.

A family lives in a folder of its own. Its torch-free half (`Family`) answers what planning, launching and the tables
ask; its torch half (`FamilyModel`) builds, trains, validates and samples. Nothing outside the folder asks which family
it has before it: what differs is asked of these two.

    families/<name>/__init__.py    FAMILY, a `Family`: config, sizes, recipe; imports no torch
    families/<name>/training.py    or what `FAMILY.module` names: the functions of `FamilyModel`

A package outside this one offers its own by the entry-point group `var_scaling.families` (see `registry`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.config.train import TrainConfig
from var_scaling.runs.columns import Column
from var_scaling.tokenizers.base import Latents

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Generator, Tensor, nn


class ModelConfig(Strict):
    """What every family's config has: its name, and the one dial that a ladder turns."""

    family: str
    depth: int = Field(16, ge=1, le=200)


class SamplerConfig(Strict):
    """How samples are drawn from a finished model: part of what an evaluation is.

    `guidance` is one scale for all families: guided = conditional + t (conditional - unconditional), 0 is off.
    """

    guidance: float = Field(1.5, ge=0)

    def problems(self, model: Any) -> Iterator[str]:
        """One sentence for each setting that this model, a config of the family, cannot do."""
        yield from ()


@dataclass(frozen=True)
class Recipe:
    """Values that a family's rule gives to one model, and where they come from."""

    learning_rate: float  # the peak, at the batch size asked for
    weight_decay: float
    final_weight_decay: float  # where a horizon's schedule ends
    final_learning_rate: float  # share of the peak where a horizon's schedule ends
    warmup_images: int
    source: str
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float | Literal["off"] = 2.0
    label_drop: float = 0.1
    ema_half_life_images: int | Literal["off"] = "off"
    model: Mapping[str, Any] = field(default_factory=dict)  # fields of the model's config that were left open


class Family(Protocol):
    """The torch-free half. Every `model` is a config of this family; from `params` on it is a resolved one."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> type[ModelConfig]: ...
    @property
    def numerics(self) -> int:
        """Part of every trial's identity; raised by hand when a change of code alters the numbers of a finished one."""

    @property
    def latents(self) -> Latents:
        """What kind of tokenizer it stands on."""

    @property
    def losses(self) -> tuple[Column, ...]:
        """What a row says of the validation set, given the tokenizer's scales: the first is the headline."""

    @property
    def sampler(self) -> type[SamplerConfig]: ...
    @property
    def recipes(self) -> tuple[str, ...]:
        """Names that `train.recipe` may have."""

    @property
    def knobs(self) -> tuple[str, ...]:
        """Fields of the model's config that `var-sweep tune` searches beside the learning rate, by factors of ten."""

    @property
    def module(self) -> str:
        """Dotted name of the torch half, a module with the functions of `FamilyModel`."""

    @property
    def facts(self) -> tuple[str, ...]:
        """Fields of the model's config that the tokenizer and the data decide (`num_classes`)."""

    def problems(self, model: Any) -> Iterator[str]:
        """One sentence for each thing about a resolved config that cannot be: the value, the rule, the way out."""

    def default_recipe(self, model: Any) -> str:
        """The recipe that is meant where none is named."""

    def recipe(self, name: str, model: Any, train: TrainConfig, horizon_images: int | None) -> Recipe: ...
    def at_depth(self, model: Any, depth: int) -> Any:
        """The same model at another depth, as a ladder has it."""

    def params(self, model: Any) -> dict[str, int]:
        """Trainable parameters by part: blocks, adaln, embedding, head, ...; the sum is the total."""

    def forward_flops(self, model: Any, *, visible: bool = False) -> dict[str, int]:
        """FLOPs of one forward pass on one image, by part; equal to torch's counter (`visible`: no masked pair)."""

    def input_flops(self, model: Any) -> int:
        """The part of `forward_flops` that reads the data: its backward pass needs no gradient of what it read."""

    def sample_flops(self, model: Any, sampler: Any) -> int:
        """FLOPs of drawing the latents of one image."""

    def sample_bytes(self, model: Any, sampler: Any, bytes_per_number: int = 4) -> int:
        """Memory that drawing one image holds beside the weights."""

    def activation_bytes(self, model: Any, bytes_per_number: int = 4) -> int:
        """Memory that one image's forward pass holds for its backward pass: an estimate."""

    def mean_guidance(self, model: Any, sampler: Any) -> float:
        """The mean of t over a sample's tokens or steps: what is compared between orders that ramp t differently."""

    def tokens_per_image(self, model: Any) -> int: ...
    @property
    def own_columns(self) -> tuple[Column, ...]:
        """What a row carries of the model beside depth and counts, and of losses beside those of `losses`."""

    def columns(self, model: Any) -> dict[str, Any]:
        """The values of `own_columns` that are known before training."""


@runtime_checkable
class Recomputing(Protocol):
    """A family that can trade arithmetic for memory (`execution.recompute`); its torch half has `blocks`."""

    def recompute_bytes(self, model: Any, bytes_per_number: int = 4) -> int:
        """`activation_bytes` where only the blocks' inputs are held, and a block is computed again for its gradient."""


@runtime_checkable
class Transferring(Protocol):
    """A family whose hyper-parameters can be those of a smaller model (`train.transfer_from`).

    Its torch half has `rescale(module, base_depth)`, which changes fresh weights in place, and
    `transferred_groups(module, base_depth)`: `groups`, each with its factor on the rate as `rate`.
    """

    transfers: bool


@dataclass(frozen=True)
class Batch:
    """Images at known positions of a run, as tensors on one device; every tensor has one row an image."""

    labels: Tensor  # (B) int64 true classes
    latents: Mapping[str, Tensor]  # arrays of the cache, by name
    draws: Mapping[str, Tensor]  # the random part, by address

    def part(self, rows: slice) -> Batch:
        """Some of the images."""
        return Batch(
            self.labels[rows],
            {name: value[rows] for name, value in self.latents.items()},
            {name: value[rows] for name, value in self.draws.items()},
        )


class FamilyModel(Protocol):
    """The torch half: a module (file) with these functions; that of a `Recomputing` family has `blocks` besides.

    def blocks(module: nn.Module) -> Iterable[nn.Module]: the parts that are computed again, draws of their own in none.
    """

    reads: tuple[str, ...]  # arrays of the latent cache that a batch holds

    def build(self, config: Any, *, seed: int = 0) -> nn.Module:
        """A fresh model; its weights are a function of config and seed alone."""

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Parameter groups of the optimizer; `decayed` says whether weight decay acts on one."""

    def draws(self, config: Any, train: TrainConfig, seed: int, positions: NDArray[np.int64]) -> dict[str, Tensor]:
        """The random part of the images at these positions of a run; each row a function of its address alone."""

    def loss(self, forward: nn.Module, config: Any, train: TrainConfig, batch: Batch) -> Tensor:
        """Mean training loss of a batch; `forward` is the model, or its wrapper."""

    def validate(self, module: nn.Module, batch: Batch, positions: NDArray[np.int64]) -> dict[str, Tensor]:
        """What each validation image says: float tensors of one row an image, to be summed by `summarise`."""

    def summarise(self, config: Any, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """The columns `losses` from what `validate` gave for all images, in their order."""

    def noise(self, module: nn.Module, sampler: Any, count: int, generator: Generator) -> dict[str, Tensor]:
        """All the random numbers of `count` samples, a row each, on the CPU."""

    def draw(
        self,
        module: nn.Module,
        labels_B: Tensor,
        tokenizer: Any,
        sampler: Any,
        noise: Mapping[str, Tensor],
        known: Mapping[str, Tensor] | None = None,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Latents of one image for each label, a function of weights, labels and noise.

        Args:
            module: the model.
            labels_B: (B) int64; `num_classes` draws without a class.
            tokenizer: that the model stands on.
            sampler: of the family.
            noise: from `noise`, B rows.
            known: arrays of images of which a part is kept (`Tokenizer.latents`), B rows: in-painting with no further
                training. A family that cannot keep a part leaves `known` and `mask` out, and draws whole images.
            mask: (1 or B, 1, H, W) in pixels: 1 where `known` is kept; how it becomes one of tokens or latents is
                `families.masks`.
        """

    # Beside these a family that takes `known` may have, where what it draws first has not seen all that is kept:
    #
    #   kept_log_probability(module, labels_B, tokenizer, latents, mask) -> Tensor
    #       (B) nats of what is kept in drawn latents, given the rest: the weights by which one of several is chosen.
