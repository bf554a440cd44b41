"""Intervals of a law: of its numbers, of the law itself, and of new runs; and the noise that they rest on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import CannotFit
from analysis.laws.sampling import Bootstrap

if TYPE_CHECKING:
    from analysis.laws.law import Law

Limits = tuple[float | np.ndarray, float | np.ndarray]
NOISE_POINTS = 101
FLOORS = ("E", "floor")  # what forms call it


def of_number(law: Law, name: str, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a coefficient or a derived number.

    Percentiles keep their meaning under any change of scale, so a log-normal A needs nothing special. At a bound,
    or where the resamples' minima lie in another valley than the fit's, percentiles may pass the estimate by: the
    interval then reaches to it.

    Args:
        law: the fit.
        name: a coefficient, or a derived name such as ``"a_opt"``.
        level: coverage asked for.

    Raises:
        KeyError: no such number; the message lists those there are.
        CannotFit: ``not_converged`` where fewer than half of the resamples could be refitted.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it lies between 0 and 1, 0.95 for 95 %")
    names = law.estimator.natural(law.estimator.theta[None])
    if name not in names:
        raise KeyError(f"the law has no {name!r}; it has {', '.join(names)}")
    fixed = {"E"} - set(law.free_names)
    if name in fixed or name in law.given:
        return float(law.coefficients[name]), float(law.coefficients[name])
    limits = quantiles(enough(law).draws[name].to_numpy(), level)
    if name not in FLOORS:
        limits = _joined(law, limits, level, lambda plain: plain.interval(name, level))
    low, high = reaching(limits, names[name][0])
    return float(low), float(high)


def of_law(law: Law, *inputs, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the law itself at new inputs: (low, high), each like `predict`."""
    drawn = law.estimator.predict(enough(law).theta, law.checked(inputs))
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0, method="weibull")
    limits = low.reshape(law.shape_of(inputs)), high.reshape(law.shape_of(inputs))
    limits = _joined(law, limits, level, lambda plain: plain.mean_interval(*inputs, level=level))
    return _possible(law, reaching(limits, law.predict(*inputs)))


def of_runs(law: Law, *inputs, level: float = 0.95, runs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Interval for the mean of `runs` new runs: uncertainty of the law, lack of fit and seed noise together.

    Several seeds average seed noise away and lack of fit not at all; where the rows cannot tell the two apart,
    all of it counts as lack of fit.
    """
    drawn = law.estimator.predict(enough(law).theta, law.checked(inputs))
    spread, freedom = law.pooled if law.borrows_noise else (law.noise_sd, law.noise_freedom)
    if runs > 1 and law.noise["seed_sd"] is not None:
        spread = np.sqrt(max(spread**2 - law.noise["seed_sd"] ** 2 * (1 - 1 / runs), 0.0))
    # every draw of the law meets the same evenly spaced quantiles of the noise: no luck of the draw at the tails
    from scipy.special import stdtrit

    shares = (np.arange(NOISE_POINTS) + 0.5) / NOISE_POINTS
    noise = spread * stdtrit(freedom, shares)[:, None, None]
    with np.errstate(invalid="ignore", over="ignore"):
        seen = law.estimator.from_response(law.estimator.to_response(drawn) + noise).reshape(-1, drawn.shape[1])
    tail = (1 - level) / 2
    quantile = np.nanquantile if np.isnan(seen).any() else np.quantile
    low, high = quantile(seen, [tail, 1 - tail], axis=0)
    limits = low.reshape(law.shape_of(inputs)), high.reshape(law.shape_of(inputs))
    limits = _joined(law, limits, level, lambda plain: plain.prediction_interval(*inputs, level=level, runs=runs))
    return _possible(law, reaching(limits, law.predict(*inputs)))


def _joined(law: Law, limits: Limits, level: float, of: Callable[[Law], Limits]) -> Limits:
    """Both limits, or those of the law without a floor as well, where the interval of the floor reaches 0.

    At that bound percentiles miss on one side: of a law without a floor, 85 % of the intervals of alpha covered it
    that were fitted with one. Joined with those of the plain law 96 % do, and are 3 % wider.
    """
    draws = enough(law).draws
    floor = next((name for name in FLOORS if name in draws), None)
    if floor is None or (draws[floor] == 0).mean() < (1 - level) / 2 or law.plain is None:
        return limits
    low, high = of(law.plain)
    return np.minimum(limits[0], low), np.maximum(limits[1], high)


def _possible(law: Law, limits: Limits) -> Limits:
    """Cut at what y can be: additive noise, as tied laws have it, goes below 0, and noise goes above a ceiling."""
    low, high = limits
    return np.clip(low, 0.0, law.ceiling), np.clip(high, 0.0, law.ceiling)


def enough(law: Law) -> Bootstrap:
    result = law.draws()
    if result.failed > 0.5 * result.asked:
        raise CannotFit(
            "not_converged",
            f"{result.failed} of {result.asked} resamples could not be refitted: the data "
            "hardly determine this form, so it has no interval; use a simpler one",
            result.failed,
        )
    return result


def noise_of(law: Law) -> dict[str, float | None]:
    """Seed noise apart from lack of fit, as standard deviations in response space; None where seeds cannot tell.

    Seed noise is the spread of runs of one design point, lack of fit what the residual variance holds beyond it.
    """
    fitted = (law.estimator.response - law.residuals) / max(law.noise_sd, 1e-300)
    design = np.stack([law.size_codes.astype(float), np.round(fitted, 6)], 1)
    weights = law.estimator.weights
    used = weights > 0
    point = np.unique(design[used], axis=0, return_inverse=True)[1].ravel()
    residuals, weights = law.residuals[used], weights[used]
    count = np.bincount(point, weights)
    freedom = int(count.sum()) - len(count)
    if freedom < 1:
        return {"seed_sd": None, "lack_of_fit_sd": None, "seed_freedom": 0, "total_sd": law.noise_sd}
    mean = np.bincount(point, weights * residuals) / count
    seed_variance = float((weights * (residuals - mean[point]) ** 2).sum() / freedom)
    rest = max(law.noise_sd**2 - seed_variance, 0.0)
    return {
        "seed_sd": float(np.sqrt(seed_variance)),
        "lack_of_fit_sd": float(np.sqrt(rest)),
        "seed_freedom": freedom,
        "total_sd": law.noise_sd,
    }


def quantiles(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    values = values[~np.isnan(values)]
    # ranks over n + 1, so that few resamples do not narrow the interval; no arithmetic between infinities
    method = "closest_observation" if np.isinf(values).any() else "weibull"
    low, high = np.quantile(values, [tail, 1 - tail], method=method)
    return float(low), float(high)


def reaching(limits: Limits, value: float | np.ndarray) -> Limits:
    """An interval that holds its own estimate."""
    return np.minimum(limits[0], value), np.maximum(limits[1], value)
