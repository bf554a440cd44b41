"""Next-token prediction over the same transformer as VAR: the raster-order baseline, or VAR's own tokens in a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from var_scaling.families.raster import sizes
from var_scaling.families.raster.config import RasterConfig, RasterSampler
from var_scaling.families.transformer.config import TokenModelConfig
from var_scaling.families.transformer.family import TokenFamily
from var_scaling.runs.columns import Column


class RasterFamily(TokenFamily):
    """See `families.base.Family`."""

    name = "raster"
    config = RasterConfig
    sampler = RasterSampler
    numerics = 1
    own_columns = (*TokenFamily.own_columns, Column("order", "", "identity", "of the tokens"))
    module = "var_scaling.families.raster.training"

    params = staticmethod(sizes.params)
    forward_flops = staticmethod(sizes.forward_flops)
    input_flops = staticmethod(sizes.input_flops)
    sample_flops = staticmethod(sizes.sample_flops)
    sample_bytes = staticmethod(sizes.sample_bytes)
    activation_bytes = staticmethod(sizes.activation_bytes)
    recompute_bytes = staticmethod(sizes.recompute_bytes)

    def problems(self, model: TokenModelConfig) -> Iterator[str]:
        yield from super().problems(model)
        assert isinstance(model, RasterConfig) and model.patch_nums is not None, "resolve the config first"
        if model.order == "raster" and len(model.patch_nums) > 1:
            yield (
                f"model.order = raster reads one token map, and the tokenizer gives {len(model.patch_nums)}, of sides "
                f"{list(model.patch_nums)}; use a tokenizer of one scale (tokenizer.preset tiny-raster, say), or "
                "model.order pyramid"
            )

    def mean_guidance(self, model: RasterConfig, sampler: RasterSampler) -> float:
        """All of t at every token, or half of it where it rises from token to token."""
        return sampler.guidance if sampler.ramp == "constant" else sampler.guidance / 2

    def columns(self, model: TokenModelConfig) -> dict[str, Any]:
        assert isinstance(model, RasterConfig)
        return {**super().columns(model), "order": model.order}


FAMILY = RasterFamily()
