"""E + A/N^alpha + B(N)/D^beta(N): the coefficient and the exponent of data move with size, both as powers of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.engine.terms import Evaluation, _finish

STEEPEST = 30.0  # |q log N| beyond which the exponent of data is 0 or infinite for every purpose


@dataclass(frozen=True)
class CoupledTerms:
    """z0 = e, z1 = a - alpha n, z2 = b + p n - beta exp(q n) d; theta (e, a, alpha, b, beta, p, q).

    Attributes:
        logs: (2, n) centred log N and log D.
        offset: whether E is fitted; without it the first parameter is gone.
    """

    logs: np.ndarray
    offset: bool = True

    @property
    def term_of(self) -> tuple[int, ...]:
        """The term that each parameter belongs to."""
        return (0, 1, 1, 2, 2, 2, 2) if self.offset else (0, 0, 1, 1, 1, 1)

    @property
    def parameters(self) -> int:
        """How many there are."""
        return len(self.term_of)

    def evaluate(self, theta: np.ndarray) -> Evaluation:
        """Prediction and derivatives; theta is (S, 7), or (S, 6) without an offset."""
        size, data = self.logs
        place = 1 if self.offset else 0
        a, alpha, b, beta, lift, drift = (theta[:, place + j, None] for j in range(6))
        bent = np.exp(np.clip(drift * size, -STEEPEST, STEEPEST)) * data
        ones = np.ones(len(size))
        exponents = [a - alpha * size, b + lift * size - beta * bent]
        columns = [ones, -size, ones, -bent, size, -beta * size * bent]
        if self.offset:
            exponents.insert(0, np.broadcast_to(theta[:, :1], exponents[0].shape))
            columns.insert(0, ones)
        slope = size * bent
        curvature = [(place + 3, place + 5, -slope), (place + 5, place + 5, -beta * size * slope)]
        return _finish(exponents, columns, curvature)
