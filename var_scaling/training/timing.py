"""How fast a training step is here, with latents given: images a second, and the share of this device's matrix rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from var_scaling.evaluation.roofline import Clock
from var_scaling.families.registry import model_of
from var_scaling.planning import flops
from var_scaling.planning.trial import TrialConfig
from var_scaling.tokenizers.registry import module_of
from var_scaling.training.device import set_precision
from var_scaling.training.schedule import Trunk
from var_scaling.training.state import fresh_state
from var_scaling.training.step import draw_batch, train_step


class OnePicture:
    """A latent cache in which every image is the same grey one: what a step does depends on no value of it.

    Args:
        config: resolved.
        validation: images of the validation set.
    """

    def __init__(self, config: TrialConfig, validation: int = 0) -> None:
        tokenizer = module_of(config.tokenizer).build(config.tokenizer).eval()
        side, channels = config.data.resolution, config.data.channels
        assert side and channels, "resolve the config first"
        with torch.no_grad():
            latents = tokenizer.latents(torch.zeros(1, channels, side, side))
            self.one: dict[str, Tensor] = {
                name: latents[name] if name in latents else tokenizer.derive(name, latents)
                for name in model_of(config.model).reads
            }
        self.validation_labels = np.zeros(validation, np.int64)

    def batch(self, items: Sequence[int], views: Any, names: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """See `LatentCache.batch`."""
        count = len(items)
        return torch.zeros(count, dtype=torch.long), {
            name: value.expand(count, *value.shape[1:]).clone() for name, value in self.one.items()
        }

    def validation_batch(self, start: int, end: int, names: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """See `LatentCache.validation_batch`."""
        return self.batch(range(start, end), 0, names)


@dataclass(frozen=True)
class StepSpeed:
    """One size."""

    depth: int
    batch: int
    tokens: int
    params: int
    seconds: float  # of a step, by the clock
    images_per_second: float
    flops_per_second: float  # as the model is computed: no masked pair of tokens
    share: float  # of the matrix rate

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def step_speed(config: TrialConfig, clock: Clock, matrix: float, runs: int = 5) -> StepSpeed:
    """The least of some steps of one trial, drawing its batch included.

    Args:
        config: resolved.
        clock: of the device.
        matrix: its FLOP/s in a large product at this precision (`roofline.matrix_rate`).
        runs: of which the fastest counts, after two to warm up.
    """
    set_precision(clock.device, config.train.precision)
    state, cache, schedule = fresh_state(config, clock.device), OnePicture(config), Trunk(config.train)
    reader: Any = cache

    def step() -> None:
        rates = schedule.learning_rate(state.images), schedule.weight_decay(state.images)
        train_step(state, draw_batch(config, reader, state.images, clock.device), config, rates)

    step()
    step()
    seconds = clock.least(step, runs, most_seconds=30.0)
    images = config.train.batch_size
    done = images * flops.train_flops_visible_per_image(config.model) / seconds
    tokens = next(iter(cache.one.values())).shape[1]
    params = flops.params_total(config.model)
    return StepSpeed(config.model.depth, images, tokens, params, seconds, images / seconds, done, done / matrix)
