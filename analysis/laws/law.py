"""A fitted law as a frozen value: coefficients, objective written out, certificate, notes, intervals, predictions.

Every form shares this: an :class:`Estimator` knows how to refit itself to other responses or weights and how to name
its numbers; a :class:`Law` holds the fit and asks the estimator for resamples only when an interval is wanted, so a fit
costs milliseconds and its interval is paid for once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np
import pandas as pd

from analysis.engine.collapse_rows import DesignPoints
from analysis.errors import Note
from analysis.laws import intervals, sampling
from analysis.laws.document import document_of
from analysis.laws.form import Form
from analysis.laws.intervals import enough, quantiles, reaching
from analysis.laws.sampling import Bootstrap

RESAMPLES = 2000
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
        kind: what the form is, for those who read a law without knowing which; None of a law that no table shows.
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
    kind: Form | None = None

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
        answer = self.estimator.predict(self.estimator.theta[None], self.checked(inputs))[0]
        return np.minimum(answer, self.ceiling).reshape(self.shape_of(inputs))

    def extrapolation(self, *inputs) -> float:
        """By which factor the inputs leave the fitted range at worst; 1 inside it."""
        factor = 1.0
        for values, (low, high) in zip(self.checked(inputs), self.ranges, strict=True):
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
        """What the interval treats as independent; see :func:`analysis.laws.sampling.clusters_of`."""
        return sampling.clusters_of(self)

    @property
    def borrows_noise(self) -> bool:
        """Whether a new run's noise is the pooled one: the clusters leave the law's own too few degrees of freedom."""
        return self.pooled is not None and int(self.clusters[1].max()) + 1 - len(self.estimator.theta) <= FEW_FREEDOM

    @property
    def unit_sentence(self) -> str:
        """The interval's method in words, for tables and captions."""
        return sampling.UNITS[self.clusters[0]]

    def bootstrap(self, resamples: int | None = None, seed: int = 0, indices: np.ndarray | None = None) -> Bootstrap:
        """Exact refits under resampling; see :func:`analysis.laws.sampling.resampled`."""
        return sampling.resampled(self, resamples, seed, indices)

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return self.bootstrap()

    def draws(self) -> Bootstrap:
        """The resamples behind :meth:`interval`; computed once."""
        return self._bootstrap

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of a coefficient or a derived number, such as ``"a_opt"``.

        Raises:
            KeyError: no such number; the message lists those there are.
            CannotFit: ``not_converged`` where fewer than half of the resamples could be refitted.
        """
        return intervals.of_number(self, name, level)

    @cached_property
    def plain(self) -> Law | None:
        plain = self.estimator.without_floor()
        return None if plain is None else replace(self, estimator=plain)

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the coefficients that were pinned; every interval is conditional on them."""
        return getattr(self.estimator, "given", ())

    @property
    def free_names(self) -> tuple[str, ...]:
        return getattr(self.estimator, "free_names", tuple(self.coefficients))

    def standard_error(self, name: str) -> float:
        """Standard deviation over the resamples; read it beside the interval, never instead of it."""
        return float(enough(self).draws[name].std(ddof=1))

    @property
    def covariance(self) -> pd.DataFrame:
        """Covariance of the coefficients over the resamples; positive ones (E, A, B, R, a power law's beta) as logs."""
        draws = enough(self).draws[list(self.coefficients)]
        columns = {}
        for name in draws:
            values = draws[name].to_numpy()
            logged = name in ("E", "A", "B", "R", "a", "b") or (name == "beta" and "A" not in self.coefficients)
            with np.errstate(divide="ignore"):
                columns[f"log {name}" if logged else name] = np.log(values) if logged else values
        return pd.DataFrame(columns).replace([-np.inf, np.inf], np.nan).cov()

    def mean_interval(self, *inputs, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the law itself at new inputs: (low, high), each like `predict`."""
        return intervals.of_law(self, *inputs, level=level)

    def prediction_interval(self, *inputs, level: float = 0.95, runs: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Interval for the mean of `runs` new runs: uncertainty of the law, lack of fit and seed noise together."""
        return intervals.of_runs(self, *inputs, level=level, runs=runs)

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
        """Seed noise apart from lack of fit; see :func:`analysis.laws.intervals.noise_of`."""
        return intervals.noise_of(self)

    # -- as data --------------------------------------------------------------------------------------------------

    def as_dict(self, intervals: bool = True, level: float = 0.95) -> dict:
        """Plain types, for laws.json."""
        return document_of(self, intervals, level)

    # -- helpers --------------------------------------------------------------------------------------------------

    def checked(self, inputs: tuple) -> tuple[np.ndarray, ...]:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"predict takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(inputs)}")
        arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(values, dtype=float)) for values in inputs])
        for name, values in zip(self.inputs, arrays, strict=True):
            if not (np.isfinite(values) & (values > 0)).all():
                bad = values[~(np.isfinite(values) & (values > 0))][0]
                raise ValueError(f"{name} is {bad:g}; a law is defined above zero only")
        return tuple(values.ravel() for values in arrays)

    @staticmethod
    def shape_of(inputs: tuple) -> tuple[int, ...]:
        """Of the answer: that of the inputs together, (1,) for single numbers."""
        return np.broadcast_shapes(*(np.shape(values) for values in inputs)) or (1,)


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
            drawn = self._optimum(enough(self).theta, budget, cost)
            line = {"compute": float(budget)}
            for name, values in drawn.items():
                low, high = reaching(quantiles(values, level), float(best[name][0]))
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
