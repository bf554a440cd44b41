"""What every autoencoder is told, whatever stands between encoder and decoder. Torch-free; all of it identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.tokenizers.base import TokenizerConfig

Off = Literal["off"]


class PerceptualConfig(Strict):
    """Distance between features of a network that computes no metric of ours."""

    network: Literal["random", "lpips"]  # random convolutions, or LPIPS where its backbone's weights are at hand
    weight: float = Field(gt=0)


class GanConfig(Strict):
    """Hinge loss with an adaptive weight: the generator's share keeps pace with the other losses' gradients."""

    weight: float = Field(default=0.4, gt=0)
    start: float = Field(default=0.3, ge=0, lt=1)  # share of training before it sets in
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.5, 0.9)
    channels: int = Field(default=32, ge=1)
    layers: int = Field(default=2, ge=1)


class AutoencoderTrainConfig(Strict):
    """The recipe. `None` is filled from the preset."""

    images: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    final_learning_rate: float | None = Field(default=None, ge=0, le=1)  # of the cosine, as a share of the peak
    warmup_images: int | None = Field(default=None, ge=0)
    betas: tuple[float, float] | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    gradient_clip: float | Off | None = None
    l1: float | None = Field(default=None, ge=0)
    l2: float | None = Field(default=None, ge=0)
    perceptual: PerceptualConfig | Off | None = None
    gan: GanConfig | Off | None = None
    flip: bool | None = None  # from the data: off where left and right differ
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(default=0, ge=0)
    numerics: int = Field(default=1, ge=1)  # raised by hand when a change of code changes what training gives


# Recipes that both kinds share; each adds its bottleneck's own weights. Small: found by measurement (docs/log.md).
SMALL_TRAINING: dict[str, Any] = dict(
    batch_size=32,  # steps count for more than images: 0.8 dB above batch 64 at 20,480 images
    learning_rate=3e-3,
    final_learning_rate=0.01,
    warmup_images=1_280,
    betas=(0.9, 0.95),
    weight_decay=0.01,
    gradient_clip=1.0,
    l1=0.5,
    l2=1.0,
    perceptual="off",
    gan="off",
)
# VAR's recipe was never published: this one follows the single-scale trainer that its authors released.
PAPER_TRAINING: dict[str, Any] = dict(
    images=250 * 1_281_167,
    batch_size=768,
    learning_rate=3e-4,
    final_learning_rate=0.3,
    warmup_images=1_281_167,
    betas=(0.5, 0.9),
    weight_decay=0.005,
    gradient_clip=2.0,
    l1=0.2,
    l2=1.0,
    perceptual=PerceptualConfig(network="lpips", weight=1.0),
    gan=GanConfig(weight=0.4, start=0.22, learning_rate=3e-4, betas=(0.5, 0.9), channels=64, layers=3),
)


class AutoencoderConfig(TokenizerConfig):
    """Sizes of encoder and decoder. `None` is filled from the preset, or from the data."""

    resolution: int | None = Field(default=None, ge=1)  # image side in pixels; from the data
    image_channels: int | None = Field(default=None, ge=1)  # from the data
    channels: int | None = Field(default=None, ge=1)  # width of the finest level
    channel_multipliers: tuple[int, ...] | None = None  # one a level, finest first; each level halves the side
    blocks: int | None = Field(default=None, ge=1)  # residual blocks a level; the decoder has one more
    middle: bool | None = None  # two more blocks in the deepest level of encoder and decoder
    stem_stride: Literal[1, 2, 4] | None = None
    norm_groups: int | None = Field(default=None, ge=1)  # of every GroupNorm, at most: the largest divisor of its width

    @property
    def unhashed(self) -> frozenset[str]:
        """Imported weights have no recipe."""
        return frozenset({"train"}) if self.imported else frozenset()

    @property
    def downsampling(self) -> int:
        """Image pixels along the side of one latent position (resolved configs)."""
        return downsampling(vars(self))


def downsampling(fields: Mapping[str, Any]) -> int:
    """Image pixels along the side of one latent position; 1 more level halves it."""
    assert fields["stem_stride"] and fields["channel_multipliers"] is not None
    stride: int = fields["stem_stride"]
    return stride << max(len(fields["channel_multipliers"]) - 1, 0)


def filled(
    config: Any, preset: Mapping[str, Any], *, resolution: int, channels: int, flip: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a config and of its recipe, what was left open filled from the preset and the data.

    Args:
        config: as written.
        preset: values by name, those of the recipe under "train".
        resolution: image side of the data in pixels.
        channels: image channels of the data.
        flip: whether mirroring the data's images gives images of the same kind.
    """
    open_to_data = {**preset, "resolution": resolution, "image_channels": channels}
    recipe = {**preset["train"], "flip": flip}
    return (
        {name: open_to_data[name] if value is None else value for name, value in config if name != "train"},
        {name: recipe[name] if value is None else value for name, value in config.train},
    )


def problems(config: AutoencoderConfig, train: AutoencoderTrainConfig, data: Mapping[str, int]) -> Iterator[str]:
    """One sentence for each thing about a resolved config that cannot be.

    Args:
        config: sizes.
        train: its recipe.
        data: resolution and image_channels of the data.
    """
    assert config.resolution is not None and config.channel_multipliers is not None
    for name, actual in data.items():
        if getattr(config, name) != actual:
            yield f"tokenizer.{name} is {getattr(config, name)} but the data have {actual}; leave it out"
    if not config.channel_multipliers or min(config.channel_multipliers) < 1:
        yield f"tokenizer.channel_multipliers {list(config.channel_multipliers)} must be one positive number a level"
        return
    if config.resolution % config.downsampling:
        yield (
            f"a resolution of {config.resolution} px does not divide by {config.downsampling} "
            f"(stem_stride {config.stem_stride}, {len(config.channel_multipliers)} levels); "
            f"use data.resolution {max(round(config.resolution / config.downsampling), 1) * config.downsampling}, or "
            "fewer levels"
        )
    if train.images is not None and train.batch_size is not None and train.images < train.batch_size:
        yield f"tokenizer.train.images {train.images} is below one batch of {train.batch_size}; raise it"
