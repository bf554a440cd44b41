"""What a continuous tokenizer is and how it is trained. All of it is identity; none of it depends on a machine."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from var_scaling.config.base import Strict
from var_scaling.tokenizers.base import TokenizerConfig
from var_scaling.tokenizers.vq.config import GanConfig, Off, PerceptualConfig


class KLTrainConfig(Strict):
    """The recipe. `None` is filled from the preset. Fields that the VQ tokenizer has too mean the same."""

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
    kl: float | Off | None = None  # weight of the divergence from the unit normal, per number of the latent; off: none
    perceptual: PerceptualConfig | Off | None = None
    gan: GanConfig | Off | None = None
    flip: bool | None = None  # from the data: off where left and right differ
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(default=0, ge=0)
    numerics: int = Field(default=1, ge=1)  # raised by hand when a change of code changes what training gives


class KLTokenizerConfig(TokenizerConfig):
    """An autoencoder with a continuous latent. `None` is filled from the preset, or from the data."""

    preset: Literal["tiny-kl", "paper-kl"] = "tiny-kl"
    latent_channels: int | None = Field(default=None, ge=1)
    resolution: int | None = Field(default=None, ge=1)  # image side in pixels; from the data
    image_channels: int | None = Field(default=None, ge=1)  # from the data
    channels: int | None = Field(default=None, ge=1)  # width of the finest level
    channel_multipliers: tuple[int, ...] | None = None  # one a level, finest first; each level halves the side
    blocks: int | None = Field(default=None, ge=1)  # residual blocks a level; the decoder has one more
    middle: bool | None = None  # two more blocks in the deepest level of encoder and decoder
    attention: bool | Literal["middle"] | None = None
    stem_stride: Literal[1, 2, 4] | None = None
    norm_groups: int | None = Field(default=None, ge=1)
    latent_scale: float | Literal["measured"] | None = None  # a factor, or each channel to mean 0 and std 1
    train: KLTrainConfig = KLTrainConfig()

    @property
    def downsampling(self) -> int:
        """Image pixels along the side of one latent position (resolved configs)."""
        assert self.stem_stride is not None
        assert self.channel_multipliers is not None
        return self.stem_stride << (len(self.channel_multipliers) - 1)

    @property
    def latent_size(self) -> int:
        """Side of the latent (resolved configs)."""
        assert self.resolution is not None
        return self.resolution // self.downsampling


# tiny-kl: the architecture of `tiny`, four channels, no quantiser: 23.1 dB, rFID 1.0 on Fashion-MNIST after 70 CPU
# seconds (docs/log.md). paper-kl: the sizes of latent diffusion's f8 autoencoder, which DiT stands on and whose weights
# can be imported; trained here, it is trained as the VQ tokenizer's `paper` is.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny-kl": dict(
        latent_channels=4,
        channels=32,
        channel_multipliers=(1, 2),
        blocks=1,
        middle=False,
        attention=False,
        stem_stride=4,
        norm_groups=8,
        latent_scale="measured",
        train=dict(
            images=74_880,
            batch_size=32,
            learning_rate=3e-3,
            final_learning_rate=0.01,
            warmup_images=1_280,
            betas=(0.9, 0.95),
            weight_decay=0.01,
            gradient_clip=1.0,
            l1=0.5,
            l2=1.0,
            kl=1e-6,
            perceptual="off",
            gan="off",
        ),
    ),
    "paper-kl": dict(
        latent_channels=4,
        channels=128,
        channel_multipliers=(1, 2, 4, 4),
        blocks=2,
        middle=True,
        attention="middle",
        stem_stride=1,
        norm_groups=32,
        latent_scale=0.18215,
        train=dict(
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
            kl=1e-6,
            perceptual=PerceptualConfig(network="lpips", weight=1.0),
            gan=GanConfig(weight=0.4, start=0.22, learning_rate=3e-4, betas=(0.5, 0.9), channels=64, layers=3),
        ),
    ),
}


def resolve_kl_tokenizer(config: KLTokenizerConfig, *, resolution: int, channels: int, flip: bool) -> KLTokenizerConfig:
    """The config with every None filled: from the preset, and from the data.

    Args:
        config: as the user wrote it.
        resolution: image side in pixels.
        channels: of the images.
        flip: whether mirrored images are images of the same kind.

    Raises:
        ValueError: what cannot be, all problems in one sentence.
    """
    preset = PRESETS[config.preset]
    filling = {**preset, "resolution": resolution, "image_channels": channels}
    training = {**preset["train"], "flip": flip}
    fields = {name: filling[name] if value is None else value for name, value in config if name != "train"}
    train = {name: training[name] if value is None else value for name, value in config.train}
    resolved = KLTokenizerConfig(**fields, train=KLTrainConfig(**train))
    found = []
    for name, actual in (("resolution", resolution), ("image_channels", channels)):
        if getattr(resolved, name) != actual:
            found.append(f"tokenizer.{name} is {getattr(resolved, name)} but the data have {actual}; leave it out")
    if not resolved.channel_multipliers or min(resolved.channel_multipliers) < 1:
        multipliers = list(resolved.channel_multipliers or ())
        found.append(f"tokenizer.channel_multipliers {multipliers} must be one positive number a level")
    elif resolution % resolved.downsampling:
        found.append(
            f"a resolution of {resolution} px does not divide by {resolved.downsampling} "
            f"(stem_stride {resolved.stem_stride}, {len(resolved.channel_multipliers)} levels); "
            "take images of a multiple of it, or fewer levels"
        )
    if train["images"] < train["batch_size"]:
        found.append(f"tokenizer.train.images {train['images']} is below one batch of {train['batch_size']}; raise it")
    if found:
        raise ValueError("; ".join(found))
    return resolved
