"""The loop: from one number of images seen to another, journalling, saving, stopping when asked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from var_scaling.data.latents import LatentCache
from var_scaling.planning import flops
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs.failures import Diverged
from var_scaling.runs.store import Attempt
from var_scaling.training.distributed import Ranks
from var_scaling.training.schedule import Schedule
from var_scaling.training.state import State, Window
from var_scaling.training.step import draw_batch, train_step

STOP_SLACK = 5.0  # seconds before a time limit that are left to the end of the process and the requeue


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


def advance(run: Run, state: State, until: int, phase: str, schedule: Schedule, checkpoint: str) -> None:
    """Train up to `until` images seen.

    Every random draw is addressed by images seen, so a state that was saved and loaded goes on to the same bits.

    Args:
        run: config, data, attempt.
        state: advanced in place.
        until: images seen at the end; a multiple of the batch.
        phase: "trunk" or "anneal_<budget>", as the journal names it.
        schedule: rate and decay at each step.
        checkpoint: name under which the state is saved now and then, and when asked to stop.

    Raises:
        Stopped: asked to stop; the state was saved at this step boundary.
        Lost: another attempt has taken over; nothing was saved.
        Diverged: loss or gradient is not finite.
    """
    config, attempt = run.config, run.attempt
    batch_size = config.train.batch_size
    every = max(1, config.execution.journal_images // batch_size) * batch_size
    work_per_image = flops.train_flops_visible_per_image(config.model)
    saved_at, save_cost = time.monotonic(), 0.0
    window_start = time.perf_counter()
    losses: list[torch.Tensor] = []

    def flush(norm: torch.Tensor | None = None) -> float:
        """Move the losses of the last steps from the device into the window; stop at the first that is not finite.

        Returns:
            The gradient's norm, where one is given: one wait for all of it.
        """
        if not losses:
            return math.nan
        stacked = torch.stack([*losses, *([] if norm is None else [norm])]).double().cpu()
        gradient_norm = math.nan if norm is None else float(stacked[-1])
        stacked = stacked[: len(losses)]
        losses.clear()
        if not bool(torch.isfinite(stacked).all()):
            bad = int((~torch.isfinite(stacked)).nonzero()[0])
            raise Diverged(f"loss is {stacked[bad]:.3g}", step=state.images // batch_size - len(stacked) + bad + 1)
        for value in stacked.tolist():  # one by one, so that a resumed window sums in the same order
            state.window.loss += value * batch_size
            state.window.images += batch_size
        return gradient_norm

    def save() -> None:
        nonlocal saved_at, save_cost
        flush()
        begin = time.monotonic()
        attempt.save_checkpoint(checkpoint, state.dump())
        attempt.journal.write(event="checkpoint", phase=phase, images=state.images)
        saved_at = time.monotonic()
        save_cost = saved_at - begin

    while state.images < until:
        begin = time.perf_counter()
        rates = schedule.learning_rate(state.images), schedule.weight_decay(state.images)
        run.ranks.tell_step(state.images, rates)
        batch = draw_batch(config, run.cache, state.images, run.device, run.ranks)
        loss, norm = train_step(state, batch, config, rates, run.ranks)
        losses.append(loss)
        if state.images % every == 0 or state.images >= until:
            gradient_norm = flush(norm)
            if not math.isfinite(gradient_norm):
                raise Diverged(f"gradient norm is {gradient_norm:.3g}", step=state.images // batch_size)
            now = time.perf_counter()
            rate = state.window.images / max(now - window_start, 1e-9)
            attempt.check_owner()
            state.last_loss = state.window.loss / state.window.images
            attempt.journal.write(
                phase=phase,
                images=state.images,
                **{
                    "train/loss": state.last_loss,
                    "train/gradient_norm": gradient_norm,
                    "train/learning_rate": rates[0],
                    "train/images_per_second": rate,
                    "train/mfu": rate * work_per_image / run.peak_flops,
                },
            )
            state.window = Window()
            window_start = now
        step_seconds = time.perf_counter() - begin
        state.seconds += step_seconds
        run.progress(state, phase)
        # Before a time limit: leave while one more step and two saves (the last one measured) still fit.
        if attempt.stop_requested(needed=2 * step_seconds + 2 * save_cost + STOP_SLACK):
            save()
            raise attempt.stopped()
        # Often enough to lose little, seldom enough that saving costs below a twentieth of the time.
        if time.monotonic() - saved_at > max(config.execution.checkpoint_seconds, 20 * save_cost):
            save()
