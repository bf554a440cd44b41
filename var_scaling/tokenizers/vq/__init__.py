"""Multi-scale vector quantisation: an image becomes token maps, coarse to fine; one scale is the raster case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from var_scaling.tokenizers.base import Arrays, Latents, TokenizerConfig
from var_scaling.tokenizers.convolutions import autoencoder_flops
from var_scaling.tokenizers.vq.config import IMPORTED, PRESETS, VQConfig, arrays, resolve_tokenizer


class VQKind:
    """See `tokenizers.base.TokenizerKind`."""

    name = "vq"
    config = VQConfig
    presets = tuple(PRESETS)
    imported = IMPORTED
    latents: Latents = "tokens"
    module = "var_scaling.tokenizers.vq.training"

    resolve = staticmethod(resolve_tokenizer)

    def imported_as(self, config: VQConfig, asked: TokenizerConfig, resolution: int) -> VQConfig:
        said = {name: getattr(asked, name, None) for name in ("patch_nums", "norm_groups", "phi_ratio")}
        if isinstance(asked, VQConfig) and asked.phi_ratio == VQConfig.model_fields["phi_ratio"].default:
            del said["phi_ratio"]  # nobody said so
        update = {name: value for name, value in said.items() if value is not None}
        return config.model_copy(update={**update, "resolution": resolution})

    def standing(self, config: VQConfig, model: Any) -> VQConfig:
        sides = getattr(model, "patch_nums", None) or config.patch_nums
        assert sides, "resolve the config first"
        return config.model_copy(update={"patch_nums": sides, "resolution": sides[-1] * config.downsampling})

    def arrays(self, config: VQConfig) -> tuple[Arrays, Arrays]:
        assert config.patch_nums and config.vocab_size and config.latent_dim, "resolve the config first"
        return arrays(config.patch_nums, config.vocab_size, config.latent_dim)

    def image_flops(self, config: VQConfig) -> tuple[float, float]:
        assert config.latent_dim, "resolve the config first"
        return autoencoder_flops(config, config.latent_dim, config.latent_dim)

    def training_images(self, config: VQConfig) -> int:
        return config.train.images or 0  # imported weights have none

    def facts(self, config: VQConfig) -> Mapping[str, Any]:
        return {name: getattr(config, name) for name in ("patch_nums", "vocab_size", "latent_dim")}


KIND = VQKind()
