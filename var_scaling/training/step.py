"""One optimizer step, with no clock, no file and no random state: its draws are addressed by images seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.data.latents import LatentCache
from var_scaling.families.base import Batch
from var_scaling.families.registry import model_of
from var_scaling.planning.trial import TrialConfig
from var_scaling.training.distributed import ALONE, Ranks
from var_scaling.training.optimizer import set_rates
from var_scaling.training.state import State


def draw_batch(
    config: TrialConfig, cache: LatentCache, images: int, device: torch.device, ranks: Ranks = ALONE
) -> Batch:
    """This rank's rows of the batch that follows after `images` images.

    Order, view and the family's own draws come from the images' addresses, the same under any number of ranks.
    """
    count, seed = ranks.share(config.train.batch_size), config.seed
    first = images + ranks.rank * count
    positions = np.arange(first, first + count)
    items, _ = randomness.order(seed, config.data.unique_images, first, count)
    views = randomness.integers(seed, "view", config.data.views, positions)
    family = model_of(config.model)
    labels_B, latents = cache.batch(items, views, family.reads)
    draws = family.draws(config.model, config.train, seed, positions)

    def send(tensor: Tensor) -> Tensor:  # from pinned memory, or the copy waits for the steps that are queued
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    return Batch(
        send(labels_B),
        {name: send(value) for name, value in latents.items()},
        {name: send(value) for name, value in draws.items()},
    )


def train_step(
    state: State, batch: Batch, config: TrialConfig, rates: tuple[float, float], ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Advance the state by one batch.

    Args:
        state: advanced in place.
        batch: this rank's rows.
        config: the trial's.
        rates: learning rate and weight decay.
        ranks: who else computes a share of the batch.

    Returns:
        Mean loss of the whole batch (the family's) and the gradient's norm before clipping, both on the device.
    """
    train = config.train
    set_rates(state.optimizer, *rates)
    state.optimizer.zero_grad(set_to_none=True)
    count = len(batch.labels)
    micro = config.execution.micro_batch or count
    total = torch.zeros((), device=batch.labels.device)
    for start in range(0, count, micro):
        part = batch.part(slice(start, start + micro)) if micro < count else batch
        weight = len(part.labels) / train.batch_size
        with ranks.accumulate(state.forward, last=start + micro >= count):
            loss = _loss(state.forward, config, part) * weight
            (loss * ranks.size).backward()  # DistributedDataParallel takes the mean over ranks
        total += loss.detach()
    parameters = list(state.model.parameters())
    if train.gradient_clip == "off":
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    else:
        norm = nn.utils.clip_grad_norm_(parameters, train.gradient_clip)
    state.optimizer.step()
    state.images += train.batch_size
    if state.average is not None:
        assert train.ema_half_life_images != "off"
        _average(state, 0.5 ** (train.batch_size / train.ema_half_life_images))
    return ranks.total(total), norm


def _loss(forward: nn.Module, config: TrialConfig, batch: Batch) -> Tensor:
    half = config.train.precision == "bfloat16"
    with torch.autocast(batch.labels.device.type, dtype=torch.bfloat16, enabled=half):
        return model_of(config.model).loss(forward, config.model, config.train, batch)


@torch.no_grad()
def _average(state: State, keep: float) -> None:
    assert state.average is not None
    live = dict(state.model.named_parameters())
    torch._foreach_lerp_(list(state.average.values()), [live[n].detach() for n in state.average], 1.0 - keep)
