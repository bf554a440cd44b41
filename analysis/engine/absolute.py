"""Least absolute deviations of a sum of power laws: the exact corner, found by smoothing, then solved for.

At the minimum of sum_i w_i |r_i| some residuals are exactly zero. Smoothing finds which; then Newton on the Kuhn-Tucker
equations lands on the corner, and the multipliers of the zero residuals (none beyond its weight) certify it. Where that
fails, successive linear programs take over: slower, and as exact.

Why it is needed: the row "A = 482.01, B = 2085.43" that the Chinchilla replication reports is this optimum and not the
Huber(1e-3) one (laws.md, finding 2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.engine import newton
from analysis.engine.newton import Terms

SHRINK = 0.35
EXACT = 1e-9  # a law that passes every row this closely is a minimum: no sum of sizes is below 0


@dataclass(frozen=True)
class Corner:
    """A minimum of the sum of absolute residuals.

    Attributes:
        theta: (p,).
        value: the sum.
        zero_rows: rows whose residual is zero.
        largest_multiplier: largest |multiplier| over its weight; at most 1 at a minimum.
        stationarity: largest component of the Lagrangian's gradient over the sum of weights.
        method: "corner equations" or "linear programs".
        certified: whether the conditions of a minimum hold.
    """

    theta: np.ndarray
    value: float
    zero_rows: np.ndarray
    largest_multiplier: float
    stationarity: float
    method: str
    certified: bool


def minimize_absolute(terms: Terms, starts: np.ndarray, log_y: np.ndarray, weights: np.ndarray) -> Corner:
    """Minimise sum w |log y - log prediction|.

    Args:
        terms: the prediction.
        starts: (S, p).
        log_y: (n,).
        weights: (n,).
    """
    found = newton.minimize(terms, starts, log_y, weights, np.inf)
    order = np.argsort(np.where(np.isfinite(found.value), found.value, np.inf))
    best = found.theta[order[: max(4, len(order) // 2)]]
    residual = log_y - terms.evaluate(best[:1]).log_prediction[0]
    if np.abs(residual[weights > 0]).max() < EXACT:
        value = float(weights @ np.abs(residual))
        return Corner(best[0], value, np.flatnonzero(weights > 0), 0.0, value / weights.sum(), "passes every row", True)
    scale = float(np.median(np.abs(residual))) or float(np.abs(residual).max()) or 1e-12
    corners = []
    delta = scale
    while delta > 1e-5 * scale:
        step = newton.minimize(terms, best, log_y, weights, delta, 100)
        best = step.theta
        if delta < 0.1 * scale:
            sums = newton_absolute(terms, best, log_y, weights)
            leader = best[int(np.nanargmin(sums))]
            residual = np.abs(log_y - terms.evaluate(leader[None]).log_prediction[0])
            near = np.argsort(residual)[: terms.parameters]
            corner = _corner(terms, leader, log_y, weights, near[residual[near] <= 1.001 * delta])
            if corner is not None:
                corners.append(corner)
                if corner.certified and len(corners) > 1:
                    break
        delta *= SHRINK
    certified = [corner for corner in corners if corner.certified]
    if certified:
        return min(certified, key=lambda corner: corner.value)
    sums = newton_absolute(terms, best, log_y, weights)
    return _linear_programs(terms, best[int(np.nanargmin(sums))], log_y, weights)


def newton_absolute(terms: Terms, theta: np.ndarray, log_y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum of absolute residuals at S parameter vectors, (S,)."""
    return np.abs(log_y - terms.evaluate(theta).log_prediction) @ weights


def _prediction_hessian(terms: Terms, theta: np.ndarray, load: np.ndarray) -> np.ndarray:
    """sum_i load_i d2 log prediction_i, (p, p)."""
    at = terms.evaluate(theta[None])
    jacobian = newton.log_jacobian(terms, at)[0]
    hessian = -(jacobian * load[:, None]).T @ jacobian
    owner = terms.term_of
    for i in range(len(owner)):
        for j in range(len(owner)):
            if owner[i] == owner[j]:
                product = at.columns[i] * at.columns[j]
                hessian[i, j] += (load * at.shares[owner[i]][0] * np.broadcast_to(product, (1, len(load)))[0]).sum()
    for i, j, bend in at.curvature:
        term = (load * at.shares[owner[i]][0] * np.broadcast_to(bend, (1, len(load)))[0]).sum()
        hessian[i, j] += term
        if i != j:
            hessian[j, i] += term
    return hessian


def _corner(terms: Terms, theta: np.ndarray, log_y: np.ndarray, weights: np.ndarray, zero: np.ndarray) -> Corner | None:
    """Newton on the Kuhn-Tucker equations, with the rows that are to be zero."""
    p = terms.parameters
    signs = np.sign(log_y - terms.evaluate(theta[None]).log_prediction[0])
    theta = theta.copy()
    for _ in range(30):
        at = terms.evaluate(theta[None])
        jacobian = newton.log_jacobian(terms, at)[0]
        residual = log_y - at.log_prediction[0]
        outside = np.ones(len(log_y), bool)
        outside[zero] = False
        pull = np.where(outside, weights * signs, 0.0)
        gradient = jacobian.T @ pull
        multiplier = np.linalg.lstsq(jacobian[zero].T, -gradient, rcond=None)[0] if len(zero) else np.zeros(0)
        load = pull.copy()
        load[zero] = multiplier
        hessian = -_prediction_hessian(terms, theta, load)
        size = p + len(zero)
        system = np.zeros((size, size))
        system[:p, :p] = hessian
        system[:p, p:] = -jacobian[zero].T
        system[p:, :p] = jacobian[zero]
        right = np.concatenate([jacobian.T @ load, residual[zero]])
        try:
            answer = np.linalg.lstsq(system, right, rcond=1e-15)[0]
        except np.linalg.LinAlgError:
            return None
        step = answer[:p]
        longest = np.abs(step).max()
        if not np.isfinite(longest) or longest > 1.0:
            return None
        theta = theta + step
        if longest < 1e-13:
            break
    at = terms.evaluate(theta[None])
    jacobian = newton.log_jacobian(terms, at)[0]
    residual = log_y - at.log_prediction[0]
    outside = np.ones(len(log_y), bool)
    outside[zero] = False
    pull = np.where(outside, weights * np.sign(residual), 0.0)
    gradient = jacobian.T @ pull
    multiplier = np.linalg.lstsq(jacobian[zero].T, -gradient, rcond=None)[0] if len(zero) else np.zeros(0)
    left = gradient + (jacobian[zero].T @ multiplier if len(zero) else 0.0)
    stationarity = float(np.abs(left).max() / weights.sum())
    largest = float((np.abs(multiplier) / np.maximum(weights[zero], 1e-300)).max()) if len(zero) else 0.0
    load = pull.copy()
    load[zero] = multiplier
    curved = True
    if len(zero) < p:
        hessian = -_prediction_hessian(terms, theta, load)
        free = np.linalg.svd(jacobian[zero])[2][len(zero) :] if len(zero) else np.eye(p)
        values = np.linalg.eigvalsh(free @ hessian @ free.T)
        curved = bool(values[0] >= -1e-9 * max(abs(values[-1]), 1e-300))
    zero_size = float(np.abs(residual[zero]).max()) if len(zero) else 0.0
    certified = bool(
        stationarity < 1e-8
        and largest <= 1 + 1e-9
        and curved
        and zero_size < 1e-10
        and (np.sign(residual[outside]) == signs[outside]).all()
    )
    value = float((weights * np.abs(residual)).sum())
    return Corner(theta, value, np.sort(zero), largest, stationarity, "corner equations", certified)


def _linear_programs(terms: Terms, theta: np.ndarray, log_y: np.ndarray, weights: np.ndarray) -> Corner:
    """Successive linear programs in a trust box, in units of the residuals, and the corner equations where they end."""
    from scipy.optimize import linprog

    p, n = terms.parameters, len(log_y)
    radius = 0.1
    value = float(newton_absolute(terms, theta[None], log_y, weights)[0])
    largest, stationarity = np.inf, np.inf
    noise = newton.rounding_of(log_y) * float(weights.sum())
    for _ in range(200):
        at = terms.evaluate(theta[None])
        jacobian = newton.log_jacobian(terms, at)[0]
        residual = log_y - at.log_prediction[0]
        unit = max(value / float(weights.sum()), 1e-300)  # the solver's tolerances are absolute
        cost = np.concatenate([np.zeros(p), weights])
        upper = np.block([[-jacobian, -np.eye(n)], [jacobian, -np.eye(n)]])
        answer = linprog(
            cost,
            A_ub=upper,
            b_ub=np.concatenate([-residual, residual]) / unit,
            bounds=[(-radius / unit, radius / unit)] * p + [(0, None)] * n,
            method="highs",
        )
        if answer.status != 0:
            radius /= 4
            continue
        step = unit * answer.x[:p]
        promised = value - unit * float(answer.fun)
        tried = float(newton_absolute(terms, (theta + step)[None], log_y, weights)[0])
        stationarity = max(promised, 0.0) / max(value, 1e-300)
        if promised <= 1e-13 * max(value, 1e-300):
            largest = 1.0
            break
        if tried < value - 0.1 * promised:
            theta, value = theta + step, tried
            radius = min(2 * radius, 0.5)
        else:
            radius /= 3
        if radius < 1e-13 * unit:
            break
    residual = np.abs(log_y - terms.evaluate(theta[None]).log_prediction[0])
    corner = _corner(terms, theta, log_y, weights, np.argsort(residual)[:p])
    if corner is not None and corner.certified and corner.value <= value * (1 + 1e-9):
        return replace(corner, method="linear programs, corner equations")
    zero = np.flatnonzero(residual < 1e-10)
    certified = stationarity * value <= max(1e-9 * value, noise)
    return Corner(theta, value, zero, largest, stationarity, "linear programs", certified)
