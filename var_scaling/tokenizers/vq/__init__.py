"""Multi-scale vector quantisation: an image becomes token maps, coarse to fine; one scale is the raster case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from var_scaling.tokenizers.base import Latents
from var_scaling.tokenizers.vq.config import PRESETS, VQConfig, resolve_tokenizer


class VQKind:
    """See `tokenizers.base.TokenizerKind`."""

    name = "vq"
    config = VQConfig
    presets = tuple(PRESETS)
    latents: Latents = "tokens"
    module = "var_scaling.tokenizers.vq.training"

    resolve = staticmethod(resolve_tokenizer)

    def facts(self, config: VQConfig) -> Mapping[str, Any]:
        return {name: getattr(config, name) for name in ("patch_nums", "vocab_size", "latent_dim")}


KIND = VQKind()
