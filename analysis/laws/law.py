"""A fitted law as a frozen value: coefficients, objective written out, certificate, notes, intervals, predictions.

Every form shares this: an :class:`Estimator` knows how to refit itself to other responses or weights and how to name
its numbers; a :class:`Law` holds the fit and asks the estimator for resamples only when an interval is wanted, so a fit
costs milliseconds and its interval is paid for once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np
import pandas as pd

from analysis.engine import resample
from analysis.engine.collapse_rows import DesignPoints
from analysis.errors import CannotFit, Note

Limits = tuple[float | np.ndarray, float | np.ndarray]

FEW_SIZES = 100  # up to here the sizes are the unit (wild cluster bootstrap, which covers a point better); above, runs
RESAMPLES = 2000
NOISE_POINTS = 101
FLOORS = ("E", "floor")  # what forms call it
FEW_FREEDOM = 2
FARTHEST = 4.0  # predictions beyond this factor of the fitted range carry the note `extrapolation`


class Estimator(Protocol):
    """What a law needs from its form. Residuals live in response space: log y, log(y - E) or y itself."""

    theta: np.ndarray  # (p,) at the optimum
    response: np.ndarray  # (n,)
    weights: np.ndarray  # (n,)
    jacobian: np.ndarray  # (n, p) of the fitted response
    residual: np.ndarray  # (n,) response - fitted

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exact refits: (S, p) parameters and (S,) whether each was certified."""

    def few(self) -> tuple[Estimator, DesignPoints | None]:
        """The same problem on its distinct design points, or itself and None where its rows cannot be averaged."""

    def without_floor(self) -> Estimator | None:
        """The same fit with E = 0; None where the form has no E, where E is given, or where it cannot be fitted."""

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Coefficients and derived numbers by name, each (S,)."""

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m) predictions in the units of y."""

    def to_response(self, y: np.ndarray) -> np.ndarray:
        """Y -> response space."""

    def from_response(self, response: np.ndarray) -> np.ndarray:
        """Response space -> y."""


@dataclass(frozen=True)
class Certificate:
    """Why we believe that this is the minimum.

    Attributes:
        gradient_norm: largest component of the gradient, over the sum of weights (and delta, where finite).
        excess: estimated relative excess of the objective that is left (Newton decrement).
        smallest_eigenvalue: of the Hessian over its largest; above 0 at a strict minimum.
        starts: how many starts were tried.
        starts_agreeing: how many of them ended within 1e-9 of the best objective.
        method: how the minimum was found.
    """

    gradient_norm: float
    excess: float
    smallest_eigenvalue: float
    starts: int
    starts_agreeing: int
    method: str


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


@dataclass(frozen=True)
class Law:
    """A fitted law. See the module's docstring.

    Attributes:
        form: the formula, in words of this package.
        coefficients: read-only name -> value.
        objective: the minimised sum, as `objective_definition` writes it out.
        objective_definition: residual space, loss function, weights.
        notes: what the reader has to know; refusals never get here.
        rows_used: how many rows the fit contains.
        sizes: distinct sizes among them.
        certificate: why this is the minimum.
        inputs: names of what `predict` takes, in order.
        ranges: smallest and largest value of each input.
        conventions: how N, D, C and the loss were counted, where the caller said so.
        rows_left_out: (row, reason) pairs, where the caller left rows out.
        resamples: how many the intervals draw.
        pooled: (standard deviation, degrees of freedom) of the noise over laws of one kind, for instance over a study's
            budgets. With two degrees of freedom or fewer a law cannot know its own noise: this one is what a new run is
            then predicted with. Coefficients never take it: noise that falls with size, as it does, would be spread
            evenly, and intervals that should cover 95 % covered 82 to 90.
        ceiling: what y can be at most, 1 of an error rate; predictions and their intervals end there.
    """

    form: str
    coefficients: Mapping[str, float]
    objective: float
    objective_definition: str
    notes: tuple[Note, ...]
    rows_used: int
    sizes: int
    certificate: Certificate
    inputs: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    estimator: Estimator = field(repr=False)
    run_codes: np.ndarray = field(repr=False)
    size_codes: np.ndarray = field(repr=False)
    conventions: Mapping[str, str] = field(default_factory=dict)
    rows_left_out: tuple[tuple[int, str], ...] = ()
    resamples: int = RESAMPLES
    pooled: tuple[float, float] | None = None
    ceiling: float = np.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", MappingProxyType(dict(self.coefficients)))

    def __getstate__(self) -> dict:
        return self.__dict__ | {"coefficients": dict(self.coefficients)}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    # -- what it says ---------------------------------------------------------------------------------------------

    def predict(self, *inputs) -> np.ndarray:
        """Predicted y at new inputs, given in the order of :attr:`inputs`; arrays are broadcast together.

        Raises:
            ValueError: a wrong number of inputs, or one that is not above zero.
        """
        answer = self.estimator.predict(self.estimator.theta[None], self._inputs(inputs))[0]
        return np.minimum(answer, self.ceiling).reshape(self._shape(inputs))

    def extrapolation(self, *inputs) -> float:
        """By which factor the inputs leave the fitted range at worst; 1 inside it."""
        factor = 1.0
        for values, (low, high) in zip(self._inputs(inputs), self.ranges, strict=True):
            factor = max(factor, float(np.max(values)) / high, low / float(np.min(values)))
        return factor

    def extrapolation_notes(self, *inputs, farthest: float = FARTHEST) -> tuple[Note, ...]:
        """The note `extrapolation` where the inputs lie farther than a stated factor outside the rows."""
        factor = self.extrapolation(*inputs)
        if factor <= farthest:
            return ()
        return (
            Note(
                "extrapolation",
                f"the prediction lies a factor {factor:.3g} outside the fitted range (limit "
                f"{farthest:g}); its interval assumes that the form still holds there",
                factor,
            ),
        )

    @property
    def residuals(self) -> np.ndarray:
        """(n,) residuals in the space that the objective names."""
        return self.estimator.residual

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the rows, one of weight 2 counted twice: rows minus parameters."""
        return max(int(self.estimator.weights.sum()) - len(self.estimator.theta), 0)

    # -- how sure it is -------------------------------------------------------------------------------------------

    @cached_property
    def clusters(self) -> tuple[str, np.ndarray]:
        """What the interval treats as independent: "run" (drawn whole); or, the design fixed, a size, a run, or both.

        Rows of one size share the law's lack of fit, rows of one run its luck. Where runs have rows at several sizes (a
        frontier through budgets, FID against loss), rows linked by either stand or fall together. Returned with the
        cluster of each row, (n,).
        """
        sizes, runs = int(self.size_codes.max()) + 1, int(self.run_codes.max()) + 1
        parameters = len(self.estimator.theta)
        # a robust fit answers to the density of its residuals at zero, which a wild factor piles up: draw whole runs
        robust = np.isfinite(getattr(self.estimator, "delta", np.inf))
        if (sizes > FEW_SIZES or robust) and runs > (parameters + 3 if robust else FEW_SIZES):
            return "run", self.run_codes
        linked = resample.linked(self.size_codes, self.run_codes)
        groups = int(linked.max()) + 1
        if groups > parameters:
            return {sizes: "size", runs: "run, design fixed"}.get(groups, "size and run"), linked
        return ("size", self.size_codes) if sizes > parameters else ("run, design fixed", self.run_codes)

    @property
    def borrows_noise(self) -> bool:
        """Whether a new run's noise is the pooled one: the clusters leave the law's own too few degrees of freedom."""
        return self.pooled is not None and int(self.clusters[1].max()) + 1 - len(self.estimator.theta) <= FEW_FREEDOM

    @property
    def unit_sentence(self) -> str:
        """The interval's method in words, for tables and captions."""
        return {
            "run": "bootstrap of whole runs",
            "size": "wild cluster bootstrap, one cluster a size",
            "run, design fixed": "wild cluster bootstrap, one cluster a run",
            "size and run": "wild cluster bootstrap, sizes that share a run are one cluster",
        }[self.clusters[0]]

    def bootstrap(self, resamples: int | None = None, seed: int = 0, indices: np.ndarray | None = None) -> Bootstrap:
        """Exact refits under resampling.

        Args:
            resamples: how many; None takes the law's own number.
            seed: of the generator; the same seed gives the same interval.
            indices: (S, n) row numbers, to reproduce somebody's resamples; replaces `resamples` and `seed`.
        """
        fit = self.estimator
        resamples = self.resamples if resamples is None else resamples
        rng = np.random.default_rng(seed)
        if indices is not None:
            unit, response = "rows given by the caller", fit.response
            weights = resample.multiplicities_of(indices, len(fit.response)) * fit.weights
        elif self.clusters[0] == "run":
            unit, response = self.unit_sentence, fit.response
            weights = resample.multiplicities(self.run_codes, resamples, rng) * fit.weights
        else:
            unit, weights = self.unit_sentence, fit.weights
            codes = self.clusters[1]
            residual = resample.corrected_residuals(fit.jacobian, fit.residual, fit.weights, codes, power=1.0)
            factors = resample.wild_factors(codes, len(fit.theta), resamples, rng)
            fitted, (fit, points) = fit.response - fit.residual, fit.few()
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

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return self.bootstrap()

    def draws(self) -> Bootstrap:
        """The resamples behind :meth:`interval`; computed once."""
        return self._bootstrap

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a coefficient or a derived number.

        Percentiles keep their meaning under any change of scale, so a log-normal A needs nothing special. At a bound,
        or where the resamples' minima lie in another valley than the fit's, percentiles may pass the estimate by: the
        interval then reaches to it.

        Args:
            name: a coefficient, or a derived name such as ``"a_opt"``.
            level: coverage asked for.

        Raises:
            KeyError: no such number; the message lists those there are.
            CannotFit: ``not_converged`` where fewer than half of the resamples could be refitted.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level}; it lies between 0 and 1, 0.95 for 95 %")
        names = self.estimator.natural(self.estimator.theta[None])
        if name not in names:
            raise KeyError(f"the law has no {name!r}; it has {', '.join(names)}")
        fixed = {"E"} - set(self._free_names)
        if name in fixed:
            return float(self.coefficients[name]), float(self.coefficients[name])
        limits = self._quantiles(self._enough().draws[name].to_numpy(), level)
        if name not in FLOORS:
            limits = self._joined(limits, level, lambda plain: plain.interval(name, level))
        low, high = _reaching(limits, names[name][0])
        return float(low), float(high)

    def _joined(self, limits: Limits, level: float, of: Callable[[Law], Limits]) -> Limits:
        """Both limits, or those of the law without a floor as well, where the interval of the floor reaches 0.

        At that bound percentiles miss on one side: of a law without a floor, 85 % of the intervals of alpha covered it
        that were fitted with one. Joined with those of the plain law 96 % do, and are 3 % wider.
        """
        draws = self._enough().draws
        floor = next((name for name in FLOORS if name in draws), None)
        if floor is None or (draws[floor] == 0).mean() < (1 - level) / 2 or self._plain is None:
            return limits
        low, high = of(self._plain)
        return np.minimum(limits[0], low), np.maximum(limits[1], high)

    @cached_property
    def _plain(self) -> Law | None:
        plain = self.estimator.without_floor()
        return None if plain is None else replace(self, estimator=plain)

    @property
    def _free_names(self) -> tuple[str, ...]:
        return getattr(self.estimator, "free_names", tuple(self.coefficients))

    def standard_error(self, name: str) -> float:
        """Standard deviation over the resamples; read it beside the interval, never instead of it."""
        return float(self._enough().draws[name].std(ddof=1))

    @property
    def covariance(self) -> pd.DataFrame:
        """Covariance of the coefficients over the resamples; positive ones (E, A, B, R, a power law's beta) as logs."""
        draws = self._enough().draws[list(self.coefficients)]
        columns = {}
        for name in draws:
            values = draws[name].to_numpy()
            logged = name in ("E", "A", "B", "R", "a", "b") or (name == "beta" and "A" not in self.coefficients)
            with np.errstate(divide="ignore"):
                columns[f"log {name}" if logged else name] = np.log(values) if logged else values
        return pd.DataFrame(columns).replace([-np.inf, np.inf], np.nan).cov()

    def mean_interval(self, *inputs, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the law itself at new inputs: (low, high), each like `predict`."""
        drawn = self.estimator.predict(self._enough().theta, self._inputs(inputs))
        tail = (1 - level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0, method="weibull")
        limits = low.reshape(self._shape(inputs)), high.reshape(self._shape(inputs))
        limits = self._joined(limits, level, lambda plain: plain.mean_interval(*inputs, level=level))
        return self._possible(_reaching(limits, self.predict(*inputs)))

    def prediction_interval(self, *inputs, level: float = 0.95, runs: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Interval for the mean of `runs` new runs: uncertainty of the law, lack of fit and seed noise together.

        Several seeds average seed noise away and lack of fit not at all; where the rows cannot tell the two apart,
        all of it counts as lack of fit.
        """
        drawn = self.estimator.predict(self._enough().theta, self._inputs(inputs))
        spread, freedom = self.pooled if self.borrows_noise else (self.noise_sd, self.noise_freedom)
        if runs > 1 and self.noise["seed_sd"] is not None:
            spread = np.sqrt(max(spread**2 - self.noise["seed_sd"] ** 2 * (1 - 1 / runs), 0.0))
        # every draw of the law meets the same evenly spaced quantiles of the noise: no luck of the draw at the tails
        from scipy.special import stdtrit

        shares = (np.arange(NOISE_POINTS) + 0.5) / NOISE_POINTS
        noise = spread * stdtrit(freedom, shares)[:, None, None]
        with np.errstate(invalid="ignore", over="ignore"):
            seen = self.estimator.from_response(self.estimator.to_response(drawn) + noise).reshape(-1, drawn.shape[1])
        tail = (1 - level) / 2
        quantile = np.nanquantile if np.isnan(seen).any() else np.quantile
        low, high = quantile(seen, [tail, 1 - tail], axis=0)
        limits = low.reshape(self._shape(inputs)), high.reshape(self._shape(inputs))
        limits = self._joined(limits, level, lambda plain: plain.prediction_interval(*inputs, level=level, runs=runs))
        return self._possible(_reaching(limits, self.predict(*inputs)))

    def _possible(self, limits: Limits) -> Limits:
        """Cut at what y can be: additive noise, as tied laws have it, goes below 0, and noise goes above a ceiling."""
        low, high = limits
        return np.clip(low, 0.0, self.ceiling), np.clip(high, 0.0, self.ceiling)

    @property
    def noise_freedom(self) -> int:
        """Degrees of freedom of the noise: independent units, a run of weight 2 counted twice, minus parameters."""
        heaviest = np.zeros(int(self.run_codes.max()) + 1)
        np.maximum.at(heaviest, self.run_codes, self.estimator.weights)
        return max(int(heaviest.sum()) - len(self.estimator.theta), 1)

    @property
    def noise_sd(self) -> float:
        """Standard deviation of a run about the law, in response space (seed noise and lack of fit)."""
        squares = float((self.estimator.weights * self.residuals**2).sum())
        return float(np.sqrt(squares / max(self.freedom, 1)))

    @cached_property
    def noise(self) -> dict[str, float | None]:
        """Seed noise apart from lack of fit, as standard deviations in response space; None where seeds cannot tell.

        Seed noise is the spread of runs of one design point, lack of fit what the residual variance holds beyond it.
        """
        fitted = (self.estimator.response - self.residuals) / max(self.noise_sd, 1e-300)
        design = np.stack([self.size_codes.astype(float), np.round(fitted, 6)], 1)
        weights = self.estimator.weights
        used = weights > 0
        point = np.unique(design[used], axis=0, return_inverse=True)[1].ravel()
        residuals, weights = self.residuals[used], weights[used]
        count = np.bincount(point, weights)
        freedom = int(count.sum()) - len(count)
        if freedom < 1:
            return {"seed_sd": None, "lack_of_fit_sd": None, "seed_freedom": 0, "total_sd": self.noise_sd}
        mean = np.bincount(point, weights * residuals) / count
        seed_variance = float((weights * (residuals - mean[point]) ** 2).sum() / freedom)
        rest = max(self.noise_sd**2 - seed_variance, 0.0)
        return {
            "seed_sd": float(np.sqrt(seed_variance)),
            "lack_of_fit_sd": float(np.sqrt(rest)),
            "seed_freedom": freedom,
            "total_sd": self.noise_sd,
        }

    # -- as data --------------------------------------------------------------------------------------------------

    def as_dict(self, intervals: bool = True, level: float = 0.95) -> dict:
        """Plain types, for laws.json."""
        names = self.estimator.natural(self.estimator.theta[None])
        result = {
            "form": self.form,
            "coefficients": dict(self.coefficients),
            "objective": self.objective,
            "objective_definition": self.objective_definition,
            "rows_used": self.rows_used,
            "sizes": self.sizes,
            "freedom": self.freedom,
            "inputs": list(self.inputs),
            "ranges": [list(pair) for pair in self.ranges],
            "conventions": dict(self.conventions),
            "notes": [note.as_dict() for note in self.notes],
            "derived": {name: float(value[0]) for name, value in names.items() if name not in self.coefficients},
            "certificate": self.certificate.__dict__ | {},
            "rows_left_out": [list(pair) for pair in self.rows_left_out],
        }
        if intervals:
            result["level"] = level
            result["intervals"] = {name: list(self.interval(name, level)) for name in names}
            result["interval_method"] = self.unit_sentence
            result["pooled_noise"] = list(self.pooled) if self.borrows_noise else None
            result["resamples"] = {"asked": self._bootstrap.asked, "failed": self._bootstrap.failed}
            result["noise"] = self.noise
            covariance = self.covariance
            result["covariance"] = {"names": list(covariance), "values": covariance.to_numpy().tolist()}
        return result

    # -- helpers --------------------------------------------------------------------------------------------------

    def _enough(self) -> Bootstrap:
        result = self._bootstrap
        if result.failed > 0.5 * result.asked:
            raise CannotFit(
                "not_converged",
                f"{result.failed} of {result.asked} resamples could not be refitted: the data "
                "hardly determine this form, so it has no interval; use a simpler one",
                result.failed,
            )
        return result

    def _inputs(self, inputs: tuple) -> tuple[np.ndarray, ...]:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"predict takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(inputs)}")
        arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(values, dtype=float)) for values in inputs])
        for name, values in zip(self.inputs, arrays, strict=True):
            if not (np.isfinite(values) & (values > 0)).all():
                bad = values[~(np.isfinite(values) & (values > 0))][0]
                raise ValueError(f"{name} is {bad:g}; a law is defined above zero only")
        return tuple(values.ravel() for values in arrays)

    @staticmethod
    def _shape(inputs: tuple) -> tuple[int, ...]:
        """Of the answer: that of the inputs together, (1,) for single numbers."""
        return np.broadcast_shapes(*(np.shape(values) for values in inputs)) or (1,)

    @staticmethod
    def _quantiles(values: np.ndarray, level: float) -> tuple[float, float]:
        tail = (1 - level) / 2
        values = values[~np.isnan(values)]
        # ranks over n + 1, so that few resamples do not narrow the interval; no arithmetic between infinities
        method = "closest_observation" if np.isinf(values).any() else "weibull"
        low, high = np.quantile(values, [tail, 1 - tail], method=method)
        return float(low), float(high)


def _reaching(limits: Limits, value: float | np.ndarray) -> Limits:
    """An interval that holds its own estimate."""
    return np.minimum(limits[0], value), np.maximum(limits[1], value)


@dataclass(frozen=True)
class ParametricLaw(Law):
    """A law in parameters and data: Chinchilla's, the tied or coupled one, or the one with repeated data."""

    def optimum(self, compute, level: float = 0.95, cost: float = 6.0) -> pd.DataFrame:
        """Best size, data and loss for compute budgets C = cost x N x D, with intervals.

        The rule of thumb C = 6 N D is what the literature's optima use; where the exact cost of a model is known,
        :func:`analysis.plans.allocate.allocate` uses that instead.

        Args:
            compute: budgets, any number.
            level: of the intervals.
            cost: FLOPs per parameter and datum.

        Returns:
            One line a budget: compute, then params, data and loss, each with _low and _high.

        Raises:
            ValueError: the law has other inputs than parameters and data.
        """
        if self.inputs != ("params", "data"):
            raise ValueError(f"the optimum needs a law in params and data; this one takes {', '.join(self.inputs)}")
        budgets = np.atleast_1d(np.asarray(compute, float))
        lines = []
        for budget in budgets:
            best = self._optimum(self.estimator.theta[None], budget, cost)
            drawn = self._optimum(self._enough().theta, budget, cost)
            line = {"compute": float(budget)}
            for name, values in drawn.items():
                low, high = _reaching(self._quantiles(values, level), float(best[name][0]))
                line |= {name: float(best[name][0]), f"{name}_low": low, f"{name}_high": high}
            lines.append(line)
        return pd.DataFrame(lines)

    def _optimum(self, theta: np.ndarray, budget: float, cost: float) -> dict[str, np.ndarray]:
        names = self.estimator.natural(theta)
        alpha = names["alpha"]
        beta = names["beta"] if "beta" in names else alpha
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            log_g = (np.log(alpha * names["A"]) - np.log(beta * names["B"])) / (alpha + beta)
            params = np.exp(log_g + beta / (alpha + beta) * np.log(budget / cost))
            data = budget / cost / params
            loss = names["E"] + names["A"] * params**-alpha + names["B"] * data**-beta
        return {"params": params, "data": data, "loss": loss}
