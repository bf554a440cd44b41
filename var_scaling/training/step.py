"""One optimizer step, with no clock, no file and no random state: its draws are addressed by images seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.data.tokens import TokenCache
from var_scaling.planning.trial import TrialConfig
from var_scaling.training.distributed import ALONE, Ranks
from var_scaling.training.optimizer import set_rates
from var_scaling.training.state import State


@dataclass(frozen=True)
class Batch:
    """Tensors of the images at consecutive positions of the run."""

    labels_B: Tensor  # int64; the null class where the label was dropped
    tokens_BL: Tensor  # int64
    features_BLC: Tensor  # teacher-forcing input, all scales but the first
    keep_path_DB: Tensor | None  # multipliers of the residual branches, two a block

    def part(self, rows: slice) -> Batch:
        """Some of the images."""
        keep = None if self.keep_path_DB is None else self.keep_path_DB[:, rows]
        return Batch(self.labels_B[rows], self.tokens_BL[rows], self.features_BLC[rows], keep)


def draw_batch(
    config: TrialConfig, cache: TokenCache, images: int, device: torch.device, ranks: Ranks = ALONE
) -> Batch:
    """This rank's rows of the batch that follows after `images` images.

    Order, view, label drop and drop path come from the images' addresses, the same under any number of ranks.
    """
    count, seed = ranks.share(config.train.batch_size), config.seed
    first = images + ranks.rank * count
    positions = np.arange(first, first + count)
    items, _ = randomness.order(seed, config.data.unique_images, first, count)
    views = randomness.integers(seed, "view", config.data.views, positions)
    labels, tokens_BL, features_BLC = cache.batch(items, views)
    dropped = torch.from_numpy(randomness.uniform(seed, "label-drop", positions) < config.train.label_drop)
    labels_B = labels.masked_fill(dropped, config.model.num_classes)
    keep_DB = None
    if config.model.drop_path:
        blocks = np.repeat(np.linspace(0.0, config.model.drop_path, config.model.depth), 2)[:, None]
        draws = randomness.uniform(seed, "drop-path", np.arange(len(blocks))[:, None], positions[None, :])
        keep_DB = torch.from_numpy(np.where(draws < blocks, 0.0, 1.0 / (1.0 - blocks)).astype(np.float32))

    def send(tensor: Tensor) -> Tensor:  # from pinned memory, or the copy waits for the steps that are queued
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    return Batch(send(labels_B), send(tokens_BL), send(features_BLC), None if keep_DB is None else send(keep_DB))


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
        Mean loss of the whole batch (nats per token) and the gradient's norm before clipping, both on the device.
    """
    train, micro = config.train, config.execution.micro_batch
    assert micro is not None
    set_rates(state.optimizer, *rates)
    state.optimizer.zero_grad(set_to_none=True)
    count = len(batch.labels_B)
    total = torch.zeros((), device=batch.labels_B.device)
    for start in range(0, count, micro):
        part = batch.part(slice(start, start + micro)) if micro < count else batch
        weight = len(part.labels_B) / train.batch_size
        with ranks.accumulate(state.forward, last=start + micro >= count):
            loss = _loss(state.forward, part, train.label_smoothing, train.precision == "bfloat16") * weight
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


def _loss(model: nn.Module, batch: Batch, smoothing: float, half: bool) -> Tensor:
    with torch.autocast(batch.labels_B.device.type, dtype=torch.bfloat16, enabled=half):
        logits_BLV = model(batch.labels_B, batch.features_BLC, batch.keep_path_DB)
    return F.cross_entropy(logits_BLV.float().flatten(0, 1), batch.tokens_BL.flatten(), label_smoothing=smoothing)


@torch.no_grad()
def _average(state: State, keep: float) -> None:
    assert state.average is not None
    live = dict(state.model.named_parameters())
    torch._foreach_lerp_(list(state.average.values()), [live[n].detach() for n in state.average], 1.0 - keep)
