"""Predictions of the form log sum_k exp(z_k), with their derivatives, batched over parameter vectors.

Every law of this package is a sum of positive terms: E + A/N^alpha + B/D^beta has three, E + (beta x)^alpha has two.
With e = log E, a = log A and centred logs the terms are z_0 = e, z_1 = a - alpha x, z_2 = b - beta y: linear in the
parameters, which makes gradient and Hessian two lines, and well conditioned (laws.md: the condition number of J'J at
Chinchilla's optimum falls from 1.8e13 in (A, B, E) to 3.8e3).

Each parameter belongs to exactly one term. Shapes: S parameter vectors (starts or resamples), n rows, p parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Evaluation:
    """Prediction and derivatives at S parameter vectors.

    Attributes:
        log_prediction: (S, n).
        shares: one (S, n) array a term: its part of the prediction.
        columns: one array a parameter, (n,) or (S, n): dz/dtheta_j of its own term.
        curvature: (i, j, array): second derivatives of z beyond the linear part, same term.
    """

    log_prediction: np.ndarray
    shares: list[np.ndarray]
    columns: list[np.ndarray]
    curvature: list[tuple[int, int, np.ndarray]]


@dataclass(frozen=True)
class PowerTerms:
    """E + sum_k A_k / x_k^alpha_k. Parameters: (e,) if `offset`, then (a_k, alpha_k) for each regressor.

    Attributes:
        logs: (k, n) centred logs of the regressors.
        offset: whether a constant term is fitted.
    """

    logs: np.ndarray
    offset: bool

    @property
    def term_of(self) -> tuple[int, ...]:
        """The term that each parameter belongs to."""
        first = 1 if self.offset else 0
        own = [0] if self.offset else []
        for term in range(len(self.logs)):
            own += [first + term] * 2
        return tuple(own)

    @property
    def parameters(self) -> int:
        """How many there are."""
        return len(self.term_of)

    def evaluate(self, theta: np.ndarray) -> Evaluation:
        """Prediction and derivatives; theta is (S, p)."""
        rows = self.logs.shape[1]
        exponents, columns, place = [], [], 0
        if self.offset:
            exponents.append(np.broadcast_to(theta[:, :1], (len(theta), rows)))
            columns.append(np.ones(rows))
            place = 1
        for log_x in self.logs:
            exponents.append(theta[:, place, None] - theta[:, place + 1, None] * log_x)
            columns += [np.ones(rows), -log_x]
            place += 2
        return _finish(exponents, columns, [])


@dataclass(frozen=True)
class RepeatedTerms:
    """E + A/N^alpha + B/D'^beta, D' = U (1 + R (1 - exp(-(epochs - 1)/R))); theta (e, a, alpha, b, beta, log R).

    Attributes:
        log_params: (n,) centred.
        log_unique: (n,) centred log of the unique data U.
        extra_epochs: (n,) epochs - 1.
        offset: whether E is fitted; without it the first parameter is gone.

    Source: Muennighoff et al. 2023 (arXiv 2305.16264), the data half of their law.
    """

    log_params: np.ndarray
    log_unique: np.ndarray
    extra_epochs: np.ndarray
    offset: bool = True

    @property
    def term_of(self) -> tuple[int, ...]:
        """The term that each parameter belongs to."""
        return (0, 1, 1, 2, 2, 2) if self.offset else (0, 0, 1, 1, 1)

    @property
    def parameters(self) -> int:
        """How many there are."""
        return len(self.term_of)

    def evaluate(self, theta: np.ndarray) -> Evaluation:
        """Prediction and derivatives; theta is (S, 6), or (S, 5) without an offset."""
        rows = len(self.log_params)
        place = 1 if self.offset else 0
        a, alpha, b, beta, log_reuse = (theta[:, place + j, None] for j in range(5))
        gain, slope, bend = log_epoch_gain(self.extra_epochs, log_reuse)
        log_data = self.log_unique + gain
        ones = np.ones(rows)
        exponents = [a - alpha * self.log_params, b - beta * log_data]
        columns = [ones, -self.log_params, ones, -log_data, -beta * slope]
        if self.offset:
            exponents.insert(0, np.broadcast_to(theta[:, :1], (len(theta), rows)))
            columns.insert(0, ones)
        curvature = [(place + 3, place + 4, -slope), (place + 4, place + 4, -beta * bend)]
        return _finish(exponents, columns, curvature)


def log_epoch_gain(extra_epochs: np.ndarray, log_reuse: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log(1 + R (1 - exp(-m/R))) for m extra epochs, with first and second derivative in log R."""
    reuse = np.exp(np.clip(log_reuse, -40, 60))  # beyond, nothing changes and the powers overflow
    ratio = extra_epochs / reuse
    decay = np.exp(-ratio)
    saved = -np.expm1(-ratio)
    worth = 1 + reuse * saved
    first = reuse * saved - extra_epochs * decay  # d worth / d log R
    second = first - extra_epochs * decay * ratio
    slope = first / worth
    return np.log(worth), slope, second / worth - slope**2


def _finish(exponents: list[np.ndarray], columns: list[np.ndarray], curvature: list) -> Evaluation:
    top = exponents[0]
    for exponent in exponents[1:]:
        top = np.maximum(top, exponent)
    shares = [np.exp(exponent - top) for exponent in exponents]
    total = shares[0].copy()
    for share in shares[1:]:
        total += share
    for share in shares:
        share /= total
    return Evaluation(top + np.log(total), shares, columns, curvature)
