"""Learning rate and weight decay as pure functions of images seen.

A step is named by the images seen *before* it. The trunk of warm-up/stable/decay depends on nothing but that; a branch
knows its own start and end; `lin0` and `cosine` know a horizon. `lin0` is the reference trainer's default (var.md 2.6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from var_scaling.config.train import TrainConfig


class Schedule(Protocol):
    """What the loop asks for before each step."""

    def learning_rate(self, images: int) -> float: ...
    def weight_decay(self, images: int) -> float: ...


def _warm(images: int, config: TrainConfig, floor: float = 0.0) -> float:
    """Linear warm-up factor; the first step already moves."""
    warmup = config.warmup_images or 0
    if images >= warmup:
        return 1.0
    return floor + (1.0 - floor) * min(1.0, (images + config.batch_size) / (warmup + config.batch_size))


@dataclass(frozen=True)
class Trunk:
    """Warm-up, then constant."""

    config: TrainConfig

    def learning_rate(self, images: int) -> float:
        assert self.config.learning_rate is not None
        return self.config.learning_rate * _warm(images, self.config)

    def weight_decay(self, images: int) -> float:
        assert self.config.weight_decay is not None
        return self.config.weight_decay


@dataclass(frozen=True)
class Branch:
    """Anneals from the trunk's rate at `start` to the final share of it at `end` (images)."""

    config: TrainConfig
    start: int
    end: int

    def learning_rate(self, images: int) -> float:
        config = self.config
        assert config.learning_rate is not None and config.final_learning_rate is not None
        batch = config.batch_size
        steps = (self.end - self.start) // batch
        share = ((images - self.start) // batch + 1) / (
            steps + 1
        )  # in (0, 1): no step runs at the trunk's rate or at 0
        left = 1.0 - math.sqrt(share) if config.decay_shape == "1-sqrt" else 1.0 - share
        return config.learning_rate * (config.final_learning_rate + (1.0 - config.final_learning_rate) * left)

    def weight_decay(self, images: int) -> float:
        assert self.config.weight_decay is not None
        return self.config.weight_decay


@dataclass(frozen=True)
class Horizon:
    """`lin0` (constant for 5 % after the warm-up, then linear) or cosine, over the horizon; decay follows a cosine."""

    config: TrainConfig

    def _share(self, images: int) -> float:
        """Share of the way from the end of the warm-up to the last step."""
        config = self.config
        assert isinstance(config.horizon_images, int)
        warmup = config.warmup_images or 0
        last = -(-config.horizon_images // config.batch_size) * config.batch_size - config.batch_size
        return min(1.0, max(0.0, (images - warmup) / max(1, last - warmup)))

    def learning_rate(self, images: int) -> float:
        config = self.config
        assert config.learning_rate is not None and config.final_learning_rate is not None
        if images < (config.warmup_images or 0):
            return config.learning_rate * _warm(images, config, floor=0.005)
        share = self._share(images)
        left = 0.5 + 0.5 * math.cos(math.pi * share)
        if config.schedule == "lin0":
            left = min(1.0, (1.0 - share) / 0.95)
        return config.learning_rate * (config.final_learning_rate + (1.0 - config.final_learning_rate) * left)

    def weight_decay(self, images: int) -> float:
        config = self.config
        assert config.weight_decay is not None and config.final_weight_decay is not None
        left = 0.5 + 0.5 * math.cos(math.pi * self._share(images))
        return config.final_weight_decay + (config.weight_decay - config.final_weight_decay) * left
