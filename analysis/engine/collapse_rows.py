"""Least squares sees rows of one design point only through their mean: a hundred seeds cost no more than one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

Fit = TypeVar("Fit")


@dataclass(frozen=True)
class DesignPoints:
    """Distinct design points of n rows.

    Attributes:
        values: (k, m) regressors at the m distinct points.
        codes: (n,) the point of each row.
    """

    values: np.ndarray
    codes: np.ndarray

    @cached_property
    def member(self) -> np.ndarray:
        """(n, m): one where a row belongs to a point."""
        return np.eye(self.values.shape[1])[self.codes]

    def means(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean response and total weight of each point, (m,) or (S, m)."""
        total = weights @ self.member
        return (weights * response) @ self.member / np.where(total > 0, total, 1.0), total

    def shaken(
        self, fitted: np.ndarray, residual: np.ndarray, weights: np.ndarray, codes: np.ndarray, factors: np.ndarray
    ) -> np.ndarray:
        """Means of fitted + residual x factors[:, codes], (S, m), without a row of each resample."""
        base, total = self.means(fitted, weights)
        clusters, points = factors.shape[1], len(total)
        place = codes * points + self.codes
        pulls = np.bincount(place, weights * residual, clusters * points).reshape(clusters, points)
        return base + factors @ (pulls / np.where(total > 0, total, 1.0))

    def within(self, response: np.ndarray, weights: np.ndarray) -> float:
        """Half the weighted squares about the points' means: what no fit can take away from the full objective."""
        mean, _ = self.means(response, weights)
        return 0.5 * float((weights * (response - self.member @ mean) ** 2).sum())


def design_points(logs: np.ndarray) -> DesignPoints | None:
    """Distinct columns of (k, n) regressors; None where no two rows share one."""
    values, codes = np.unique(logs, axis=1, return_inverse=True)
    if values.shape[1] == logs.shape[1]:
        return None
    return DesignPoints(values, codes.ravel())


def few_rows(logs: np.ndarray, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regressors (k, m), mean responses and weights of the design points; as given where no two rows share one."""
    points = design_points(logs)
    return (logs, response, weights) if points is None else (points.values, *points.means(response, weights))


def on_points(
    fit: Fit, shared: np.ndarray, /, **regressors: Callable[[np.ndarray], object]
) -> tuple[Fit, DesignPoints | None]:
    """A least-squares estimator on its design points; itself and None where no two rows share one.

    Args:
        fit: frozen, with `response` and `weights`.
        shared: (k, n) its regressors.
        **regressors: of each attribute that holds them, how it is made from (k, m) distinct ones.
    """
    points = design_points(shared)
    if points is None:
        return fit, None
    mean, load = points.means(fit.response, fit.weights)
    made = {name: make(points.values) for name, make in regressors.items()}
    return replace(fit, response=mean, weights=load, **made), points
