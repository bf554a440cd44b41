"""Multi-scale vector quantisation: an image becomes token maps, coarse to fine; one scale is the raster case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from var_scaling.tokenizers.base import Arrays, Latents
from var_scaling.tokenizers.convolutions import autoencoder_flops
from var_scaling.tokenizers.vq.config import PRESETS, VQConfig, arrays, resolve_tokenizer


class VQKind:
    """See `tokenizers.base.TokenizerKind`."""

    name = "vq"
    config = VQConfig
    presets = tuple(PRESETS)
    latents: Latents = "tokens"
    module = "var_scaling.tokenizers.vq.training"

    resolve = staticmethod(resolve_tokenizer)

    def arrays(self, config: VQConfig) -> tuple[Arrays, Arrays]:
        assert config.patch_nums and config.vocab_size and config.latent_dim, "resolve the config first"
        return arrays(config.patch_nums, config.vocab_size, config.latent_dim)

    def image_flops(self, config: VQConfig) -> tuple[float, float]:
        assert config.latent_dim, "resolve the config first"
        return autoencoder_flops(config, config.latent_dim, config.latent_dim)

    def training_images(self, config: VQConfig) -> int:
        assert config.train.images, "resolve the config first"
        return config.train.images

    def facts(self, config: VQConfig) -> Mapping[str, Any]:
        return {name: getattr(config, name) for name in ("patch_nums", "vocab_size", "latent_dim")}


KIND = VQKind()
