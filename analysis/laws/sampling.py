"""Refits of a law under resampling: what is drawn, in which clusters, and how often that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.engine import resample

if TYPE_CHECKING:
    from analysis.laws.law import Law

FEW_SIZES = 100  # up to here the sizes are the unit (wild cluster bootstrap, which covers a point better); above, runs
UNITS = {
    "run": "bootstrap of whole runs",
    "size": "wild cluster bootstrap, one cluster a size",
    "run, design fixed": "wild cluster bootstrap, one cluster a run",
    "size and run": "wild cluster bootstrap, sizes that share a run are one cluster",
}


@dataclass(frozen=True)
class Bootstrap:
    """Refits under resampling.

    Attributes:
        draws: one row a certified resample: coefficients and derived numbers.
        theta: (S, p) the same in the estimator's own parameters.
        unit: what was resampled, in words.
        asked: how many resamples were asked for.
    """

    draws: pd.DataFrame
    theta: np.ndarray
    unit: str
    asked: int

    @property
    def failed(self) -> int:
        """Resamples whose minimum could not be certified; they are left out."""
        return self.asked - len(self.draws)


def clusters_of(law: Law) -> tuple[str, np.ndarray]:
    """What the interval treats as independent: "run" (drawn whole); or, the design fixed, a size, a run, or both.

    Rows of one size share the law's lack of fit, rows of one run its luck. Where runs have rows at several sizes (a
    frontier through budgets, FID against loss), rows linked by either stand or fall together. Returned with the
    cluster of each row, (n,).
    """
    sizes, runs = int(law.size_codes.max()) + 1, int(law.run_codes.max()) + 1
    parameters = len(law.estimator.theta)
    # a robust fit answers to the density of its residuals at zero, which a wild factor piles up: draw whole runs
    robust = np.isfinite(getattr(law.estimator, "delta", np.inf))
    if (sizes > FEW_SIZES or robust) and runs > (parameters + 3 if robust else FEW_SIZES):
        return "run", law.run_codes
    linked = resample.linked(law.size_codes, law.run_codes)
    groups = int(linked.max()) + 1
    if groups > parameters:
        return {sizes: "size", runs: "run, design fixed"}.get(groups, "size and run"), linked
    return ("size", law.size_codes) if sizes > parameters else ("run, design fixed", law.run_codes)


def resampled(law: Law, resamples: int | None = None, seed: int = 0, indices: np.ndarray | None = None) -> Bootstrap:
    """Exact refits under resampling.

    Args:
        law: the fit.
        resamples: how many; None takes the law's own number.
        seed: of the generator; the same seed gives the same interval.
        indices: (S, n) row numbers, to reproduce somebody's resamples; replaces `resamples` and `seed`.
    """
    fit = law.estimator
    resamples = law.resamples if resamples is None else resamples
    rng = np.random.default_rng(seed)
    if indices is not None:
        unit, response = "rows given by the caller", fit.response
        weights = resample.multiplicities_of(indices, len(fit.response)) * fit.weights
    elif law.clusters[0] == "run":
        unit, response = UNITS[law.clusters[0]], fit.response
        weights = resample.multiplicities(law.run_codes, resamples, rng) * fit.weights
    else:
        unit, weights = UNITS[law.clusters[0]], fit.weights
        codes = law.clusters[1]
        fitted, place = fit.response - fit.residual, getattr(fit, "noise_place", None)
        power = 1.0 if place is None else 0.5
        residual = resample.corrected_residuals(fit.jacobian, fit.residual, fit.weights, codes, power)
        if place is not None:
            unit = f"{unit}, its noise modelled over all of them"
            given = place, fitted, residual, fit.weights, codes, len(fit.theta), resamples, rng
            residual, factors = resample.noise_by_size(*given)
        else:
            factors = resample.wild_factors(codes, len(fit.theta), resamples, rng)
        fit, points = fit.few()
        if points is None:
            response = fitted + residual * factors[:, codes]
        else:
            response, weights = points.shaken(fitted, residual, weights, codes, factors), fit.weights
    theta, certified = fit.refit(response, weights)
    finite = certified & np.isfinite(theta).all(1)
    theta = theta[finite]
    with np.errstate(over="ignore"):
        draws = pd.DataFrame(fit.natural(theta))
    return Bootstrap(draws, theta, unit, len(finite))
