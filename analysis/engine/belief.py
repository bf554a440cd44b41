"""What a few rows say about a law before they can carry its fit: a Gaussian belief about its predictions.

log loss = f(theta, x) + misfit(x) + noise. theta has a weak prior, so that no row at all is enough to start. The misfit
is a smooth Gaussian process: no form is the truth, and rows of one region err together, which makes rows near the
target worth more than far ones and keeps intervals from shrinking to nothing. The noise is each run's own luck. The
standard deviations of both are learnt from the rows. The belief is Gaussian about the most probable theta (Laplace), so
means and covariances of any points are linear algebra, and so is what one more row would change.

Shapes: n rows told, m points asked about, k coordinates, p parameters, S starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from analysis.engine.newton import log_jacobian

STEPS = 40
STARTS = 12
TURNS = 3  # of most probable theta for given noise, and of noise for given theta
NOISES = np.exp(np.linspace(np.log(2e-4), np.log(0.2), 13))  # standard deviations of log loss that are weighed
MISFITS = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])  # of the misfit, over the noise's
TYPICAL_NOISE, NOISE_SPREAD = 5e-3, 1.5  # prior of the noise: median, and sd of its log
MISFIT_DECAY = 2.0  # prior of the misfit over the noise: exponential, with this mean
SETTLED = 0.05  # relative change of noise and misfit below which the turns end
LARGEST_STEP = 2.0  # of a parameter, most of which are logs


@dataclass(frozen=True)
class Shape:
    """A form as the belief sees it.

    Attributes:
        name: of the form.
        terms: of coordinates (k, n) to an object with `evaluate` (see :mod:`analysis.engine.terms`).
        expand: (S, p) own parameters -> (S, q) the terms' parameters.
        slopes: (S, p) -> (S, q, p), the derivative of `expand`.
        mean: (p,) prior means; of those in `levels` relative to the loss's level.
        sd: (p,) prior standard deviations.
        levels: (p,) bool, which parameters are logs of a part of the loss.
    """

    name: str
    terms: Callable[[np.ndarray], object]
    expand: Callable[[np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray], np.ndarray]
    mean: np.ndarray
    sd: np.ndarray
    levels: np.ndarray

    def prior_mean(self, level: float) -> np.ndarray:
        """(p,) at a level of log loss."""
        return self.mean + level * self.levels

    def predict(self, phi: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log predictions (S, n) and their derivatives (S, n, p)."""
        terms = self.terms(x)
        at = terms.evaluate(self.expand(phi))
        return at.log_prediction, np.matmul(log_jacobian(terms, at), self.slopes(phi))


@dataclass(frozen=True, eq=False)
class Belief:
    """A form, its most probable parameters, and what the rows say of noise and misfit.

    Attributes:
        shape: the form.
        phi: (p,) most probable parameters.
        level: of log loss that the prior was set at.
        x: (k, n) coordinates of the rows.
        y: (n,) log losses.
        noise: standard deviation of a run's own luck, log units.
        misfit: standard deviation of the smooth misfit, log units.
        reach: (k,) length of the misfit along each coordinate.
        evidence: log probability of the rows under the form.
    """

    shape: Shape
    phi: np.ndarray
    level: float
    x: np.ndarray
    y: np.ndarray
    noise: float
    misfit: float
    reach: np.ndarray
    evidence: float

    def linear(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prior's means (m,) of the form made linear at phi, and its slopes times the prior's spread (m, p)."""
        mean, slopes = (part[0] for part in self.shape.predict(self.phi[None], at))
        return mean + slopes @ (self.shape.prior_mean(self.level) - self.phi), slopes * self.shape.sd

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Factor of the rows' prior covariance (n, n), whitened distance to their prior means (n,), spread (n, p)."""
        mean, spread = self.linear(self.x)
        told = spread @ spread.T + self.misfit**2 * closeness(self.x, self.x, self.reach)
        told[np.diag_indices_from(told)] += self.noise**2
        factor = np.linalg.cholesky(told)
        return factor, solve_triangular(factor, self.y - mean, lower=True, check_finite=False), spread

    def left_out(self) -> np.ndarray:
        """(n,) log loss less what the other rows predict for it."""
        factor, _, _ = self.rows
        inverse = solve_triangular(factor, np.eye(len(self.y)), lower=True, check_finite=False)
        inverse = inverse.T @ inverse
        return inverse @ (self.y - self.linear(self.x)[0]) / np.diag(inverse)


class Points:
    """Means, variances and covariances of log loss without noise at (k, m) points, given the rows of a belief."""

    def __init__(self, belief: Belief, at: np.ndarray) -> None:
        self.at, self._reach, self._misfit = at, belief.reach, belief.misfit**2
        self.mean, self._spread = belief.linear(at)
        self.variance = (self._spread**2).sum(1) + self._misfit
        self._half = None
        if len(belief.y):
            factor, away, spread = belief.rows
            cross = spread @ self._spread.T + self._misfit * closeness(belief.x, at, belief.reach)
            self._half = solve_triangular(factor, cross, lower=True, check_finite=False)
            self.mean = self.mean + self._half.T @ away
            self.variance = self.variance - (self._half**2).sum(0)

    def column(self, j: int) -> np.ndarray:
        """(m,) covariance of all points with point j."""
        column = self._spread @ self._spread[j]
        column += self._misfit * closeness(self.at, self.at[:, [j]], self._reach)[:, 0]
        return column if self._half is None else column - self._half.T @ self._half[:, j]


def closeness(one: np.ndarray, two: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Correlation of the misfit between (k, n) and (k, m) points, (n, m): Matern 5/2."""
    gap = np.zeros((one.shape[1], two.shape[1]))
    for a, b, length in zip(one, two, reach, strict=True):
        gap += ((a[:, None] - b) / length) ** 2
    gap = np.sqrt(5 * gap)
    return (1 + gap + gap**2 / 3) * np.exp(-gap)


def believe(
    shape: Shape,
    x: np.ndarray,
    y: np.ndarray,
    reach: np.ndarray,
    rng: np.random.Generator,
    before: Belief | None = None,
    learn: bool = True,
) -> Belief:
    """The most probable parameters, noise and misfit, by turns.

    Args:
        shape: the form.
        x: (k, n) coordinates of the rows; n may be 0.
        y: (n,) log losses.
        reach: (k,) of the misfit.
        rng: of the starts.
        before: a belief of other rows to start from.
        learn: whether noise and misfit are learnt anew, or taken from `before`.
    """
    level = float(np.median(y)) if len(y) else 0.0
    mean = shape.prior_mean(level)
    if not len(y):
        return Belief(shape, mean, level, x, y, TYPICAL_NOISE, MISFIT_DECAY * TYPICAL_NOISE, reach, 0.0)
    guesses = mean + 0.5 * shape.sd * rng.normal(size=(STARTS, len(mean)))
    guesses[0] = mean
    noise, misfit, evidence = 4 * TYPICAL_NOISE, 0.0, -np.inf
    if before is not None:
        guesses[1], noise, misfit = before.phi, before.noise, before.misfit
    near = closeness(x, x, reach)
    phi = None
    for _ in range(TURNS):
        told = misfit**2 * near
        told[np.diag_indices_from(told)] += noise**2
        phi = _most_probable(shape, guesses if phi is None else phi[None], x, y, np.linalg.cholesky(told), mean)
        linear = Belief(shape, phi, level, x, y, noise, misfit, reach, 0.0).linear(x)
        if not learn:
            evidence = _weigh(linear, y, near, np.array([noise]), np.array([misfit / noise]))[2]
            break
        was = noise, misfit
        noise, misfit, evidence = _weigh(linear, y, near, NOISES, MISFITS)
        if abs(noise - was[0]) < SETTLED * noise and abs(misfit - was[1]) < SETTLED * noise:
            break
    return Belief(shape, phi, level, x, y, noise, misfit, reach, evidence)


def _most_probable(
    shape: Shape, phi: np.ndarray, x: np.ndarray, y: np.ndarray, factor: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """The best of S starts, (p,): Levenberg and Marquardt on whitened residuals and the prior's."""
    count, p = phi.shape
    precision = 1 / shape.sd**2

    def look(at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        fitted, slopes = shape.predict(at, x)
        stacked = np.concatenate([(y - fitted)[:, :, None], slopes], 2).transpose(1, 0, 2)  # (n, S, 1 + p)
        white = solve_triangular(factor, stacked.reshape(len(y), -1), lower=True, check_finite=False)
        white = white.reshape(stacked.shape)
        residual, slopes = white[:, :, 0].T, white[:, :, 1:].transpose(1, 0, 2)
        cost = (residual**2).sum(1) + (precision * (at - mean) ** 2).sum(1)
        gradient = np.einsum("snp,sn->sp", slopes, residual) - precision * (at - mean)
        return cost, gradient, np.matmul(slopes.transpose(0, 2, 1), slopes) + np.diag(precision)

    cost, gradient, normal = look(phi)
    damping = np.full(count, 1e-2)
    for _ in range(STEPS):
        scale = np.einsum("spp->sp", normal)
        damped = normal + (damping[:, None] * scale)[:, :, None] * np.eye(p)
        step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        tried = phi + np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        new_cost, new_gradient, new_normal = look(tried)
        better = new_cost < cost
        gain = np.where(better, cost - new_cost, 0.0)
        phi = np.where(better[:, None], tried, phi)
        gradient = np.where(better[:, None], new_gradient, gradient)
        normal = np.where(better[:, None, None], new_normal, normal)
        cost = np.where(better, new_cost, cost)
        damping = np.where(better, damping / 5, damping * 6)
        best = int(np.argmin(cost))
        if (better[best] and gain[best] < 1e-6 * (1 + cost[best])) or damping[best] > 1e8:
            break
    return phi[int(np.argmin(cost))]


def _weigh(
    linear: tuple[np.ndarray, np.ndarray], y: np.ndarray, near: np.ndarray, noises: np.ndarray, misfits: np.ndarray
) -> tuple[float, float, float]:
    """Noise and misfit, the roots of their mean squares under the rows, and the evidence averaged over both."""
    mean, spread = linear
    away = y - mean
    table = np.empty((len(misfits), len(noises)))
    for i, ratio in enumerate(misfits):
        # one eigenproblem a ratio serves every noise; the parameters come in by Woodbury's identity
        if ratio == 0:
            values, design, gap = np.ones(len(y)), spread, away
        else:
            values, vectors = np.linalg.eigh(ratio**2 * near)
            values = np.maximum(values, 0.0) + 1.0
            design, gap = vectors.T @ spread, vectors.T @ away
        design, gap = design / np.sqrt(values)[:, None], gap / np.sqrt(values)
        grow, axes = np.linalg.eigh(design.T @ design)
        grow = np.maximum(grow, 0.0)[:, None] / noises**2
        pull = (axes.T @ (design.T @ gap))[:, None] / noises**2
        square = gap @ gap / noises**2 - (pull**2 / (1 + grow)).sum(0)
        volume = np.log(values).sum() + 2 * len(y) * np.log(noises) + np.log1p(grow).sum(0)
        table[i] = -0.5 * (square + volume + len(y) * np.log(2 * np.pi))
    prior = -0.5 * (np.log(noises / TYPICAL_NOISE) / NOISE_SPREAD) ** 2 - (misfits / MISFIT_DECAY)[:, None]
    table += prior - np.logaddexp.reduce(prior, axis=None)
    evidence = float(np.logaddexp.reduce(table, axis=None))
    squares = noises**2 * np.exp(table - evidence)
    return float(np.sqrt(squares.sum())), float(np.sqrt((misfits[:, None] ** 2 * squares).sum())), evidence
