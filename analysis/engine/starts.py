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
        loss: (n,) in natural units, above 0.
        weights: (n,).
        offset: whether a constant term is fitted.

    Returns:
        theta (S, p) in the parameters of :class:`analysis.engine.terms.PowerTerms` and the projected cost (S,).
    """
    basis = np.exp(np.clip(-exponents[:, :, None] * logs, -60, 60))
    if offset:
        basis = np.concatenate([np.ones_like(basis[:, :1]), basis], axis=1)
    basis = basis / loss
    scale = np.sqrt(np.einsum("skn,n->sk", basis**2, weights))
    basis = basis / scale[:, :, None]
    normal = np.einsum("skn,sln,n->skl", basis, basis, weights)
    right = np.einsum("skn,n->sk", basis, weights)
    coefficients, cost = _non_negative(normal, right, weights.sum())
    typical = LOWEST_SHARE * np.median(loss)
    natural = coefficients / scale
    logged = np.log(np.maximum(natural, typical))
    theta, place = [], 0
    if offset:
        theta.append(logged[:, 0])
        place = 1
    for term in range(len(logs)):
        theta += [logged[:, place + term], exponents[:, term]]
    return np.stack(theta, 1), cost


def _non_negative(normal: np.ndarray, right: np.ndarray, constant: float) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative least squares of two or three unknowns by trying every subset, batched."""
    problems, unknowns = right.shape
    best = np.zeros_like(right)
    cost = np.full(problems, constant)
    for number in range(1, unknowns + 1):
        for subset in itertools.combinations(range(unknowns), number):
            chosen = list(subset)
            block = normal[:, chosen][:, :, chosen] + 1e-13 * np.eye(number)
            answer = np.linalg.solve(block, right[:, chosen, None])[:, :, 0]
            value = constant - (answer * right[:, chosen]).sum(1)
            better = (answer >= 0).all(1) & (value < cost)
            cost[better] = value[better]
            best[better] = 0.0
            best[np.ix_(np.flatnonzero(better), chosen)] = answer[better]
    return best, cost


def exponent_starts(
    count: int, regressors: int, rng: np.random.Generator, lowest: float = 0.03, highest: float = 2.0
) -> np.ndarray:
    """`count` exponent vectors, log-uniform between `lowest` and `highest`, spread by a Latin hypercube."""
    cells = np.stack([rng.permutation(count) for _ in range(regressors)], 1)
    share = (cells + rng.random((count, regressors))) / count
    return lowest * (highest / lowest) ** share
