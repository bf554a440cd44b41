"""What every rank but the first does: take the steps that rank 0 orders, on its own rows of each batch."""

from __future__ import annotations

import torch

from var_scaling.data.latents import LatentCache
from var_scaling.planning.trial import TrialConfig
from var_scaling.training.distributed import Ranks
from var_scaling.training.state import fresh_state
from var_scaling.training.step import draw_batch, train_step


def lend(config: TrialConfig, cache: LatentCache, ranks: Ranks, device: torch.device) -> None:
    """Until rank 0 has no more steps to take.

    Raises:
        Lost: rank 0 is gone.
    """
    for state, step in ranks.listen(lambda: fresh_state(config, device, ranks)):
        state.images = step.images
        batch = draw_batch(config, cache, step.images, device, ranks)
        train_step(state, batch, config, step.rates, ranks)
