"""A continuous latent, pulled towards the unit normal or not: trained here, or imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from var_scaling.tokenizers.base import Arrays, Latents, TokenizerConfig
from var_scaling.tokenizers.convolutions import autoencoder_flops
from var_scaling.tokenizers.kl.config import IMPORTED, PRESETS, KLTokenizerConfig, resolve_kl_tokenizer


class KLKind:
    """See `tokenizers.base.TokenizerKind`."""

    name = "kl"
    config = KLTokenizerConfig
    presets = tuple(PRESETS)
    imported = IMPORTED
    latents: Latents = "continuous"
    module = "var_scaling.tokenizers.kl.training"

    resolve = staticmethod(resolve_kl_tokenizer)

    def imported_as(self, config: KLTokenizerConfig, asked: TokenizerConfig, resolution: int) -> KLTokenizerConfig:
        groups = getattr(asked, "norm_groups", None)
        update = {"resolution": resolution} | ({} if groups is None else {"norm_groups": groups})
        return config.model_copy(update=update)

    def standing(self, config: KLTokenizerConfig, model: Any) -> KLTokenizerConfig:
        side = getattr(model, "latent_size", None) or config.latent_size
        return config.model_copy(update={"resolution": side * config.downsampling})

    def facts(self, config: KLTokenizerConfig) -> Mapping[str, Any]:
        return {name: getattr(config, name) for name in ("latent_channels", "latent_size")}

    def arrays(self, config: KLTokenizerConfig) -> tuple[Arrays, Arrays]:
        assert config.latent_channels, "resolve the config first"
        return {"latents": ("float32", (config.latent_channels, config.latent_size, config.latent_size))}, {}

    def image_flops(self, config: KLTokenizerConfig) -> tuple[float, float]:
        assert config.latent_channels, "resolve the config first"
        moments = config.latent_channels * (1 if config.train.kl == "off" else 2)
        return autoencoder_flops(config, moments, config.latent_channels)

    def training_images(self, config: KLTokenizerConfig) -> int:
        return config.train.images or 0  # imported weights have none


KIND = KLKind()
