"""What a first stage is to the rest of the house: a kind of tokenizer, between images and the latents a family learns.

Its torch-free half (`TokenizerKind`) answers what planning asks; its torch half builds modules and trains them.

    tokenizers/<name>/__init__.py    KIND, a `TokenizerKind`: config, presets, facts; imports no torch
    tokenizers/<name>/training.py    or what `KIND.module` names: the functions of `TokenizerModule`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field

from var_scaling.config.base import Neutral, Strict

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from var_scaling.tokenizers.bottleneck import Bottleneck

Latents = Literal["tokens", "continuous"]


DERIVED_LIMIT_BYTES = 2 << 30  # of one derived array in a cache; above it, it is computed for each batch
Arrays = Mapping[str, tuple[str, tuple[int, ...]]]  # dtype and shape of one image's arrays, by name


class TokenizerConfig(Strict):
    """What every tokenizer's config has. The kind follows from the preset, or from the weights.

    `weights` is a path or a name as a user writes it, and in a resolved config a hash of the tensors: the path is
    placement, the content identity. A preset beside it lends its sizes to a plan that is made before the file is there.
    """

    preset: str
    weights: Annotated[str, Neutral("off")] = "off"

    @property
    def imported(self) -> bool:
        """Whether its weights are from elsewhere, or asked to be."""
        return self.weights != "off"


class WeightsConfig(TokenizerConfig):
    """Weights from elsewhere whose kind nobody has said, and what no shape tells of them; resolved by their content."""

    preset: Literal["imported"] = "imported"
    weights: Annotated[str, Neutral("off")]
    patch_nums: tuple[int, ...] | None = None
    norm_groups: int | None = Field(default=None, ge=1)
    phi_ratio: float | None = Field(default=None, ge=0, le=1)
    latent_scale: float | None = Field(default=None, gt=0)


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
    def imported(self) -> str:
        """The preset of resolved configs whose weights are from elsewhere."""

    @property
    def latents(self) -> Latents: ...
    @property
    def module(self) -> str:
        """Dotted name of the torch half, a module with the functions of `TokenizerModule`."""

    def resolve(self, config: Any, *, resolution: int, channels: int, flip: bool) -> Any:
        """The config without None; of imported weights, whose sizes are known, only what must fit is checked.

        Raises:
            ValueError: sizes that cannot be; all problems in one message, a sentence each.
        """

    def imported_as(self, config: Any, asked: TokenizerConfig, resolution: int) -> Any:
        """The config of imported weights with what a study says that no shape tells, for images of this side."""

    def standing(self, config: Any, model: Any) -> Any:
        """The config of imported weights in the size that a model (a resolved config) was trained on."""

    def facts(self, config: Any) -> Mapping[str, Any]:
        """What a family may learn of the latents, by the names that its config uses."""

    def arrays(self, config: Any) -> tuple[Arrays, Arrays]:
        """What an image becomes, and what follows from it and is worth keeping (`Tokenizer.shape`, `.derived`)."""

    def image_flops(self, config: Any) -> tuple[float, float]:
        """FLOPs of encoding and of decoding one image, within a few percent."""

    def training_images(self, config: Any) -> int:
        """Images that its training sees."""


class TokenizerModule(Protocol):
    """The torch half: a module (file) with these functions."""

    def build(self, config: Any) -> nn.Module:
        """A fresh tokenizer; its weights are a function of the config, its training seed included, alone."""

    def make(self, config: Any, device: torch.device) -> tuple[nn.Module, Bottleneck]:
        """The same on a device, in training mode, and what stands between its encoder and decoder in training."""


class Tokenizer(Protocol):
    """A built tokenizer (an `nn.Module`), as the latent cache and the families see it."""

    @property
    def shape(self) -> Arrays:
        """What an image becomes; the cache stores exactly these."""

    @property
    def derived(self) -> Arrays:
        """What follows from them and is worth keeping while it is small."""

    def latents(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        """The arrays of images in [-1, 1]."""

    def derive(self, name: str, latents: Mapping[str, Tensor]) -> Tensor:
        """An array that follows from those of `shape`."""

    def pictures(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Images in [-1, 1] from the arrays."""

    # As nn.Module has them.
    def to(self, device: torch.device | str) -> Any: ...
    def eval(self) -> Any: ...
    def parameters(self) -> Iterator[Tensor]: ...
