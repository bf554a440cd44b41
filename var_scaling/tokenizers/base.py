"""What a first stage is to the rest of the house: a kind of tokenizer, between images and the latents a family learns.

Its torch-free half (`TokenizerKind`) answers what planning asks; its torch half builds modules and trains them.

    tokenizers/<name>/__init__.py    KIND, a `TokenizerKind`: config, presets, facts; imports no torch
    tokenizers/<name>/model.py       or what `KIND.module` names: the functions of `TokenizerModule`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from var_scaling.config.base import Strict

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

Latents = Literal["tokens", "continuous"]


class TokenizerConfig(Strict):
    """What every tokenizer's config has. The kind follows from the preset."""

    preset: str


class TokenizerKind(Protocol):
    """The torch-free half; every `config` below is a resolved one."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> type[TokenizerConfig]: ...
    @property
    def presets(self) -> tuple[str, ...]:
        """Names that `tokenizer.preset` may have; no two kinds share one."""

    @property
    def latents(self) -> Latents: ...
    @property
    def module(self) -> str:
        """Dotted name of the torch half, a module with the functions of `TokenizerModule`."""

    def resolve(self, config: Any, *, resolution: int, channels: int, flip: bool) -> Any:
        """The config without None.

        Raises:
            ValueError: sizes that cannot be; all problems in one message, a sentence each.
        """

    def facts(self, config: Any) -> Mapping[str, Any]:
        """What a family may learn of the latents, by the names that its config uses."""


class TokenizerModule(Protocol):
    """The torch half: a module (file) with these functions."""

    def build(self, config: Any) -> nn.Module:
        """A fresh tokenizer; its weights are a function of the config, its training seed included, alone."""

    def train(
        self, config: Any, images: Any, *, attempt: Any, out: Path, device: torch.device, threads: int
    ) -> dict[str, Any]:
        """Train one into `out` (weights.safetensors, reconstructions.png); returns its report."""


class Tokenizer(Protocol):
    """A built tokenizer, as the latent cache and the families see it."""

    arrays: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]  # what one image becomes: dtypes and shapes, by name
    kept: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]  # derived arrays that are kept beside them while small

    def latents(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """The arrays of images in [-1, 1]."""

    def derive(self, name: str, latents: Mapping[str, Tensor]) -> Tensor:
        """An array that follows from `arrays`, such as what a transformer is fed."""

    def pictures(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Images in [-1, 1] from the arrays."""
