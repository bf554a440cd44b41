"""Batched Levenberg-Marquardt for small smooth problems with an analytic Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.engine.newton import rounding_of

PROMISE = 1e-14  # of the cost: a step that may lower it by less was the last
FLAT = 1e-6  # a cosine this small where no step lowers the cost: the gradient is rounding

# theta (S, p) -> prediction (S, n) and Jacobian (S, n, p)
Model = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimize_squares(
    model: Model,
    starts: np.ndarray,
    response: np.ndarray,
    weights: np.ndarray,
    lowest: np.ndarray,
    iterations: int = 100,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimise half the weighted sum of squares of S problems.

    Args:
        model: prediction and Jacobian.
        starts: (S, p).
        response: (n,) or (S, n).
        weights: (n,) or (S, n).
        lowest: (p,) below which no parameter goes; -inf for none.
        iterations: the most steps.

    Returns:
        theta (S, p), objective (S,), and (S,) whether the scaled gradient vanished (at a bound: points beyond it).
    """
    theta = np.maximum(starts, lowest)
    response, weights = (np.broadcast_to(part, (len(theta), np.shape(part)[-1])) for part in (response, weights))
    damping = np.full(len(theta), 1e-3)
    converged = np.zeros(len(theta), bool)
    active = np.arange(len(theta))
    rounding = rounding_of(response)
    with np.errstate(over="ignore", invalid="ignore"):
        prediction, jacobian = model(theta)
        cost = _cost(response - prediction, weights)
        for _ in range(iterations):
            y, load, slopes = response[active], weights[active], jacobian[active]
            residual = y - prediction[active]
            loaded = (slopes * load[:, :, None]).transpose(0, 2, 1)
            gradient = np.matmul(loaded, residual[:, :, None])[:, :, 0]
            normal = np.matmul(loaded, slopes)
            held = (theta[active] <= lowest) & (gradient <= 0)
            gradient[held] = 0.0
            scale = np.sqrt(np.maximum(np.einsum("spp->sp", normal), 1e-300))
            # cosine between residual and each column: what MINPACK tests
            cosine = np.abs(gradient) / scale / np.sqrt(np.maximum(2 * cost[active], 1e-300))[:, None]
            done = (cosine.max(1) < 1e-8) | (cost[active] < 1e-26 * (load * y**2).sum(1))
            converged[active[done]] = True
            left = ~done
            active = active[left]
            if not len(active):
                break
            gradient, normal, scale, free = gradient[left], normal[left], scale[left], ~held[left]
            scaled = normal / scale[:, :, None] / scale[:, None, :]
            scaled = np.where(np.isfinite(scaled) & free[:, :, None] & free[:, None, :], scaled, 0.0)
            scaled += (~free)[:, :, None] * np.eye(theta.shape[1])
            system = scaled + damping[active, None, None] * np.eye(theta.shape[1])
            right = np.where(np.isfinite(gradient), gradient, 0.0) / scale
            step = np.linalg.solve(system, right[:, :, None])[:, :, 0] / scale
            tried = np.maximum(theta[active] + np.clip(step, -3, 3), lowest)
            new_prediction, new_jacobian = model(tried)
            new_cost = _cost(y[left] - new_prediction, load[left])
            before = cost[active]
            better = new_cost < before
            chosen = active[better]
            theta[chosen], cost[chosen] = tried[better], new_cost[better]
            prediction[chosen], jacobian[chosen] = new_prediction[better], new_jacobian[better]
            damping[active] = np.clip(damping[active] * np.where(better, 0.2, 4.0), 1e-12, 1e12)
            # what a hardly damped step promises is all that is left to gain; and a step of rounding size that no
            # longer lowers the cost will not be followed by one that does
            promise = np.abs((gradient * step).sum(1))
            noise = rounding * np.sqrt(2 * before * load[left].sum(1))
            faint = promise <= np.maximum(2 * PROMISE * before, noise)
            flat = ~better & ((cosine[left].max(1) < FLAT) | (promise <= noise))
            stuck = ~better & (damping[active] >= 1e11)
            ended = faint & (flat | (damping[active] <= 1e-3))
            converged[active[ended | stuck & flat]] = True
            active = active[~(ended | stuck)]
    return theta, cost, converged


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # a resample that ran off is not worth a warning
def relative_excess(
    model: Model, theta: np.ndarray, response: np.ndarray, weights: np.ndarray, lowest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far S problems may still fall, and how well determined they are; arguments as :func:`minimize_squares`.

    Returns:
        (S,) half g'H^-1 g over the objective, H the Gauss-Newton Hessian of the parameters off their bounds, and (S,)
        the smallest eigenvalue of that Hessian, its columns scaled to one, over its largest.
    """
    prediction, jacobian = model(theta)
    weights = np.broadcast_to(weights, prediction.shape)
    residual = response - prediction
    pull = np.einsum("snp,sn->sp", jacobian, weights * residual)
    held = (theta <= lowest) & (pull <= 0)
    scale = np.sqrt(np.maximum(np.einsum("snp,sn->sp", jacobian**2, weights), 1e-300))
    unit = np.where(held[:, None], 0.0, jacobian / scale[:, None])
    normal = np.matmul((unit * weights[:, :, None]).transpose(0, 2, 1), unit)
    strength, ways = np.linalg.eigh(normal + held[:, :, None] * np.eye(theta.shape[1]))
    along = np.einsum("spj,sp->sj", ways, np.where(held, 0.0, pull / scale))
    drop = 0.5 * (along**2 / np.maximum(strength, 1e-14)).sum(1)
    floor = 1e-24 * np.einsum("sn,sn->s", weights, np.broadcast_to(response, prediction.shape) ** 2)
    return drop / np.maximum(_cost(residual, weights), floor), strength[:, 0] / strength[:, -1]


def with_floor(theta: np.ndarray, parameters: int) -> np.ndarray:
    """(S, parameters): a floor of 0 in front where `theta` is of a law without one."""
    return theta if theta.shape[1] == parameters else np.column_stack([np.zeros(len(theta)), theta])


def _cost(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    cost = 0.5 * np.einsum("sn,sn->s", residual**2, weights)
    return np.where(np.isfinite(cost), cost, np.inf)
