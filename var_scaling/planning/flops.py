"""Parameters and FLOPs of a model of any family, as exact integers, without torch.

The conventions are results, not utilities. `train_flops_per_image` counts dense attention (the published form) and
equals torch's own FLOP counter (multiply and add apart, matrix products only); `train_flops_visible_per_image` counts
the pairs that the form we run computes. Backward is twice the forward, for weights and for inputs, less what reads the
data and needs no gradient. Everything takes a resolved config of a model.
"""

from __future__ import annotations

from var_scaling.families.base import ModelConfig
from var_scaling.families.registry import family_of

VALIDATED_AT_ONCE = 50  # images of one forward pass of validation, padded up to it: products round by their size
SAMPLES_AT_ONCE = 100  # images whose random numbers are drawn together; a GPU computes fewer where its memory ends


def params(model: ModelConfig) -> dict[str, int]:
    """Trainable parameters by part; the sum of the values is the total."""
    return family_of(model).params(model)


def params_total(model: ModelConfig) -> int:
    """All trainable parameters."""
    return sum(params(model).values())


def forward_flops_per_image(model: ModelConfig) -> int:
    """FLOPs of one forward pass on one image, dense attention."""
    return sum(family_of(model).forward_flops(model).values())


def forward_flops_visible_per_image(model: ModelConfig) -> int:
    """The same, counting the attention pairs that are not masked."""
    return sum(family_of(model).forward_flops(model, visible=True).values())


def train_flops_per_image(model: ModelConfig) -> int:
    """FLOPs of forward and backward on one image, dense attention."""
    return 3 * forward_flops_per_image(model) - family_of(model).input_flops(model)


def train_flops_visible_per_image(model: ModelConfig) -> int:
    """The same, counting the attention pairs that are not masked."""
    return 3 * forward_flops_visible_per_image(model) - family_of(model).input_flops(model)


def forward_macs_per_image(model: ModelConfig) -> int:
    """Multiply-accumulates of one forward pass, dense attention: half the FLOPs; the papers' compute unit, it seems."""
    return forward_flops_per_image(model) // 2


def six_nd_per_image(model: ModelConfig) -> int:
    """6 * all parameters * tokens: the text world's rule, for comparison only (AdaLN acts once an image)."""
    return 6 * params_total(model) * family_of(model).tokens_per_image(model)


def parameter_bytes(model: ModelConfig) -> int:
    """Float32 weights."""
    return 4 * params_total(model)
