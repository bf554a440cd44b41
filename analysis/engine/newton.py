"""Batched Newton for robust sums over log residuals: exact minima, with the numbers that certify them.

The objective is sum_i w_i huber_delta(y_i - log prediction_i), huber(r) = r^2/2 inside |r| <= delta and
delta (|r| - delta/2) outside; delta = inf is half the sum of squares. Quasi-Newton from a library stops early on it and
reports success (laws.md, finding 1); here the Hessian is exact, its eigenvalues are made positive, steps are halved
until the objective falls, and a minimum counts as reached only where gradient and Newton decrement say so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.engine.terms import Evaluation, PowerTerms, RepeatedTerms

Terms = PowerTerms | RepeatedTerms

LONGEST_STEP = 3.0  # in log units or units of an exponent: farther than this the quadratic model says nothing
DECREMENT = 1e-13  # half g'H^-1 g over the objective: the relative excess that is left, well below 1e-9
CLEARLY_CONVEX = 1e-3  # smallest pivot of a Hessian of unit diagonal that needs no eigenvalues
BATCH_BYTES = 6e6  # resamples are worked off in batches that stay in the cache


@dataclass(frozen=True)
class Minimum:
    """Minima of S problems.

    Attributes:
        theta: (S, p) parameters.
        value: (S,) objective.
        gradient: (S, p).
        hessian: (S, p, p).
        converged: (S,) bool: gradient and decrement vanish and the Hessian is not negative.
        decrement: (S,) half g'H^-1 g over the objective: an estimate of the relative excess that is left.
        iterations: Newton steps of the slowest problem.
    """

    theta: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    converged: np.ndarray
    decrement: np.ndarray
    iterations: int


def huber(residual: np.ndarray, delta: float) -> np.ndarray:
    """Huber's function; delta = inf gives half the square."""
    if np.isinf(delta):
        return 0.5 * residual**2
    size = np.abs(residual)
    inner = np.minimum(size, delta)
    return inner * (size - 0.5 * inner)


def rounding_of(log_y: np.ndarray) -> float:
    """What a residual may be off by, whatever its own size: log y and the terms of its prediction are rounded."""
    return 16 * np.finfo(float).eps * max(1.0, float(np.abs(log_y).max()))


def objective(terms: Terms, theta: np.ndarray, log_y: np.ndarray, weights: np.ndarray, delta: float) -> np.ndarray:
    """Values at S parameter vectors, (S,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        residual = log_y - terms.evaluate(theta).log_prediction
        value = np.einsum("sn,sn->s", np.broadcast_to(weights, residual.shape), huber(residual, delta))
    return np.where(np.isfinite(value), value, np.inf)


def derivatives(
    terms: Terms, theta: np.ndarray, log_y: np.ndarray, weights: np.ndarray, delta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value (S,), gradient (S, p) and Hessian (S, p, p) at S parameter vectors."""
    at = terms.evaluate(theta)
    residual = log_y - at.log_prediction
    value = np.einsum("sn,sn->s", np.broadcast_to(weights, residual.shape), huber(residual, delta))
    if np.isinf(delta):
        pull = weights * residual
        stiffness = np.broadcast_to(weights, residual.shape)
    else:
        pull = weights * np.clip(residual, -delta, delta)
        stiffness = weights * (np.abs(residual) <= delta)
    jacobian = log_jacobian(terms, at)
    gradient = -np.einsum("snp,sn->sp", jacobian, pull)
    hessian = np.matmul(jacobian.transpose(0, 2, 1) * (stiffness + pull)[:, None, :], jacobian)
    # minus sum_k share_k (dz dz' + d2z): only parameters of one term meet
    owner = terms.term_of
    loads = [pull * share for share in at.shares]
    for i in range(len(owner)):
        for j in range(i, len(owner)):
            if owner[i] != owner[j]:
                continue
            product = at.columns[i] * at.columns[j]
            load = loads[owner[i]]
            term = load @ product if product.ndim == 1 else np.einsum("sn,sn->s", load, product)
            hessian[:, i, j] -= term
            if i != j:
                hessian[:, j, i] -= term
    for i, j, bend in at.curvature:
        term = np.einsum("sn,sn->s", loads[owner[i]], np.broadcast_to(bend, residual.shape))
        hessian[:, i, j] -= term
        if i != j:
            hessian[:, j, i] -= term
    return value, gradient, hessian


def log_jacobian(terms: Terms, at: Evaluation) -> np.ndarray:
    """D log prediction / d theta, (S, n, p)."""
    shape = at.log_prediction.shape
    jacobian = np.empty((*shape, terms.parameters))
    for j, term in enumerate(terms.term_of):
        np.multiply(at.shares[term], at.columns[j], out=jacobian[:, :, j])
    return jacobian


def minimize(
    terms: Terms,
    starts: np.ndarray,
    log_y: np.ndarray,
    weights: np.ndarray,
    delta: float,
    iterations: int = 200,
    decrement: float = DECREMENT,
) -> Minimum:
    """Minimise S problems at once.

    Args:
        terms: the prediction.
        starts: (S, p).
        log_y: (n,) or (S, n) log losses, one set a problem where the losses are resampled.
        weights: (n,) or (S, n) multiplicities, one set a problem where the rows are resampled.
        delta: Huber's switch point in log units, above 0; inf for least squares.
        iterations: the most Newton steps.
        decrement: relative excess at which a problem counts as solved.
    """
    problems, rows = len(starts), np.shape(log_y)[-1]
    size = max(1, int(BATCH_BYTES / (8 * rows * (terms.parameters + 8))))
    parts = []
    for begin in range(0, problems, size):
        part = slice(begin, begin + size)
        parts.append(
            _minimize_batch(
                terms,
                starts[part],
                log_y if np.ndim(log_y) == 1 else log_y[part],
                weights if np.ndim(weights) == 1 else weights[part],
                delta,
                iterations,
                decrement,
            )
        )
    if len(parts) == 1:
        return parts[0]
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("theta", "value", "gradient", "hessian", "converged", "decrement")
    }
    return Minimum(**joined, iterations=max(part.iterations for part in parts))


def _minimize_batch(
    terms: Terms,
    starts: np.ndarray,
    log_y: np.ndarray,
    weights: np.ndarray,
    delta: float,
    iterations: int,
    enough: float,
) -> Minimum:
    count, p = starts.shape
    theta = np.array(starts, dtype=float)
    value = np.full(count, np.inf)
    gradient, hessian = np.zeros((count, p)), np.zeros((count, p, p))
    converged, decrement = np.zeros(count, bool), np.full(count, np.inf)
    load = np.broadcast_to(weights, (count, np.shape(log_y)[-1])).sum(1)
    scale = load if np.isinf(delta) else delta * load
    rounding = rounding_of(log_y)
    active = np.arange(count)
    step_count = 0

    def pick(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        return array if array.ndim == 1 else array[chosen]

    for step_count in range(1, iterations + 1):  # noqa: B007 - reported
        y, w = pick(log_y, active), pick(weights, active)
        value[active], gradient[active], hessian[active] = derivatives(terms, theta[active], y, w, delta)
        g, h = gradient[active], hessian[active]
        finite = np.isfinite(g).all(1) & np.isfinite(h).all((1, 2)) & np.isfinite(value[active])
        g, h = np.where(finite[:, None], g, 0.0), np.where(finite[:, None, None], h, 0.0)
        step, drop, convex = _newton_step(g, h)
        floor = np.maximum(value[active], 1e-15 * scale[active])
        decrement[active] = drop / floor
        done = finite & convex & (drop <= enough * floor)
        noise = rounding * np.minimum(np.sqrt(2 * load[active] * value[active]), delta * load[active])
        faint = drop <= np.maximum(1e-10 * floor, noise)  # less than the objective's own rounding is promised
        longest = np.abs(step).max(1)
        step *= np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300))[:, None]
        moving = finite & ~done
        # halve the step until the objective falls; a problem whose objective no longer falls in floating point is left
        length = np.ones(len(active))
        trial_value = np.full(len(active), np.inf)
        pending = np.flatnonzero(moving)
        slope = (g * step).sum(1)
        for _ in range(30):
            if not len(pending):
                break
            problem = active[pending]
            tried = objective(
                terms,
                theta[problem] + length[pending, None] * step[pending],
                pick(log_y, problem),
                pick(weights, problem),
                delta,
            )
            good = tried <= value[problem] + 1e-4 * length[pending] * slope[pending]
            trial_value[pending[good]] = tried[good]
            length[pending[~good]] *= 0.5
            # where the quadratic promises less than rounding, one failure is proof enough
            pending = pending[~good & ~faint[pending]]
        stepped = moving & np.isfinite(trial_value)
        # no step falls although the quadratic promises less than rounding: that is the minimum to machine precision
        converged[active[done | (moving & ~stepped & convex & faint)]] = True
        theta[active[stepped]] += (length[:, None] * step)[stepped]
        value[active[stepped]] = trial_value[stepped]
        active = active[stepped]
        if not len(active):
            break
    return Minimum(theta, value, gradient, hessian, converged, decrement, step_count)


def _newton_step(gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Downhill steps (S, p), half g'|H|^-1 g (S,), and whether no direction bends down (S,).

    Eigenvalues, made positive, where a Hessian has none or has one near zero; elsewhere, which is nearly always,
    Cholesky's factors say that it is convex at a fifth of the price.
    """
    count, p = gradient.shape
    scale = np.sqrt(np.maximum(np.einsum("sjj->sj", hessian), 1e-300))
    try:
        factor = np.linalg.cholesky(hessian / scale[:, :, None] / scale[:, None, :])
        doubtful = np.flatnonzero(~(np.einsum("sjj->sj", factor).min(1) > CLEARLY_CONVEX))
    except np.linalg.LinAlgError:
        doubtful = np.arange(count)
    step, drop, convex = np.empty((count, p)), np.empty(count), np.ones(count, bool)
    clear = np.setdiff1d(np.arange(count), doubtful, assume_unique=True)
    if len(clear):
        step[clear] = -np.linalg.solve(hessian[clear], gradient[clear, :, None])[:, :, 0]
        drop[clear] = -0.5 * (gradient[clear] * step[clear]).sum(1)
    if len(doubtful):
        eigenvalues, vectors = np.linalg.eigh(hessian[doubtful])
        top = np.abs(eigenvalues).max(1, keepdims=True)
        safe = np.maximum(np.abs(eigenvalues), 1e-11 * top + 1e-300)
        along = np.einsum("sji,sj->si", vectors, gradient[doubtful])
        step[doubtful] = -np.einsum("sij,sj->si", vectors, along / safe)
        drop[doubtful] = 0.5 * (along**2 / safe).sum(1)
        convex[doubtful] = eigenvalues[:, 0] >= -1e-9 * top[:, 0]
    return step, drop, convex
