"""Training steps without a study: one picture in the place of a token cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import read_trial
from var_scaling.training.schedule import Trunk
from var_scaling.training.state import fresh_state
from var_scaling.training.step import draw_batch, train_step
from var_scaling.training.timing import OnePicture


def make_stepper(depth: int, **overrides: Any) -> tuple[Callable[[], None], int]:
    """A function that does one training step, and the images in it."""
    config = resolve(read_trial({"model": {"head_dim": 16, "depth": depth}, **overrides}))
    cache: Any = OnePicture(config)
    device = torch.device("cpu")
    state, schedule = fresh_state(config, device), Trunk(config.train)

    def step() -> None:
        rates = schedule.learning_rate(state.images), schedule.weight_decay(state.images)
        train_step(state, draw_batch(config, cache, state.images, device), config, rates)

    return step, config.train.batch_size
