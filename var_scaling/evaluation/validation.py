"""What a model says of the whole validation set: deterministic, whatever the batch size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling.data.latents import LatentCache
from var_scaling.families.base import Batch, FamilyModel, ModelConfig
from var_scaling.families.registry import model_of
from var_scaling.planning.flops import VALIDATED_AT_ONCE


@torch.no_grad()
def validation_loss(
    config: ModelConfig,
    module: nn.Module,
    cache: LatentCache,
    *,
    family: FamilyModel | None = None,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    precision: str = "float32",
) -> dict[str, float]:
    """The family's losses, no label dropped, nothing drawn but by address, every image in its plain view.

    Bit-identical for any `batch_size`: that many images are fetched at a time, but each forward pass is of
    `VALIDATED_AT_ONCE` images, the last filled up with repeats that are not counted, and what each image says is kept
    in image order in float64. The mode (train or eval) of the module is left as it was; in the meantime it is eval.

    Args:
        config: of the model, resolved.
        module: built from it.
        cache: an open latent cache, with the tokenizer where it keeps not all that the family reads.
        family: None: the config's own.
        batch_size: images fetched at a time; execution only.
        device: of the model.
        precision: "float32", "tf32" or "bfloat16" (autocast).

    Returns:
        Columns of a row (`Family.losses`, and more of the kind).
    """
    family = family or model_of(config)
    images = len(cache.validation_labels)
    found: dict[str, NDArray[np.float64]] = {}
    training = module.training
    module.eval()
    try:
        # The fetch is in whole forward passes, so that batch_size cannot move their borders.
        fetch = max(1, batch_size // VALIDATED_AT_ONCE) * VALIDATED_AT_ONCE
        for start in range(0, images, fetch):
            labels, latents = cache.validation_batch(start, min(start + fetch, images), family.reads)
            for begin in range(0, len(labels), VALIDATED_AT_ONCE):
                rows = slice(begin, begin + VALIDATED_AT_ONCE)
                count = len(labels[rows])
                part = Batch(
                    _filled(labels[rows]).to(device),
                    {name: _filled(value[rows]).to(device) for name, value in latents.items()},
                    {},
                )
                positions = np.resize(np.arange(start + begin, start + begin + count), VALIDATED_AT_ONCE)
                with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                    said = family.validate(module, part, positions)
                for name, value in said.items():
                    whole = found.setdefault(name, np.empty((images, *value.shape[1:])))
                    whole[start + begin : start + begin + count] = value[:count].double().cpu().numpy()
    finally:
        module.train(training)
    return family.summarise(config, found)


def _filled(tensor: Tensor) -> Tensor:
    """Repeats of the first row up to a whole forward pass."""
    missing = VALIDATED_AT_ONCE - len(tensor)
    return torch.cat([tensor, tensor[:1].expand(missing, *tensor.shape[1:])]) if missing else tensor
