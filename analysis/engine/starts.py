"""Starts for the exact fit: for given exponents the loss is linear in E, A and B, so those are projected out.

The projection solves least squares on relative residuals with non-negative coefficients, which is exact for squared
errors on the loss and only a good start for everything else (variable projection; laws.md section 2).
"""

from __future__ import annotations

import itertools

import numpy as np

LOWEST_SHARE = 1e-4  # a coefficient at zero would never move again on a log scale: start it at this share of the loss


def project(
    exponents: np.ndarray, logs: np.ndarray, loss: np.ndarray, weights: np.ndarray, offset: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Best non-negative (E, A, B, ...) for each exponent vector.

    Args:
        exponents: (S, k).
        logs: (k, n) centred logs of the regressors.
        loss: (n,) in natural units, above 0; or (S, n), one set a problem.
        weights: (n,) or (S, n).
        offset: whether a constant term is fitted.

    Returns:
        theta (S, p) in the parameters of :class:`analysis.engine.terms.PowerTerms` and the projected cost (S,).
    """
    unit = float(np.exp(np.log(loss).mean()))  # losses in any unit: their squares must not overflow
    loss, weights = _each(exponents, loss / unit, weights)
    _, natural, cost = _projected(exponents, logs, loss, weights, offset)
    logged = np.log(np.maximum(natural, LOWEST_SHARE * np.median(loss))) + np.log(unit)
    theta, place = [], 0
    if offset:
        theta.append(logged[:, 0])
        place = 1
    for term in range(len(logs)):
        theta += [logged[:, place + term], exponents[:, term]]
    return np.stack(theta, 1), cost


def descend(
    exponents: np.ndarray, logs: np.ndarray, loss: np.ndarray, weights: np.ndarray, offset: bool, steps: int = 12
) -> np.ndarray:
    """Each start on its own way down: Gauss-Newton in the exponents, the linear coefficients projected out anew.

    All starts lie on the floor of one bent valley, along which Newton in all parameters crawls for a hundred steps;
    with the coefficients projected out that valley is nearly straight. Arguments as :func:`project`; (S, k) exponents.
    """
    exponents = np.array(exponents)
    loss, weights = _each(exponents, loss / float(np.exp(np.log(loss).mean())), weights)
    basis, natural, cost = _projected(exponents, logs, loss, weights, offset)
    length = np.ones(len(exponents))
    first = 1 if offset else 0
    for _ in range(steps):
        slopes = -natural[:, first:, None] * basis[:, first:] * logs
        design = np.concatenate([basis, slopes], 1)
        scale = np.sqrt(np.maximum(np.einsum("skn,sn->sk", design**2, weights), 1e-300))
        design = design / scale[:, :, None]
        loaded = design * weights[:, None]
        normal = np.matmul(loaded, design.transpose(0, 2, 1)) + 1e-12 * np.eye(design.shape[1])
        residual = 1 - np.einsum("sk,skn->sn", natural, basis)
        step = np.linalg.solve(normal, np.einsum("skn,sn->sk", loaded, residual)[:, :, None])[:, :, 0] / scale
        factor = 1 + length[:, None] * step[:, -len(logs) :] / exponents
        tried = exponents * np.clip(factor, 0.5, 2.0)
        new_basis, new_natural, new_cost = _projected(tried, logs, loss, weights, offset)
        better = new_cost < cost
        exponents[better], basis[better], natural[better] = tried[better], new_basis[better], new_natural[better]
        nearly = np.abs(cost - new_cost) <= 1e-6 * cost
        cost[better] = new_cost[better]
        length = np.where(better, np.minimum(2 * length, 1.0), length / 4)
        if nearly.all():
            break
    return exponents


def _projected(
    exponents: np.ndarray, logs: np.ndarray, loss: np.ndarray, weights: np.ndarray, offset: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms over the loss (S, m, n), their best non-negative coefficients (S, m) and the cost (S,)."""
    basis = np.exp(np.clip(-exponents[:, :, None] * logs, -60, 60))
    if offset:
        basis = np.concatenate([np.ones_like(basis[:, :1]), basis], axis=1)
    basis = basis / loss[:, None]
    scale = np.sqrt(np.einsum("skn,sn->sk", basis**2, weights))
    unit = basis / scale[:, :, None]
    loaded = unit * weights[:, None]
    coefficients, cost = _non_negative(np.matmul(loaded, unit.transpose(0, 2, 1)), loaded.sum(2), weights.sum(1))
    return basis, coefficients / scale, cost


def _each(exponents: np.ndarray, loss: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and weights of each problem, (S, n)."""
    shape = len(exponents), np.shape(loss)[-1]
    return np.broadcast_to(loss, shape), np.broadcast_to(weights, shape)


def _non_negative(normal: np.ndarray, right: np.ndarray, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative least squares of two or three unknowns: free where that is one, else the best subset; batched."""
    unknowns = right.shape[1]
    ridge = 1e-13 * np.eye(unknowns)
    best = np.linalg.solve(normal + ridge, right[:, :, None])[:, :, 0]
    cost = constant - (best * right).sum(1)
    bound = np.flatnonzero(~((best >= 0).all(1) & (cost < constant)))
    if not len(bound):
        return best, cost
    normal, right, constant = normal[bound], right[bound], constant[bound]
    few, least = np.zeros_like(right), np.array(constant)
    for number in range(1, unknowns):
        for subset in itertools.combinations(range(unknowns), number):
            chosen = list(subset)
            block = normal[:, chosen][:, :, chosen] + ridge[:number, :number]
            answer = np.linalg.solve(block, right[:, chosen, None])[:, :, 0]
            value = constant - (answer * right[:, chosen]).sum(1)
            better = (answer >= 0).all(1) & (value < least)
            least[better] = value[better]
            few[better] = 0.0
            few[np.ix_(np.flatnonzero(better), chosen)] = answer[better]
    best[bound], cost[bound] = few, least
    return best, cost


def exponent_starts(
    count: int, regressors: int, rng: np.random.Generator, lowest: float = 0.03, highest: float = 2.0
) -> np.ndarray:
    """`count` exponent vectors, log-uniform between `lowest` and `highest`, spread by a Latin hypercube."""
    cells = np.stack([rng.permutation(count) for _ in range(regressors)], 1)
    share = (cells + rng.random((count, regressors))) / count
    return lowest * (highest / lowest) ** share
