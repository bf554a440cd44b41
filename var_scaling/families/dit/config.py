"""What a diffusion transformer is, and how samples are drawn from one. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from var_scaling.families.base import ModelConfig, SamplerConfig

TIMESTEPS = 1_000  # of the schedule that a model is trained on; published, and part of what the weights mean

Target = Literal["noise", "velocity"]

# Depth, head_dim, heads (Peebles and Xie 2022, table 1; XL has heads of 72).
PUBLISHED_SIZES = {"S": (12, 64, 6), "B": (12, 64, 12), "L": (24, 64, 16), "XL": (28, 72, 16)}


class DiTConfig(ModelConfig):
    """A diffusion transformer (Peebles and Xie 2022, arXiv:2212.09748).

    `None` means "derived": from the recipe, the tokenizer or the data.
    Width is `head_dim * heads`; heads = depth unless given (the published sizes give them: `published_config`).
    """

    family: Literal["dit"] = "dit"
    depth: int = Field(12, ge=1, le=200)
    head_dim: int = Field(64, ge=2, le=512)
    heads: int | None = Field(None, ge=1, le=512)  # depth
    patch_size: Literal[1, 2, 4, 8] = 2  # side of the square of latent positions that one token stands for
    target: Target | None = None  # what the model predicts; from the recipe
    learned_variance: bool | None = None  # twice the output channels; from the recipe
    initial_values: Literal["published", "unit"] | None = None  # of label table and time network; from the recipe
    latent_channels: int | None = Field(None, ge=1)  # from the tokenizer
    latent_size: int | None = Field(None, ge=1)  # side of the latent; from the tokenizer
    num_classes: int | None = Field(None, ge=1)  # from the data

    @property
    def width(self) -> int:
        return self.head_dim * (self.depth if self.heads is None else self.heads)

    @property
    def tokens_per_image(self) -> int:
        assert self.latent_size is not None, "resolve the config first"
        return (self.latent_size // self.patch_size) ** 2

    @property
    def output_channels(self) -> int:
        assert self.latent_channels is not None, "resolve the config first"
        return self.latent_channels * (2 if self.learned_variance else 1)


class DiTSampler(SamplerConfig):
    """How samples are drawn: part of what an evaluation is.

    `guidance` is this project's single scale, t: guided = cond + t (cond - uncond), 0 is off. The published scale is
    s = t + 1, and it was applied to the first three of four channels only (`guided_channels: 3`).
    """

    method: Literal["ddim", "ancestral"] = "ddim"
    steps: int = Field(20, ge=1, le=TIMESTEPS)  # evenly spaced over the schedule, both ends included
    guidance: float = Field(0.5, ge=0)
    guided_channels: int | Literal["all"] = "all"
    eta: float = Field(0.0, ge=0, le=1)  # of ddim: 0 is deterministic, 1 as noisy as ancestral sampling
    clip: bool = False  # every prediction of the clean latent into [-1, 1]

    @property
    def published_guidance(self) -> float:
        """The scale s as the DiT paper prints it; 1 is off."""
        return self.guidance + 1

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise of their own."""
        return self.method == "ancestral" or self.eta > 0

    def problems(self, model: DiTConfig) -> Iterator[str]:
        """One sentence for each setting that this model cannot do."""
        channels = self.guided_channels
        if channels != "all" and model.latent_channels is not None and not 1 <= channels <= model.latent_channels:
            yield (
                f"guided_channels is {channels} but the latent has {model.latent_channels} channels; "
                f"take 1 to {model.latent_channels}, or all"
            )
        if self.method == "ancestral" and self.eta:
            yield f"eta {self.eta:g} is a setting of ddim; leave it out, or take method: ddim"

    @property
    def label(self) -> str:
        """A short name that tells two samplers apart."""
        noise = f"-eta{self.eta:g}" if self.method == "ddim" and self.eta else ""
        channels = "" if self.guided_channels == "all" or not self.guidance else f"-{self.guided_channels}ch"
        return f"{self.method}{self.steps}-g{self.guidance:g}{channels}{noise}{'-clip' if self.clip else ''}"


def published_config(name: str, *, latent_channels: int, latent_size: int, num_classes: int) -> DiTConfig:
    """The config of a published size such as "XL/2".

    Raises:
        ValueError: no such size.
    """
    size, _, patch = name.partition("/")
    if size not in PUBLISHED_SIZES or patch not in ("2", "4", "8"):
        sizes = ", ".join(PUBLISHED_SIZES)
        raise ValueError(f"{name!r} is no published DiT; the sizes are {sizes} with patch 2, 4 or 8, like XL/2")
    depth, head_dim, heads = PUBLISHED_SIZES[size]
    return DiTConfig(
        depth=depth,
        head_dim=head_dim,
        heads=heads,
        patch_size=int(patch),  # type: ignore[arg-type]
        target="noise",
        learned_variance=True,
        initial_values="published",
        latent_channels=latent_channels,
        latent_size=latent_size,
        num_classes=num_classes,
    )


def published_heads(depth: int, width: int) -> int | None:
    """Attention heads of the published size with this depth and width; None where there is no such size."""
    sizes = {(layers, heads * head_dim): heads for layers, head_dim, heads in PUBLISHED_SIZES.values()}
    return sizes.get((depth, width))


def problems(config: DiTConfig) -> Iterator[str]:
    """One sentence for each thing that cannot be built, given the tokenizer's shape where it is known."""
    if config.width % 4:
        yield (
            f"model.head_dim {config.head_dim} x {config.width // config.head_dim} heads is a width of {config.width}, "
            "which must divide by 4 (sines and cosines of two axes); take another head_dim or number of heads"
        )
    if config.latent_size is not None and config.latent_size % config.patch_size:
        fitting = [patch for patch in (1, 2, 4, 8) if config.latent_size % patch == 0]
        yield (
            f"model.patch_size {config.patch_size} does not divide the side of the latent, {config.latent_size}; "
            f"take one of {fitting}"
        )
