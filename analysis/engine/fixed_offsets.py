"""The best power law at each of many fixed offsets: what a profile of the offset is made of."""

from __future__ import annotations

import numpy as np

from analysis.engine.collapse_rows import design_points
from analysis.engine.estimators import LineEstimator, NewtonEstimator


def at_fixed_offsets(
    estimator: NewtonEstimator | LineEstimator, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best line of E + A x^slope on log y for each E: a batched Gauss-Newton of two parameters.

    Returns:
        slope, log A and objective, each (S,).
    """
    log_x, log_y, weights, within = _log_x(estimator), estimator.response, estimator.weights, 0.0
    points = design_points(log_x[None])
    if points is not None:
        within = points.within(log_y, weights)
        log_x, (log_y, weights) = points.values[0], points.means(log_y, weights)
    centre = float((weights * log_x).sum() / weights.sum())
    away = log_x - centre
    y, offsets = np.exp(log_y), np.asarray(offsets, float)[:, None]

    def solve(target: np.ndarray, load: np.ndarray) -> np.ndarray:
        """Weighted straight lines, (S, 2): level, slope."""
        total = load.sum(1)
        mean_x, mean_t = (load * away).sum(1) / total, (load * target).sum(1) / total
        from_mean = away - mean_x[:, None]
        slope = (load * from_mean * target).sum(1) / np.maximum((load * from_mean**2).sum(1), 1e-300)
        return np.stack([mean_t - slope * mean_x, slope], 1)

    def cost_of(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):
            term = np.exp(theta[:, :1] + theta[:, 1:] * away)
        with np.errstate(invalid="ignore"):
            cost = 0.5 * (weights * (log_y - np.log(offsets + term)) ** 2).sum(1)
        return np.where(np.isfinite(cost), cost, np.inf), term

    theta = solve(np.log(np.maximum(y - offsets, 1e-12 * y)), weights * np.maximum(1 - offsets / y, 1e-12) ** 2)
    cost, term = cost_of(theta)
    length = np.ones(len(theta))
    for _ in range(120):
        part = term / (offsets + term)
        residual = log_y - np.log(offsets + term)
        step = solve(residual / np.maximum(part, 1e-12), weights * np.maximum(part, 1e-12) ** 2)
        tried = theta + length[:, None] * step
        new_cost, new_term = cost_of(tried)
        better = new_cost < cost
        settled = ~better & ((length < 1e-6) | (cost - new_cost > -1e-15 * cost))
        done = settled | (better & (cost - new_cost <= 1e-13 * cost) & (length == 1))
        theta[better], cost[better], term[better] = tried[better], new_cost[better], new_term[better]
        length = np.where(better, np.minimum(2 * length, 1.0), np.where(settled, length, length / 2))
        if done.all():
            break
    return theta[:, 1], theta[:, 0] - theta[:, 1] * centre, cost + within


def _log_x(estimator: NewtonEstimator | LineEstimator) -> np.ndarray:
    if isinstance(estimator, LineEstimator):
        return estimator.log_x + estimator.centre
    return estimator.terms.logs[0] + estimator.centres[0]
