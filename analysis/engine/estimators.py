"""Estimators: how each form refits itself to resampled rows, names its numbers and predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.engine import newton, starts
from analysis.engine.collapse_rows import DesignPoints, few_rows, on_points
from analysis.engine.terms import PowerTerms, RepeatedTerms, log_epoch_gain

REFIT_EXCESS = 1e-13  # of a resample's objective: exact, like the fit itself
# Newton steps for resamples near the fit, then for those that were helped along a flat valley; what moves still is
# within CLOSE of its minimum. A robust objective bends where a residual crosses delta, so it takes more of them.
STEPS_OF_SQUARES, STEPS_OF_ROBUST = (8, 40), (60, 300)
CLOSE = 1e-6  # estimated relative excess at which a resample that stopped short still names a quantile
LOG_NO_FLOOR = -800.0  # log E of a law whose floor is 0: its exponential is 0 exactly
VANISHED = 1e-6  # share of the smallest loss below which a floor is none
FAINT = 0.05  # share of the smallest prediction at which a search for a floor starts


@dataclass(frozen=True, eq=False)
class LineEstimator:
    """log(y - E) = log A + slope log x with E known: the straight line of the VAR paper, weighted least squares.

    Attributes:
        log_x: (n,) centred.
        centre: what was subtracted.
        offset: E, fixed; 0 for the plain power law.
        response: (n,) log(y - E).
        weights: (n,).
    """

    log_x: np.ndarray
    centre: float
    offset: float
    response: np.ndarray
    weights: np.ndarray
    free_names = ("alpha", "beta")

    @property
    def noise_place(self) -> np.ndarray:
        """(n,) log sizes, along which the noise is modelled (`resample.noise_by_size`)."""
        return self.log_x

    @cached_property
    def theta(self) -> np.ndarray:
        """(2,): intercept at the centre, slope."""
        return self.refit(self.response, self.weights)[0][0]

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(n, 2)."""
        return np.stack([np.ones_like(self.log_x), self.log_x], 1)

    @cached_property
    def residual(self) -> np.ndarray:
        """(n,)."""
        return self.response - self.jacobian @ self.theta

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Closed form, batched; a resample of a single size has no slope and is not certified."""
        response, weights = np.atleast_2d(response), np.atleast_2d(weights)
        response, weights = np.broadcast_arrays(response, weights)
        total = weights.sum(1)
        mean_x = (weights * self.log_x).sum(1) / total
        mean_y = (weights * response).sum(1) / total
        away = self.log_x - mean_x[:, None]
        spread = (weights * away**2).sum(1)
        certified = spread > 1e-20 * total
        slope = (weights * away * response).sum(1) / np.where(certified, spread, 1.0)
        return np.stack([mean_y - slope * mean_x, slope], 1), certified

    def few(self) -> tuple[LineEstimator, DesignPoints | None]:
        """On the design points."""
        return on_points(self, self.log_x[None], log_x=lambda values: values[0])

    def without_floor(self) -> None:
        """Its offset is given."""

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """E, alpha, beta of y = E + (beta x)^alpha, and the coefficient A = beta^alpha."""
        return power_names(theta[:, 0] - theta[:, 1] * self.centre, theta[:, 1], np.full(len(theta), self.offset))

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        return self.offset + np.exp(theta[:, :1] + theta[:, 1:2] * (np.log(inputs[0]) - self.centre))

    def to_response(self, y: np.ndarray) -> np.ndarray:
        """log(y - E)."""
        return np.log(y - self.offset)

    def from_response(self, response: np.ndarray) -> np.ndarray:
        """E + exp(.)."""
        return self.offset + np.exp(response)


@dataclass(frozen=True, eq=False)
class NewtonEstimator:
    """Sums of power laws fitted on log residuals by :mod:`analysis.engine.newton`.

    Attributes:
        terms: the prediction, on centred logs.
        centres: what was subtracted from each log regressor.
        theta: (p,) optimum.
        response: (n,) log loss.
        weights: (n,).
        delta: Huber's switch point of the refits (for absolute deviations a small one, see parametric.py).
        shape: "power", "chinchilla" or "repeated": how the parameters are named.
    """

    terms: PowerTerms | RepeatedTerms
    centres: tuple[float, ...]
    theta: np.ndarray
    response: np.ndarray
    weights: np.ndarray
    delta: float
    shape: str

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(n, p)."""
        return newton.log_jacobian(self.terms, self.terms.evaluate(self.theta[None]))[0]

    @cached_property
    def residual(self) -> np.ndarray:
        """(n,)."""
        return self.response - self.terms.evaluate(self.theta[None]).log_prediction[0]

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Newton from the optimum; resamples of a fit lie near it (laws.md: other starts find nothing better)."""
        problems = len(response) if np.ndim(response) == 2 else len(np.atleast_2d(weights))
        terms = self.terms
        near, flat = self._steps
        if np.isinf(self.delta) and isinstance(terms, PowerTerms):
            logs, response, weights = few_rows(terms.logs, response, weights)
            terms = PowerTerms(logs, terms.offset)
        begin = np.repeat(self.theta[None], problems, 0)
        if terms.offset and self.theta[0] <= LOG_NO_FLOOR:
            theta, certified, slope = self._best_without_floor(terms, begin, response, weights)
            theta[:, 0] = np.where(certified & (slope >= 0), LOG_NO_FLOOR, theta[:, 0])
            certified &= slope >= 0
        else:
            found = newton.minimize(terms, begin, response, weights, self.delta, near, REFIT_EXCESS)
            theta, certified = np.array(found.theta), found.converged | (found.decrement < CLOSE)
            left = np.flatnonzero(~certified)
            if terms.offset and len(left):
                # these run towards E = 0 or along a flat valley: to drop them would cut off an end of the interval
                chosen = _pick(response, left), _pick(weights, left)
                bound, solved, slope = self._best_without_floor(terms, theta[left], *chosen)
                value = newton.objective(
                    terms, np.column_stack([np.full(len(left), LOG_NO_FLOOR), bound[:, 1:]]), *chosen, self.delta
                )
                at_bound = solved & (slope >= 0) & (value <= found.value[left])
                bound[:, 0] = LOG_NO_FLOOR
                theta[left[at_bound]], certified[left[at_bound]] = bound[at_bound], True
        left = np.flatnonzero(~certified)
        if len(left):
            chosen = _pick(response, left), _pick(weights, left)
            begin = self._along_the_valley(terms, theta[left], *chosen)
            more = newton.minimize(terms, begin, *chosen, self.delta, flat, REFIT_EXCESS)
            theta[left], certified[left] = more.theta, more.converged | (more.decrement < CLOSE)
        if terms.offset:
            theta[theta[:, 0] < response.min(-1) + np.log(VANISHED), 0] = LOG_NO_FLOOR
        return theta, certified

    def few(self) -> tuple[NewtonEstimator, DesignPoints | None]:
        """On the design points: of sums of squares only."""
        if np.isfinite(self.delta) or not isinstance(self.terms, PowerTerms):
            return self, None
        return on_points(self, self.terms.logs, terms=lambda values: PowerTerms(values, self.terms.offset))

    def without_floor(self) -> NewtonEstimator | None:
        """From the fit's own other parameters."""
        if not self.terms.offset:
            return None
        plain = replace(self.terms, offset=False)
        found = newton.minimize(plain, self.theta[None, 1:], self.response, self.weights, self.delta)
        return replace(self, terms=plain, theta=found.theta[0]) if found.converged[0] else None

    def whole(self, theta: np.ndarray) -> tuple[NewtonEstimator, np.ndarray]:
        """The estimator of the form itself, and (S, p) its parameters: what is pinned of a form is put back."""
        return self, theta

    @property
    def _steps(self) -> tuple[int, int]:
        return STEPS_OF_SQUARES if np.isinf(self.delta) else STEPS_OF_ROBUST

    def _along_the_valley(
        self, terms: PowerTerms | RepeatedTerms, begin: np.ndarray, response: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Farther down the bent valley between floor and exponent, in which Newton takes hundreds of steps; (S, p)."""
        if not isinstance(terms, PowerTerms) or not terms.offset:
            return begin
        given = terms.logs, np.exp(response), weights, True
        tried, _ = starts.project(starts.descend(begin[:, 2::2], *given), *given)
        values = [newton.objective(terms, theta, response, weights, self.delta) for theta in (begin, tried)]
        return np.where((values[1] < values[0])[:, None], tried, begin)

    def _best_without_floor(
        self, terms: PowerTerms | RepeatedTerms, begin: np.ndarray, response: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best laws with E = 0 for S resamples.

        Returns:
            theta (S, p), its log E a small share of the loss, where a search for a floor may start; (S,) whether they
            are certified; (S,) slope of the objective in E at E = 0: where it is not negative, no floor is better.
        """
        plain = replace(terms, offset=False)
        best = newton.minimize(plain, begin[:, 1:], response, weights, self.delta, self._steps[0], REFIT_EXCESS)
        with np.errstate(over="ignore", invalid="ignore"):
            log_prediction = plain.evaluate(best.theta).log_prediction
            pull = np.clip(response - log_prediction, -self.delta, self.delta)
            slope = -(weights * pull * np.exp(-log_prediction)).sum(1)
        floor = log_prediction.min(1) + np.log(FAINT)
        return np.column_stack([floor, best.theta]), best.converged, slope

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Coefficients in natural units, and derived numbers."""
        place = 1 if self.terms.offset else 0
        offset = np.exp(theta[:, 0]) if place else np.zeros(len(theta))
        if self.shape == "power":
            log_a = theta[:, place] + theta[:, place + 1] * self.centres[0]
            return power_names(log_a, -theta[:, place + 1], offset)
        a, alpha, b, beta = (theta[:, place + j] for j in range(4))
        names = {
            "E": offset,
            "A": np.exp(a + alpha * self.centres[0]),
            "B": np.exp(b + beta * self.centres[1]),
            "alpha": alpha,
            "beta": beta,
        }
        if self.shape == "repeated":
            names["R"] = np.exp(theta[:, place + 4])
        return names | optimum_names(names)

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        logs = [np.log(values) - centre for values, centre in zip(inputs, self.centres, strict=False)]
        if self.shape == "repeated":
            terms = RepeatedTerms(logs[0], logs[1], np.asarray(inputs[2]) - 1, self.terms.offset)
        else:
            terms = PowerTerms(np.stack(logs), self.terms.offset)
        return np.exp(terms.evaluate(theta).log_prediction)

    def to_response(self, y: np.ndarray) -> np.ndarray:
        """Log y."""
        return np.log(y)

    def from_response(self, response: np.ndarray) -> np.ndarray:
        """Exp."""
        return np.exp(response)


def _pick(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Some resamples of (S, n) values; (n,) values are those of every resample."""
    return values if values.ndim == 1 else values[chosen]


def power_names(log_a: np.ndarray, slope: np.ndarray, offset: np.ndarray) -> dict[str, np.ndarray]:
    """E, alpha, beta of y = E + (beta x)^alpha from log A = alpha log beta; a flat law has no beta (0 or infinity)."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return {"E": offset, "alpha": slope, "beta": np.exp(log_a / slope), "A": np.exp(log_a)}


def optimum_names(names: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute-optimal allocation under C = 6 N D: N* = G (C/6)^a_opt, D* = (C/6)^b_opt / G."""
    alpha, beta = names["alpha"], names["beta"]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        total = alpha + beta
        log_g = (np.log(alpha * names["A"]) - np.log(beta * names["B"])) / total
        return {
            "a_opt": beta / total,
            "b_opt": alpha / total,
            "G": np.exp(log_g),
            "compute_exponent": alpha * beta / total,
        }


__all__ = ["LineEstimator", "NewtonEstimator", "log_epoch_gain", "optimum_names", "power_names"]
