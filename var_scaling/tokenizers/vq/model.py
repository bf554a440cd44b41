"""The multi-scale VQ tokenizer: images to token maps, coarse to fine, and back.

Encoder, residual quantiser over scales, decoder, with a 3x3 convolution on each side of the quantiser. Its training is
`training`; this module draws no random numbers. Parameter names are the published checkpoint's.

Dimension key: B batch, 3 image channels (or 1), H = W image side in pixels, Z latent channels, h = w side of the
latent, l = p * p tokens of one scale, L tokens of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from var_scaling.tokenizers.autoencoder import Decoder, Encoder, initialised
from var_scaling.tokenizers.vq.config import VQConfig, arrays
from var_scaling.tokenizers.vq.quantizer import MultiScaleQuantizer


class Tokenizer(nn.Module):
    """See the head of this file.

    Args:
        patch_nums: side of each scale, coarse to fine; the last is the side of the feature map.
        vocab_size: codes V.
        latent_dim: channels Z of a code.
        channels: width of the finest level.
        multipliers: width of each level as a multiple of `channels`, finest first.
        blocks: residual blocks a level in the encoder; the decoder has one more.
        middle: two more blocks at the deepest level.
        attention: in the deepest level and in the middle.
        stem_stride: 1 (published), 2 or 4.
        norm_groups: groups of every GroupNorm, at most.
        image_channels: 1 or 3.
        phi_count, phi_ratio, commitment: see `MultiScaleQuantizer`.
    """

    def __init__(
        self,
        *,
        patch_nums: tuple[int, ...],
        vocab_size: int,
        latent_dim: int,
        channels: int,
        multipliers: tuple[int, ...],
        blocks: int = 2,
        middle: bool = True,
        attention: bool = True,
        stem_stride: int = 1,
        norm_groups: int = 32,
        image_channels: int = 3,
        phi_count: int = 4,
        phi_ratio: float = 0.5,
        commitment: float = 0.25,
    ):
        super().__init__()
        self.patch_nums, self.vocab_size, self.latent_dim = tuple(patch_nums), vocab_size, latent_dim
        self.image_channels, self.norm_groups = image_channels, norm_groups
        self.sizes = [side * side for side in self.patch_nums]
        self.shape, self.derived = arrays(self.patch_nums, vocab_size, latent_dim)
        self.downsampling = stem_stride * 2 ** (len(multipliers) - 1)
        sizes = (
            image_channels,
            channels,
            tuple(multipliers),
            blocks,
            middle,
            attention,
            stem_stride,
            norm_groups,
            latent_dim,
        )
        self.encoder = Encoder(*sizes)
        self.decoder = Decoder(*sizes)
        self.quantize = MultiScaleQuantizer(patch_nums, vocab_size, latent_dim, phi_count, phi_ratio, commitment)
        self.quant_conv = nn.Conv2d(latent_dim, latent_dim, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(latent_dim, latent_dim, 3, padding=1)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.patch_nums[-1] * self.downsampling

    def features(self, images_B3HW: Tensor) -> Tensor:
        """Feature map before quantisation, (B, Z, h, w).

        Args:
            images_B3HW: in [-1, 1].

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

    @torch.no_grad()
    def encode(self, images_B3HW: Tensor) -> list[Tensor]:
        """Token maps, one (B, p * p) int64 a scale, coarse to fine; images in [-1, 1]."""
        return self.quantize.encode(self.features(images_B3HW).float())

    def teacher_forcing_input(self, tokens: Sequence[Tensor]) -> Tensor:
        """What a transformer reads: at each scale but the first, the picture of the scales before it, in its size.

        Args:
            tokens: all K maps, (B, p * p) each. The last is not looked at.

        Returns:
            (B, L - first scale, Z).
        """
        parts = [self.empty_picture(len(tokens[0])).flatten(2).transpose(1, 2)[:, :0]]  # a single scale reads nothing
        for k, picture_BZhw in enumerate(self.quantize.pictures(tokens[:-1])):
            parts.append(self.scale_input(picture_BZhw, k + 1))
        return torch.cat(parts, dim=1)

    def decode(self, tokens: Sequence[Tensor]) -> Tensor:
        """Images in [-1, 1] from token maps; a coarse prefix of the scales gives a coarse image."""
        return self.decode_picture(self.quantize.pictures(tokens)[-1]).clamp(-1, 1)

    def decode_picture(self, picture_BZhw: Tensor) -> Tensor:
        """Images from the sum over scales, not clamped."""
        return self.decoder(self.post_quant_conv(picture_BZhw))

    # What the latent cache and the families see (`tokenizers.base.Tokenizer`).

    def latents(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The arrays of images in [-1, 1]: "tokens", (B, L) int64."""
        return {"tokens": torch.cat(self.encode(images_B3HW), dim=1)}

    @torch.no_grad()
    def derive(self, name: str, latents: Mapping[str, Tensor]) -> Tensor:
        """What follows from the tokens: "features" (`teacher_forcing_input`), or "codes", (B, L, Z) of the codebook."""
        if name == "codes":
            return self.quantize.embedding(latents["tokens"]).float()
        assert name == "features", f"{name} is no array of this tokenizer: tokens, features, codes"
        return self.teacher_forcing_input(self.maps(latents["tokens"])).float()

    def pictures(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Images in [-1, 1] from the arrays."""
        return self.decode(self.maps(latents["tokens"]))

    def maps(self, tokens_BL: Tensor) -> list[Tensor]:
        """Flat tokens as one (B, p * p) map a scale."""
        return list(tokens_BL.split(self.sizes, dim=1))

    # What a sampler needs, one scale at a time.

    def empty_picture(self, batch: int) -> Tensor:
        """The picture before the first scale, zeros (B, Z, h, w)."""
        side = self.patch_nums[-1]
        return self.quantize.embedding.weight.new_zeros(batch, self.latent_dim, side, side)

    def add_scale(self, picture_BZhw: Tensor, scale: int, tokens_Bl: Tensor) -> Tensor:
        """The picture with the tokens of scale `scale` (counted from 0) added."""
        return picture_BZhw + self.quantize.enlarge(self.quantize.embedding(tokens_Bl), scale)

    def scale_input(self, picture_BZhw: Tensor, scale: int) -> Tensor:
        """What the transformer reads at scale `scale`, (B, p * p, Z), given the picture of all scales before it."""
        return self.quantize.shrink(picture_BZhw, scale)


def build_tokenizer(config: VQConfig) -> Tokenizer:
    """A freshly initialised tokenizer; weights are a function of the config (its training seed included) alone.

    Args:
        config: resolved (`config.tokenizer.resolve_tokenizer`).
    """
    tokenizer = initialised(
        lambda: Tokenizer(
            patch_nums=config.patch_nums,
            vocab_size=config.vocab_size,
            latent_dim=config.latent_dim,
            channels=config.channels,
            multipliers=config.channel_multipliers,
            blocks=config.blocks,
            middle=config.middle,
            attention=config.attention,
            stem_stride=config.stem_stride,
            norm_groups=config.norm_groups,
            image_channels=config.image_channels,
            phi_count=config.phi_count,
            phi_ratio=config.phi_ratio,
            commitment=config.commitment,
        ),
        config.train.seed,
    )
    return tokenizer
