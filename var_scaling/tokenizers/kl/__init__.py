"""A continuous latent, pulled towards the unit normal or not: trained here, or imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from var_scaling.tokenizers.base import Latents
from var_scaling.tokenizers.kl.config import PRESETS, KLTokenizerConfig, resolve_kl_tokenizer


class KLKind:
    """See `tokenizers.base.TokenizerKind`."""

    name = "kl"
    config = KLTokenizerConfig
    presets = tuple(PRESETS)
    latents: Latents = "continuous"
    module = "var_scaling.tokenizers.kl.training"

    resolve = staticmethod(resolve_kl_tokenizer)

    def facts(self, config: KLTokenizerConfig) -> Mapping[str, Any]:
        return {name: getattr(config, name) for name in ("latent_channels", "latent_size")}


KIND = KLKind()
