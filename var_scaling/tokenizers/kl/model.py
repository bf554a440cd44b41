"""The continuous tokenizer: images to a small latent of real numbers, and back.

The encoder and decoder of the VQ tokenizer with nothing quantised between them: the encoder gives a mean and, where
the latent is pulled towards the unit normal, a variance for every number. What a family learns are the means, brought
to a common scale: each channel by its own mean and standard deviation, or all by one factor. Either is kept with the
weights.

Dimension key: B batch, 3 image channels (or 1), H = W image side in pixels, Z latent channels, h = w side of the
latent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from var_scaling.tokenizers.autoencoder import Attention, Decoder, Encoder, initialised
from var_scaling.tokenizers.kl.config import KLTokenizerConfig

LOG_VARIANCE_RANGE = (-30.0, 20.0)  # published clamp
LATENTS = "latents"  # the name of the one array that an image becomes


@dataclass(frozen=True)
class Posterior:
    """A normal distribution for every number of a latent, (B, Z, h, w); without a variance, the mean alone."""

    mean: Tensor
    log_variance: Tensor | None

    def sample(self, noise: Tensor) -> Tensor:
        """Mean plus noise times standard deviation."""
        return self.mean if self.log_variance is None else self.mean + torch.exp(0.5 * self.log_variance) * noise

    def divergence(self) -> Tensor:
        """(B) from the unit normal, in nats a number."""
        assert self.log_variance is not None, "a tokenizer without variances has no divergence"
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.flatten(1).mean(1)


class KLTokenizer(nn.Module):
    """See the head of this file.

    Args:
        latent_channels: Z.
        resolution: side of the images in pixels.
        image_channels: 1 or 3.
        channels: width of the finest level.
        multipliers: width of each level as a multiple of `channels`, finest first.
        blocks: residual blocks a level in the encoder; the decoder has one more.
        middle: two more blocks at the deepest level.
        attention: see `Encoder`.
        stem_stride: 1 (published), 2 or 4.
        norm_groups: groups of every GroupNorm, at most.
        variances: the encoder gives a variance beside every mean.
        outer_convolutions: a 1x1 convolution on each side of the latent (some published weights have none).
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        resolution: int,
        image_channels: int = 3,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 4, 4),
        blocks: int = 2,
        middle: bool = True,
        attention: Attention = "middle",
        stem_stride: int = 1,
        norm_groups: int = 32,
        variances: bool = True,
        outer_convolutions: bool = True,
    ):
        super().__init__()
        self.latent_channels, self.image_size, self.image_channels = latent_channels, resolution, image_channels
        self.variances, self.norm_groups = variances, norm_groups
        self.downsampling = stem_stride * 2 ** (len(multipliers) - 1)
        sizes = (image_channels, channels, tuple(multipliers), blocks, middle, attention, stem_stride, norm_groups)
        moments = latent_channels * (2 if variances else 1)
        self.encoder = Encoder(*sizes, moments)
        self.decoder = Decoder(*sizes, latent_channels)
        self.quant_conv = nn.Conv2d(moments, moments, 1) if outer_convolutions else nn.Identity()
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1) if outer_convolutions else nn.Identity()
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @property
    def shape(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Dtype and shape of each array that an image becomes, by name."""
        side = self.image_size // self.downsampling
        return {LATENTS: ("float32", (self.latent_channels, side, side))}

    derived: Mapping[str, tuple[str, tuple[int, ...]]] = {}  # nothing follows from the latents that a family reads

    def features(self, images_B3HW: Tensor) -> Tensor:
        """What the encoder makes of images in [-1, 1]: (B, Z or 2 Z, h, w), as `posterior_of` reads it.

        Raises:
            ValueError: images of another shape than the tokenizer's.
        """
        expected = (self.image_channels, self.image_size, self.image_size)
        if tuple(images_B3HW.shape[1:]) != expected:
            raise ValueError(
                f"images of shape {tuple(images_B3HW.shape)} do not fit this tokenizer; "
                f"give (batch, {', '.join(map(str, expected))})"
            )
        return self.quant_conv(self.encoder(images_B3HW))

    def posterior(self, images_B3HW: Tensor) -> Posterior:
        """The latents of images in [-1, 1], not brought to scale; errors as `features`."""
        return self.posterior_of(self.features(images_B3HW).float())

    def posterior_of(self, features_BMhw: Tensor) -> Posterior:
        """What features say of the latents."""
        if not self.variances:
            return Posterior(features_BMhw, None)
        mean_BZhw, log_variance_BZhw = features_BMhw.chunk(2, dim=1)
        return Posterior(mean_BZhw, log_variance_BZhw.clamp(*LOG_VARIANCE_RANGE))

    @torch.no_grad()
    def latents(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The arrays that images in [-1, 1] become: "latents", (B, Z, h, w) float32, the means brought to scale."""
        return {LATENTS: (self.posterior(images_B3HW).mean - self._of(self.latent_mean)) / self._of(self.latent_std)}

    def derive(self, name: str, latents: Mapping[str, Tensor]) -> Tensor:
        """There is no array that follows from others."""
        raise KeyError(name)

    @torch.no_grad()
    def pictures(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Images in [-1, 1], (B, 3, H, W), from the arrays that `latents` gives."""
        mean_BZhw = latents[LATENTS] * self._of(self.latent_std) + self._of(self.latent_mean)
        return self.decode_picture(mean_BZhw).clamp(-1, 1)

    def decode_picture(self, latents_BZhw: Tensor) -> Tensor:
        """Images from latents that are not brought to scale, not clamped."""
        return self.decoder(self.post_quant_conv(latents_BZhw))

    def set_scale(self, factor: float) -> None:
        """One factor for all numbers of a latent, as published weights have it (0.18215 for latent diffusion's f8)."""
        self.latent_mean.zero_()
        self.latent_std.fill_(1 / factor)

    @torch.no_grad()
    def measure_scale(self, batches: Iterable[Tensor]) -> None:
        """Mean and standard deviation of each channel over these images, kept from now on.

        Args:
            batches: (B, 3, H, W) in [-1, 1] each: the training images in their plain view.

        Raises:
            ValueError: a channel is the same everywhere, so that it cannot be brought to scale.
        """
        count, sums, squares = 0, 0.0, 0.0
        for images_B3HW in batches:
            values_Zn = self.posterior(images_B3HW).mean.double().transpose(0, 1).flatten(1)
            count += values_Zn.shape[1]
            sums, squares = sums + values_Zn.sum(1), squares + values_Zn.square().sum(1)
        if not count:
            raise ValueError("there are no images to measure the latents of; give at least one batch")
        mean_Z = sums / count
        std_Z = (squares / count - mean_Z.square()).clamp(min=0).sqrt()
        flat = [channel for channel, std in enumerate(std_Z.tolist()) if not std > 1e-6]
        if flat:
            raise ValueError(
                f"channel {flat[0]} of the latents is the same for all images, which cannot be brought to scale; "
                "train the tokenizer longer, or take fewer latent_channels"
            )
        self.latent_mean.copy_(mean_Z)
        self.latent_std.copy_(std_Z)

    @staticmethod
    def _of(values_Z: Tensor) -> Tensor:
        return values_Z.view(1, -1, 1, 1)


def build_kl_tokenizer(config: KLTokenizerConfig) -> KLTokenizer:
    """A freshly initialised tokenizer; weights are a function of the config (its training seed included) alone.

    A fixed scale is set; a measured one is not
    known before training.

    Args:
        config: resolved (`config.resolve_kl_tokenizer`).
    """
    tokenizer = initialised(
        lambda: KLTokenizer(
            latent_channels=config.latent_channels,
            resolution=config.resolution,
            image_channels=config.image_channels,
            channels=config.channels,
            multipliers=config.channel_multipliers,
            blocks=config.blocks,
            middle=config.middle,
            attention=config.attention,
            stem_stride=config.stem_stride,
            norm_groups=config.norm_groups,
            variances=config.train.kl != "off",
            outer_convolutions=config.outer_convolutions,
        ),
        config.train.seed,
    )
    if config.latent_scale != "measured":
        tokenizer.set_scale(config.latent_scale)
    return tokenizer
