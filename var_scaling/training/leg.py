"""A leg of a trial: its trunk up to a branch point, or a branch to its budget, as the loop drives it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from var_scaling.data.latents import LatentCache
from var_scaling.planning import flops
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs.failures import Diverged
from var_scaling.runs.store import Attempt
from var_scaling.training.distributed import Ranks
from var_scaling.training.loop import train
from var_scaling.training.schedule import Schedule
from var_scaling.training.state import State, Window
from var_scaling.training.step import draw_batch, train_step


@dataclass(frozen=True)
class Run:
    """What stays the same for the whole life of a trial's attempt."""

    config: TrialConfig
    cache: LatentCache
    attempt: Attempt
    device: torch.device
    ranks: Ranks
    peak_flops: float  # of all devices at this precision, for MFU
    progress: Callable[[State, str], None]


def advance(run: Run, state: State, until: int, phase: str, schedule: Schedule) -> None:
    """Train up to `until` images seen.

    Args:
        run: config, data, attempt.
        state: advanced in place.
        until: images seen at the end; a multiple of the batch.
        phase: "trunk" or "anneal_<budget>".
        schedule: rate and decay at each step.

    Raises:
        Stopped, Lost, Diverged: as `loop.train`.
    """
    train(
        Leg(run, state, schedule),
        run.attempt,
        until,
        phase,
        checkpoint_seconds=run.config.execution.checkpoint_seconds,
        progress=lambda: run.progress(state, phase),
    )


class Leg:
    """A `loop.Trainee`."""

    def __init__(self, run: Run, state: State, schedule: Schedule) -> None:
        self.run, self.state, self.schedule = run, state, schedule
        self.batch_size = run.config.train.batch_size
        self.every = max(1, run.config.execution.journal_images // self.batch_size) * self.batch_size
        self.work_per_image = flops.train_flops_visible_per_image(run.config.model)
        self.losses: list[torch.Tensor] = []  # on the device, of the steps since the last look
        self.rates, self.norm = (0.0, 0.0), torch.zeros(())

    @property
    def images(self) -> int:
        return self.state.images

    @property
    def seconds(self) -> float:
        return self.state.seconds

    @seconds.setter
    def seconds(self, value: float) -> None:
        self.state.seconds = value

    def batches(self, until: int) -> Iterator[None]:
        """Batches are drawn within the step, for all ranks at once."""
        while self.state.images < until:
            yield None

    def step(self, batch: None) -> None:
        run, state = self.run, self.state
        self.rates = self.schedule.learning_rate(state.images), self.schedule.weight_decay(state.images)
        run.ranks.tell_step(state.images, self.rates)
        drawn = draw_batch(run.config, run.cache, state.images, run.device, run.ranks)
        loss, self.norm = train_step(state, drawn, run.config, self.rates, run.ranks)
        self.losses.append(loss)

    def line_due(self, until: int) -> bool:
        return self.state.images % self.every == 0 or self.state.images >= until

    def close_window(self, opened: float) -> dict[str, float]:
        norm, state = self._look(), self.state
        if not math.isfinite(norm):
            raise Diverged(f"gradient norm is {norm:.3g}", step=state.images // self.batch_size)
        rate = state.window.images / max(time.perf_counter() - opened, 1e-9)
        state.last_loss = state.window.loss / state.window.images
        state.window = Window()
        return {
            "train/loss": state.last_loss,
            "train/gradient_norm": norm,
            "train/learning_rate": self.rates[0],
            "train/images_per_second": rate,
            "train/mfu": rate * self.work_per_image / self.run.peak_flops,
        }

    def _look(self) -> float:
        """Move the losses of the last steps from the device into the window; stop at the first that is not finite.

        Returns:
            The gradient's norm of the last step: one wait for all of it.
        """
        if not self.losses:
            return math.nan
        stacked = torch.stack([*self.losses, self.norm]).double().cpu()
        norm, stacked = float(stacked[-1]), stacked[:-1]
        self.losses.clear()
        if not bool(torch.isfinite(stacked).all()):
            bad = int((~torch.isfinite(stacked)).nonzero()[0])
            step = self.state.images // self.batch_size - len(stacked) + bad + 1
            raise Diverged(f"loss is {stacked[bad]:.3g}", step=step)
        for value in stacked.tolist():  # one by one, so that a resumed window sums in the same order
            self.state.window.loss += value * self.batch_size
            self.state.window.images += self.batch_size
        return norm

    def state_dict(self) -> dict[str, Any]:
        self._look()
        return self.state.dump()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state.load(state)
