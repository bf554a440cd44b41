"""What a continuous tokenizer is and how it is trained. All of it is identity; none of it depends on a machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from var_scaling.config.base import Neutral
from var_scaling.tokenizers.autoencoder_config import (
    PAPER_TRAINING,
    SMALL_TRAINING,
    AutoencoderConfig,
    AutoencoderTrainConfig,
    Off,
    filled,
    problems,
)


class KLTrainConfig(AutoencoderTrainConfig):
    """The recipe. `None` is filled from the preset."""

    kl: float | Off | None = None  # weight of the divergence from the unit normal, per number of the latent; off: none


class KLTokenizerConfig(AutoencoderConfig):
    """An autoencoder with a continuous latent. `None` is filled from the preset, or from the data."""

    preset: Literal["tiny-kl", "paper-kl", "imported-kl"] = "tiny-kl"
    latent_channels: int | None = Field(default=None, ge=1)
    attention: bool | Literal["middle"] | None = None
    latent_scale: float | Literal["measured"] | None = None  # a factor, or each channel to mean 0 and std 1
    outer_convolutions: Annotated[bool, Neutral(True)] = True  # 1x1, on each side of the latent; some weights have none
    train: KLTrainConfig = KLTrainConfig()

    @property
    def latent_size(self) -> int:
        """Side of the latent (resolved configs)."""
        assert self.resolution is not None
        return self.resolution // self.downsampling


IMPORTED = "imported-kl"  # no preset to be asked for: that of configs whose weights are from elsewhere
F8_SCALE = 0.18215  # of the latents of latent diffusion's f8 autoencoder with four channels

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
        train=dict(SMALL_TRAINING, images=74_880, kl=1e-6),
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
        latent_scale=F8_SCALE,
        train=dict(PAPER_TRAINING, kl=1e-6),
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
    data = {"resolution": resolution, "image_channels": channels}
    if config.preset == IMPORTED:
        if found := list(problems(config, config.train, data)):
            raise ValueError("; ".join(found))
        return config
    fields, train = filled(config, PRESETS[config.preset], resolution=resolution, channels=channels, flip=flip)
    resolved = KLTokenizerConfig(**fields, train=KLTrainConfig(**train))
    found = list(problems(resolved, resolved.train, data))
    if found:
        raise ValueError("; ".join(found))
    return resolved
