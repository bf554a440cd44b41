"""The tied form beside given coefficients: E, a, b or eta pinned, the rest by least squares on the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.engine.collapse_rows import DesignPoints, few_rows
from analysis.engine.leastsquares import Model, minimize_squares, relative_excess
from analysis.engine.subspace import Subspace, subspace
from analysis.errors import CannotFit
from analysis.laws import pinned

CLOSE = 1e-6
LEAST_SHARE = 1e-3  # of the loss, at which a coefficient starts that a projection puts at 0
LOWEST = np.array([0.0, -np.inf, -np.inf, -np.inf])  # E, log a', log b', eta


@dataclass(frozen=True, eq=False)
class PinnedTied:
    """loss = E + a' n^-2eta + b' d^-2eta on centred sizes; theta is the coordinates left of (E, log a', log b', eta).

    Attributes:
        logs: (2, n) centred log N and log D.
        centres: what was subtracted.
        space: of the four, E, a' and b' counted in `unit`.
        unit: of the loss: its smallest.
        theta: (q,) optimum.
        scaled: (n,) loss over the unit.
        weights: (n,).
        given: what is pinned, by name.
        named: names of natural numbers and predictions, from (E, a', b', eta) in units of the loss.
    """

    logs: np.ndarray
    centres: tuple[float, float]
    space: Subspace
    unit: float
    theta: np.ndarray
    scaled: np.ndarray
    weights: np.ndarray
    given: tuple[str, ...]
    named: object

    @property
    def response(self) -> np.ndarray:
        """(n,) the loss itself."""
        return self.scaled * self.unit

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(n, q) in units of the loss."""
        return self._model(self.logs)(self.theta[None])[1][0] * self.unit

    @cached_property
    def residual(self) -> np.ndarray:
        """(n,) in units of the loss."""
        return self.response - self._model(self.logs)(self.theta[None])[0][0] * self.unit

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From the optimum."""
        logs, response, weights = few_rows(self.logs, response, weights)
        problems = len(response) if np.ndim(response) == 2 else len(np.atleast_2d(weights))
        begin, model, lowest = np.repeat(self.theta[None], problems, 0), self._model(logs), self.space.lowest(LOWEST)
        theta, _, converged = minimize_squares(model, begin, response / self.unit, weights, lowest)
        excess, _ = relative_excess(model, theta, response / self.unit, weights, lowest)
        return theta, converged | (excess < CLOSE)

    def few(self) -> tuple[PinnedTied, DesignPoints | None]:
        """On the design points."""
        return self, None

    def without_floor(self) -> None:
        """Not looked at: the interval of what is left is that of its own resamples."""

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """As the tied form has them."""
        return self.named.natural(self._tied(theta))

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        return self.named.predict(self._tied(theta), inputs)

    def to_response(self, y: np.ndarray) -> np.ndarray:
        """The loss itself."""
        return y

    def from_response(self, response: np.ndarray) -> np.ndarray:
        """The loss itself."""
        return response

    def _tied(self, theta: np.ndarray) -> np.ndarray:
        """(S, 4): E, a', b', eta in units of the loss."""
        whole = self.space.whole(theta)
        return np.column_stack([whole[:, 0] * self.unit, np.exp(whole[:, 1:3]) * self.unit, whole[:, 3]])

    def _model(self, logs: np.ndarray) -> Model:
        return self.space.model(_model(logs))


def pinned_tied(
    named, loss: np.ndarray, weights: np.ndarray, starts: np.ndarray, fix: Mapping[str, float]
) -> tuple[PinnedTied, dict[str, float], float, float]:
    """Fit what is left of the tied form.

    Args:
        named: a :class:`analysis.laws.tied.TiedEstimator` of the rows, for logs, centres and names.
        loss: (n,).
        weights: (n,).
        starts: (S, 4) (E, a', b', eta) to begin at.
        fix: by name.

    Returns:
        The estimator at its minimum, what is given, the relative excess, and how firm the minimum is.

    Raises:
        BadRequest: names or numbers that the form cannot have.
        CannotFit: ``offset_too_high`` of a floor above a row, ``not_converged``.
    """
    unit = float(loss[weights > 0].min())
    lift = [np.log(6.0) + 2 * centre for centre in named.centres]  # log a is log a' and eta times this
    equations = {
        "E": lambda value: (pinned.axis(0, 4), value / unit),
        "a": lambda value: (pinned.axis(1, 4) + pinned.axis(3, 4, lift[0]), np.log(value / unit)),
        "b": lambda value: (pinned.axis(2, 4) + pinned.axis(3, 4, lift[1]), np.log(value / unit)),
        "eta": lambda value: (pinned.axis(3, 4), value),
    }
    given = pinned.Pins(equations, {}).checked(fix, "the tied form")
    if "E" in given:
        pinned.below_all("E", given["E"], loss, weights)
    space = subspace([equations[name](value) for name, value in given.items()], 4)
    least = LEAST_SHARE * unit
    begin = np.column_stack([starts[:, 0] / unit, np.log(np.maximum(starts[:, 1:3], least) / unit), starts[:, 3]])
    model, lowest = space.model(_model(named.logs)), space.lowest(LOWEST)
    theta, cost, converged = minimize_squares(model, space.nearest(begin), loss / unit, weights, lowest, 400)
    best = int(np.argmin(np.where(np.isfinite(cost), cost, np.inf)))
    excess, firmness = relative_excess(model, theta[best][None], loss / unit, weights, lowest)
    if not converged[best] and excess[0] > CLOSE:
        words = f"no certified minimum beside what is given (relative excess {excess[0]:.1e}); fix another, or fewer"
        raise CannotFit("not_converged", words, float(excess[0]))
    if firmness[0] < pinned.UNDETERMINED**2:
        words = "beside what is given the rows do not tell the other coefficients apart: add sizes, or fix one more"
        raise CannotFit("too_few_sizes", words, float(firmness[0]))
    found = PinnedTied(named.logs, named.centres, space, unit, theta[best], loss / unit, weights, tuple(given), named)
    return found, given, float(excess[0]), float(firmness[0])


def _model(logs: np.ndarray) -> Model:
    def tied(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):
            size = np.exp(np.minimum(theta[:, 1:2] - 2 * theta[:, 3:] * logs[0], 500))
            data = np.exp(np.minimum(theta[:, 2:3] - 2 * theta[:, 3:] * logs[1], 500))
        slopes = [np.ones_like(size), size, data, -2 * (size * logs[0] + data * logs[1])]
        return theta[:, :1] + size + data, np.stack(slopes, 2)

    return tied
