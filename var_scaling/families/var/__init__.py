"""VAR: next-scale prediction on a multi-scale VQ tokenizer (Tian et al. 2024, arXiv:2404.02905)."""

from __future__ import annotations

from var_scaling.families.transformer.family import TokenFamily
from var_scaling.families.var import sizes
from var_scaling.families.var.config import VARConfig, VARSampler


class VARFamily(TokenFamily):
    """See `families.base.Family`."""

    name = "var"
    config = VARConfig
    sampler = VARSampler
    numerics = 1
    module = "var_scaling.families.var.training"

    params = staticmethod(sizes.params)
    forward_flops = staticmethod(sizes.forward_flops)
    input_flops = staticmethod(sizes.input_flops)
    sample_flops = staticmethod(sizes.sample_flops)
    sample_bytes = staticmethod(sizes.sample_bytes)
    activation_bytes = staticmethod(sizes.activation_bytes)
    recompute_bytes = staticmethod(sizes.recompute_bytes)

    def mean_guidance(self, model: VARConfig, sampler: VARSampler) -> float:
        """T rises linearly from 0 at the first scale, so most tokens, which are the last scale's, have nearly all."""
        assert model.patch_nums is not None, "resolve the config first"
        last = len(model.patch_nums) - 1
        ramp = sum(k * side * side for k, side in enumerate(model.patch_nums))
        return sampler.guidance * ramp / last / model.tokens_per_image if last else 0.0


FAMILY = VARFamily()
