"""Ways in which a training can fail that are results, not bugs."""

from __future__ import annotations


class Diverged(Exception):
    """A loss or a gradient is not finite. The same config fails at the same step again: there is no retry.

    Attributes:
        step: the optimizer step, counted from 1.
    """

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(f"{message} at step {step:,}")
        self.step = step
