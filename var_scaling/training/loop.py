"""The loop of a training: step, line of the journal, checkpoint, stop. What is trained, a `Trainee` knows.

A trial on its trunk or a branch and a tokenizer are trained by it. Every random draw of theirs is addressed by images
seen, so one that was saved and loaded goes on to the same bits. Feature networks have epochs of seconds and a loop of
their own (`evaluation.networks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from var_scaling.runs.store import Attempt

STOP_SLACK = 5.0  # seconds before a time limit that are left to the end of the process and the requeue


class Trainee(Protocol):
    """Everything that a training is between two steps, and the step."""

    images: int  # seen so far
    seconds: float  # inside steps, over all attempts

    def batches(self, until: int) -> Iterable[Any]:
        """What `step` takes, from `images` seen on, a step each; what is read here is no part of `seconds`."""

    def step(self, batch: Any) -> None:
        """One step of the optimizer; counts `images` up."""

    def line_due(self, until: int) -> bool:
        """Whether a line of the journal belongs after this step."""

    def close_window(self, opened: float) -> dict[str, float]:
        """What was measured since the last line, which was at that time of `time.perf_counter`.

        A rate is taken once the device has done what it was told: steps may be queued that have not been computed.

        Raises:
            Diverged: some of it is not finite.
        """

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a dumped state, to the bit."""


def resume(trainee: Trainee, attempt: Attempt, phase: str) -> None:
    """Load the newest checkpoint under the phase's name, where there is one."""
    if (saved := attempt.load_checkpoint(phase)) is not None:
        trainee.load_state_dict(saved)
        attempt.journal.write(event="resumed", phase=phase, images=trainee.images)


def train(
    trainee: Trainee,
    attempt: Attempt,
    until: int,
    phase: str,
    *,
    checkpoint_seconds: float,
    progress: Callable[[], None],
) -> None:
    """Train up to `until` images seen.

    Args:
        trainee: advanced in place.
        attempt: journal, checkpoints, stop flag.
        until: images seen at the end; a step boundary.
        phase: as the journal names it; checkpoints go by this name.
        checkpoint_seconds: the state is saved about this often, and when asked to stop.
        progress: called after each step.

    Raises:
        Stopped: asked to stop; the state was saved at this step boundary.
        Lost: another attempt has taken over; nothing was saved.
        Diverged: a loss or gradient is not finite.
    """
    saved_at, save_cost = time.monotonic(), 0.0
    opened = time.perf_counter()

    def save() -> None:
        nonlocal saved_at, save_cost
        state = trainee.state_dict()
        begin = time.monotonic()
        attempt.save_checkpoint(phase, state)
        attempt.journal.write(event="checkpoint", phase=phase, images=trainee.images)
        saved_at = time.monotonic()
        save_cost = saved_at - begin

    for batch in trainee.batches(until):
        begin = time.perf_counter()
        trainee.step(batch)
        if trainee.line_due(until):
            measured = trainee.close_window(opened)
            attempt.check_owner()
            attempt.journal.write(phase=phase, images=trainee.images, **measured)
            opened = time.perf_counter()
        took = time.perf_counter() - begin
        trainee.seconds += took
        progress()
        # Before a time limit: leave while one more step and two saves (the last one measured) still fit.
        if attempt.stop_requested(needed=2 * took + 2 * save_cost + STOP_SLACK):
            save()
            raise attempt.stopped()
        # Often enough to lose little, seldom enough that saving costs below a twentieth of the time.
        if time.monotonic() - saved_at > max(checkpoint_seconds, 20 * save_cost):
            save()
