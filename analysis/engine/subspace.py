"""Parameters under linear equations: what is given of a law leaves a subspace in which the rest is searched.

Every coefficient that a form names is, on its logs, a linear equation in the parameters that are fitted: log A is
a + alpha times the centre of log N. So a pinned A needs no penalty and no bound, only coordinates along what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import BadRequest

Equation = tuple[Sequence[float], float]  # vector (p,) and what its product with the parameters is
AGREES = 1e-9  # relative; by how much equations of one parameter may contradict one another
NO_RANK = 1e-12


@dataclass(frozen=True)
class Subspace:
    """All theta (p,) that meet some equations: base + basis phi, phi (q,).

    Attributes:
        base: (p,) the shortest of them.
        basis: (p, q) orthonormal columns; a parameter that no equation names is a coordinate of its own, in its order,
            and directions never join parameters that no equation joins.
    """

    base: np.ndarray
    basis: np.ndarray

    def whole(self, phi: np.ndarray) -> np.ndarray:
        """(S, q) -> (S, p)."""
        return self.base + phi @ self.basis.T

    def nearest(self, theta: np.ndarray) -> np.ndarray:
        """(S, p) -> (S, q) of the nearest that meets the equations."""
        return (theta - self.base) @ self.basis

    def lowest(self, lowest: np.ndarray) -> np.ndarray:
        """(p,) -> (q,) bounds: those of parameters that no equation names."""
        single = (self.basis != 0).sum(0) == 1
        bounds = np.full(self.basis.shape[1], -np.inf)
        bounds[single] = lowest[self.basis[:, single].argmax(0)]
        return bounds

    def model(self, whole: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]):
        """A model of theta (prediction (S, n), Jacobian (S, n, p)) as one of phi."""

        def of_what_is_left(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            prediction, jacobian = whole(self.whole(phi))
            return prediction, jacobian @ self.basis

        return of_what_is_left

    def without_first(self) -> Subspace:
        """The same where the first parameter, which no equation names, is left out."""
        return Subspace(self.base[1:], self.basis[1:, 1:])


def subspace(equations: Iterable[Equation], parameters: int) -> Subspace:
    """The subspace of `parameters` under equations.

    Raises:
        BadRequest: equations that contradict one another, or leave nothing to fit.
    """
    equations = list(equations)
    vectors = np.array([vector for vector, _ in equations], float).reshape(-1, parameters)
    values = np.array([value for _, value in equations], float)
    base, columns = np.zeros(parameters), []
    left = set(range(parameters))
    while left:
        first = min(left)
        joined, mine = {first}, np.zeros(len(values), bool)
        while True:  # equations that touch the same parameters stand or fall together
            more = (vectors[:, sorted(joined)] != 0).any(1)
            if (more == mine).all():
                break
            mine = more
            joined |= set(np.flatnonzero((vectors[mine] != 0).any(0)).tolist())
        own = sorted(joined)
        left -= joined
        block = vectors[np.ix_(np.flatnonzero(mine), own)]
        answer, _, rank, _ = np.linalg.lstsq(block, values[mine], rcond=NO_RANK) if len(block) else (0.0, 0, 0, 0)
        base[own] = answer
        if len(block) and np.abs(block @ answer - values[mine]).max() > AGREES * max(1.0, np.abs(values[mine]).max()):
            raise BadRequest("the given coefficients contradict one another: of one power, fix two numbers at most")
        free = np.eye(len(own)) if not len(block) else np.linalg.svd(block)[2][rank:].T
        for direction in free.T:
            column = np.zeros(parameters)
            column[own] = direction
            columns.append((first, column))
    if not columns:
        raise BadRequest("every coefficient is given: nothing is left to fit; leave one out")
    return Subspace(base, np.stack([column for _, column in sorted(columns, key=lambda each: each[0])], 1))
