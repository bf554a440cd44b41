"""Batched Levenberg-Marquardt for small smooth problems with an analytic Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# theta (S, p) -> prediction (S, n) and Jacobian (S, n, p)
Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimize_squares(
    model: Model, starts: np.ndarray, response: np.ndarray, weights: np.ndarray, iterations: int = 100
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimise half the weighted sum of squares of S problems.

    Args:
        model: prediction and Jacobian.
        starts: (S, p).
        response: (n,) or (S, n).
        weights: (n,) or (S, n).
        iterations: the most steps.

    Returns:
        theta (S, p), objective (S,), and (S,) whether the scaled gradient vanished.
    """
    theta = np.array(starts, float)
    response, weights = (np.broadcast_to(part, (len(theta), np.shape(part)[-1])) for part in (response, weights))
    damping = np.full(len(theta), 1e-3)
    converged = np.zeros(len(theta), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        prediction, jacobian = model(theta)
        cost = _cost(response - prediction, weights)
        for _ in range(iterations):
            residual = response - prediction
            gradient = np.einsum("snp,sn->sp", jacobian, weights * residual)
            normal = np.einsum("snp,snq,sn->spq", jacobian, jacobian, weights)
            scale = np.sqrt(np.maximum(np.einsum("spp->sp", normal), 1e-300))
            # cosine between residual and each column: what MINPACK tests
            cosine = np.abs(gradient) / scale / np.sqrt(np.maximum(2 * cost, 1e-300))[:, None]
            converged |= (cosine.max(1) < 1e-8) | (cost < 1e-26 * (weights * response**2).sum(1))
            if converged.all():
                break
            scaled = normal / scale[:, :, None] / scale[:, None, :]
            scaled = np.where(np.isfinite(scaled), scaled, 0.0)
            system = scaled + damping[:, None, None] * np.eye(theta.shape[1])
            right = np.where(np.isfinite(gradient), gradient, 0.0) / scale
            step = np.linalg.solve(system, right[:, :, None])[:, :, 0] / scale
            tried = theta + np.clip(step, -3, 3)
            new_prediction, new_jacobian = model(tried)
            new_cost = _cost(response - new_prediction, weights)
            better = (new_cost < cost) & ~converged
            theta[better], cost[better] = tried[better], new_cost[better]
            prediction[better], jacobian[better] = new_prediction[better], new_jacobian[better]
            damping = np.where(better, damping / 5, np.minimum(damping * 4, 1e12))
    return theta, cost, converged


def _cost(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    cost = 0.5 * np.einsum("sn,sn->s", residual**2, weights)
    return np.where(np.isfinite(cost), cost, np.inf)
