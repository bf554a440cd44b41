"""Training steps without a study: random tokens in the shape of a token cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.training.schedule import Trunk
from var_scaling.training.state import fresh_state
from var_scaling.training.step import draw_batch, train_step


class RandomTokens:
    """What `TokenCache.batch` gives, of noise."""

    def __init__(self, config: TrialConfig, images: int = 4_096) -> None:
        model, generator = config.model, torch.Generator().manual_seed(0)
        length = model.tokens_per_image
        self.tokens = torch.randint(0, model.vocab_size, (images, length), generator=generator)
        self.features = torch.randn(images, length - model.patch_nums[0] ** 2, model.latent_dim, generator=generator)
        self.labels = torch.randint(0, model.num_classes, (images,), generator=generator)

    def batch(self, indices: np.ndarray, views: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows = torch.from_numpy(indices % len(self.labels))
        return self.labels[rows], self.tokens[rows], self.features[rows]


def make_stepper(depth: int, **overrides: Any) -> tuple[Callable[[], None], int]:
    """A function that does one training step, and the images in it."""
    config = resolve(read_trial({"model": {"head_dim": 16, "depth": depth}, **overrides}))
    cache: Any = RandomTokens(config)
    device = torch.device("cpu")
    state, schedule = fresh_state(config, device), Trunk(config.train)

    def step() -> None:
        rates = schedule.learning_rate(state.images), schedule.weight_decay(state.images)
        train_step(state, draw_batch(config, cache, state.images, device), config, rates)

    return step, config.train.batch_size
