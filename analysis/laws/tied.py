"""One exponent for both terms (Gadre et al. 2024): loss = E + (a M^eta + b M^-eta) C^-eta with M = D/N and C = 6 N D.

Since a M^eta C^-eta = a 6^-eta N^(-2 eta) and b M^-eta C^-eta = b 6^-eta D^(-2 eta), it is Chinchilla's form with both
exponents 2 eta. The fit is least squares on the loss itself, so for a given eta it is linear: the whole problem is one
dimension, solved to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from analysis.engine.collapse_rows import DesignPoints, few_rows, on_points
from analysis.engine.leastsquares import relative_excess, with_floor
from analysis.errors import CannotFit, Note
from analysis.laws import outliers, pinned
from analysis.laws.form import Form, Number
from analysis.laws.law import Certificate, ParametricLaw
from analysis.laws.pinned_tied import PinnedTied, pinned_tied
from analysis.laws.plane import require_plane
from analysis.rows import checks

VANISHED = 1e-9  # share of the loss below which a term is rounding
LOWEST = np.array([0.0, 0.0, 0.0, -np.inf])  # E, a', b', eta
CLOSE = 1e-6  # relative excess above which a fit is none
GRID = 64
REFIT_GRID = 24
BATCH_ROWS = 60_000  # of resamples worked off at a time, so that they stay in the cache
WIDEST = 12.0  # largest exponent tried, per unit of log span
# Which of (E, a, b) are above zero; a law needs a falling term. The first set holds all that may be.
FREE = ((0, 1, 2), (1, 2), (0, 1), (0, 2))
FREE_WITHOUT_FLOOR = ((1, 2), (1,), (2,))
TIED = Form("tied exponents", (Number("eta", "N, D", -2.0),), "E", additive=True)


@dataclass(frozen=True, eq=False)
class TiedEstimator:
    """loss = E + a' n^-2eta + b' d^-2eta on centred sizes; theta is (E, a', b', eta), response the loss itself.

    Attributes:
        logs: (2, n) centred log N and log D.
        centres: what was subtracted.
        theta: (4,) optimum; (3,) of a law without E.
        response: (n,) loss.
        weights: (n,).
        largest: largest eta tried.
    """

    logs: np.ndarray
    centres: tuple[float, float]
    theta: np.ndarray
    response: np.ndarray
    weights: np.ndarray
    largest: float

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(n, p)."""
        return _parts(with_floor(self.theta[None], 4), self.logs)[1][0][:, -len(self.theta) :]

    @cached_property
    def residual(self) -> np.ndarray:
        """(n,) in units of the loss."""
        return self.response - _parts(with_floor(self.theta[None], 4), self.logs)[0][0]

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps from the optimum, near which resamples lie; the whole range of eta where a floor vanishes."""
        logs, response, weights = few_rows(self.logs, *np.broadcast_arrays(*map(np.atleast_2d, (response, weights))))
        parameters = len(self.theta)
        free = FREE if parameters == 4 else FREE_WITHOUT_FLOOR
        theta = with_floor(np.repeat(self.theta[None], len(response), 0), 4)
        certified = np.zeros(len(response), bool)
        size = max(1, BATCH_ROWS // logs.shape[1])
        for begin in range(0, len(response), size):
            part = slice(begin, begin + size)
            theta[part], certified[part] = _polish(theta[part], logs, response[part], weights[part], free)
        rest = np.flatnonzero(~certified)
        if len(rest):
            found = _search(logs, response[rest], weights[rest], self.largest, REFIT_GRID, free)
            theta[rest], certified[rest] = found
        return theta[:, -parameters:], certified

    def few(self) -> tuple[TiedEstimator, DesignPoints | None]:
        """On the design points."""
        return on_points(self, self.logs, logs=lambda values: values)

    def without_floor(self) -> TiedEstimator | None:
        """Searched anew: its exponent is another."""
        if len(self.theta) == 3:
            return None
        given = few_rows(self.logs, self.response[None], self.weights[None])
        theta, certified = _search(*given, self.largest, GRID, FREE_WITHOUT_FLOOR)
        return replace(self, theta=theta[0, 1:]) if certified[0] and (theta[0, 1:3] > 0).all() else None

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """E, a, b, eta in Gadre's convention; derived: the exponent 2 eta and A, B of Chinchilla's form."""
        offset, a, b, eta = with_floor(theta, 4).T
        big_a, big_b = a * np.exp(2 * eta * self.centres[0]), b * np.exp(2 * eta * self.centres[1])
        half = np.full(len(theta), 0.5)
        return {
            "E": offset,
            "a": big_a * 6**eta,
            "b": big_b * 6**eta,
            "eta": eta,
            "alpha": 2 * eta,
            "A": big_a,
            "B": big_b,
            "a_opt": half,
            "compute_exponent": eta,
        }

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        offset, a, b, eta = (with_floor(theta, 4)[:, j, None] for j in range(4))
        logs = [np.log(values) - centre for values, centre in zip(inputs, self.centres, strict=True)]
        return offset + a * np.exp(-2 * eta * logs[0]) + b * np.exp(-2 * eta * logs[1])

    def to_response(self, y: np.ndarray) -> np.ndarray:
        """The loss itself."""
        return y

    def from_response(self, response: np.ndarray) -> np.ndarray:
        """The loss itself."""
        return response


def fit_tied(
    params,
    data,
    loss,
    runs=None,
    *,
    weights=None,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> ParametricLaw:
    """Fit loss = E + (a M^eta + b M^-eta) C^-eta, M = data/params, C = 6 params data, by least squares on the loss.

    Args:
        params: (n,) parameters.
        data: (n,) tokens or images seen.
        loss: (n,) losses, above 0.
        runs: (n,) name of the run that each row came from; None makes each row its own.
        weights: (n,) multiplicities; a row of weight 2 is that row twice.
        conventions: how the columns were counted, kept on the law.
        fix: coefficients that are given and not fitted, by name; every interval is then conditional on them.

    Returns:
        Coefficients E, a, b, eta; derived alpha = 2 eta, A, B.

    Raises:
        CannotFit: ``not_positive``, ``not_finite``, ``too_few_sizes``, ``one_ray``, ``loss_rises``, ``at_bound``.
        ValueError: inputs of different lengths.
    """
    params, data = checks.column("params", params), checks.column("data", data)
    loss = checks.column("loss", loss)
    rows = checks.same_length(params=params, data=data, loss=loss)
    weights = checks.weights_or_ones(weights, rows)
    run_codes = checks.run_codes(runs, rows)
    notes = require_plane(params, data, weights, parameters=4, given=len(fix or ()))
    used = weights > 0
    centres = tuple(float((weights * np.log(values)).sum() / weights.sum()) for values in (params, data))
    logs = np.stack([np.log(params) - centres[0], np.log(data) - centres[1]])
    span = max(float(np.ptp(values[used])) for values in logs)
    largest = WIDEST / span
    if fix:
        estimator, certificate, given = _pinned(logs, centres, loss, weights, largest, fix)
        notes += (pinned.note_of(given),)
    else:
        estimator, certificate, more = _free(logs, centres, loss, weights, largest)
        notes, given = notes + more, {}
    names = {name: float(value[0]) for name, value in estimator.natural(estimator.theta[None]).items()} | given
    notes += outliers.outlier_note(estimator.residual, len(estimator.theta), weights)
    size_codes = checks.group_sizes(params)
    return ParametricLaw(
        kind=replace(TIED, floor_fitted="E" not in given),
        form="E + (a M^eta + b M^-eta) C^-eta, M = D/N, C = 6 N D",
        coefficients={k: names[k] for k in ("E", "a", "b", "eta")},
        objective=0.5 * float((weights * estimator.residual**2).sum()),
        objective_definition="half the sum of weight x (loss - prediction)^2",
        notes=notes,
        rows_used=int(used.sum()),
        sizes=len(np.unique(size_codes[used])),
        certificate=certificate,
        inputs=("params", "data"),
        ranges=tuple((float(values[used].min()), float(values[used].max())) for values in (params, data)),
        estimator=estimator,
        run_codes=run_codes,
        size_codes=size_codes,
        conventions=dict(conventions or {}),
    )


def _free(
    logs: np.ndarray, centres: tuple[float, float], loss: np.ndarray, weights: np.ndarray, largest: float
) -> tuple[TiedEstimator, Certificate, tuple[Note, ...]]:
    """The minimum over all four coefficients; raises what :func:`fit_tied` does."""
    found, certified = _search(*few_rows(logs, loss[None], weights[None]), largest, GRID, FREE)
    theta, notes = found[0], ()
    estimator = TiedEstimator(logs, centres, theta, loss, weights, largest)
    terms = theta[1:3] * np.exp(-2 * theta[3] * logs).max(1)
    if (terms <= VANISHED * loss.min()).all():
        raise CannotFit("loss_rises", "neither term falls: the loss does not fall with size or data in these rows", 0.0)
    if not certified[0]:
        raise CannotFit(
            "at_bound",
            f"the exponent ran to an end of its range (eta {theta[3]:.3g}): the rows show no curvature, "
            "or only their smallest size matters",
            float(theta[3]),
        )
    for name, value in zip(("model size", "data"), theta[1:3], strict=True):
        if value <= 0:
            raise CannotFit("at_bound", f"the loss does not fall with {name} in these rows: its term is 0", 0.0)
    if theta[0] <= 0:
        notes += (Note("at_bound", "E is 0, its bound: the rows show no floor, so E has no lower limit", 0.0),)
    excess, firmness = (
        float(part[0]) for part in relative_excess(partial(_parts, logs=logs), theta[None], loss, weights, LOWEST)
    )
    if excess > CLOSE:
        raise CannotFit(
            "not_converged",
            f"no certified minimum (relative excess {excess:.1e}): the form does not describe these rows; does their "
            "loss fall with size and with data?",
            excess,
        )
    gradient = estimator.jacobian.T @ (weights * estimator.residual) * (theta != 0)
    certificate = Certificate(
        float(np.abs(gradient).max() / weights.sum()),
        excess,
        firmness,
        1,
        1,
        f"scan of {GRID} exponents, linear coefficients projected out, Gauss-Newton",
    )
    return estimator, certificate, notes


def _pinned(
    logs: np.ndarray, centres: tuple[float, float], loss: np.ndarray, weights: np.ndarray, largest: float, fix
) -> tuple[PinnedTied, Certificate, dict[str, float]]:
    """The minimum beside what is given, from exponents all over their range."""
    etas = np.full(1, float(fix["eta"])) if "eta" in fix else largest * np.linspace(0.004, 1.0, GRID // 4) ** 1.5
    floor = float(fix.get("E", 0.0))
    same = [np.broadcast_to(part, (len(etas), len(loss))) for part in (loss - floor, weights)]
    linear, _ = _project(etas, logs, *same, FREE_WITHOUT_FLOOR if "E" in fix else FREE)
    starts = np.column_stack([linear, etas])
    starts[:, 0] += floor
    named = TiedEstimator(logs, centres, starts[0], loss, weights, largest)
    estimator, given, excess, firmness = pinned_tied(named, loss, weights, starts, fix)
    slope = estimator.jacobian.T @ (weights * estimator.residual)
    certificate = Certificate(
        float(np.abs(slope).max() / weights.sum()), excess, firmness, len(starts), 1, "Levenberg-Marquardt"
    )
    return estimator, certificate, given


def _search(
    logs: np.ndarray,
    response: np.ndarray,
    weights: np.ndarray,
    largest: float,
    grid: int,
    free: tuple[tuple[int, ...], ...],
) -> tuple[np.ndarray, np.ndarray]:
    """The global minima of S problems: a grid over eta, golden section, and a polish; of (E, a, b) `free` ones.

    Returns:
        theta (S, 4), and (S,) whether the grid's best lies inside the range.
    """
    etas = largest * np.linspace(0.004, 1.0, grid) ** 1.5
    problems = len(response)

    def cost_at(eta: np.ndarray) -> np.ndarray:
        return _project(eta, logs, response, weights, free)[1]

    if problems == 1:
        same = [np.broadcast_to(part, (grid, logs.shape[1])) for part in (response, weights)]
        cost = _project(etas, logs, *same, free)[1][None]
    else:
        cost = np.stack([cost_at(np.full(problems, eta)) for eta in etas], 1)
    best = cost.argmin(1)
    inside = (best > 0) & (best < grid - 1)
    eta = _golden(cost_at, etas[np.maximum(best - 1, 0)], etas[np.minimum(best + 1, grid - 1)])
    linear, _ = _project(eta, logs, response, weights, free)
    return _polish(np.column_stack([linear, eta]), logs, response, weights, free)[0], inside


def _project(
    eta: np.ndarray, logs: np.ndarray, response: np.ndarray, weights: np.ndarray, free: tuple[tuple[int, ...], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Best non-negative (E, a', b') for one eta a problem, and half the sum of squares."""
    basis = np.stack([np.ones((len(eta), logs.shape[1])), *np.exp(-2 * eta[:, None] * logs[:, None, :])], 1)
    scale = np.sqrt(np.einsum("skn,sn->sk", basis**2, weights))
    basis = basis / scale[:, :, None]
    loaded = basis * weights[:, None, :]
    normal = np.matmul(loaded, basis.transpose(0, 2, 1))
    right = np.einsum("skn,sn->sk", loaded, response)
    best, cost = np.zeros_like(right), np.einsum("sn,sn->s", response**2, weights)
    left = np.arange(len(eta))  # all, then those that the free solution makes negative
    for names in free:
        chosen = list(names)
        block = normal[left][:, chosen][:, :, chosen] + 1e-15 * np.eye(len(chosen))
        answer = np.linalg.solve(block, right[left][:, chosen, None])[:, :, 0]
        residual = response[left] - np.einsum("sk,skn->sn", answer, basis[left][:, chosen])
        value = np.einsum("sn,sn->s", residual**2, weights[left])
        positive = (answer >= 0).all(1)
        better = positive & (value < cost[left])
        cost[left[better]] = value[better]
        best[left[better]] = 0.0
        best[np.ix_(left[better], chosen)] = answer[better]
        if names is free[0]:
            left = left[~positive]
            if not len(left):
                break
    return best / scale, 0.5 * cost


def _golden(cost, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Batched golden section; the projected cost has one minimum between neighbours of the grid's best."""
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    cost_left, cost_right = cost(left), cost(right)
    for _ in range(16):  # to 5e-4 of the bracket; the polish does the rest
        smaller = cost_left < cost_right
        high, low = np.where(smaller, right, high), np.where(smaller, low, left)
        new_right, new_left = (
            np.where(smaller, left, low + ratio * (high - low)),
            np.where(smaller, high - ratio * (high - low), right),
        )
        fresh = cost(np.where(smaller, new_left, new_right))
        cost_left, cost_right = np.where(smaller, fresh, cost_right), np.where(smaller, cost_left, fresh)
        left, right = new_left, new_right
    return (low + high) / 2


def _parts(theta: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (S, n) and Jacobian (S, n, 4)."""
    _, a, b, eta = (theta[:, j, None] for j in range(4))
    size, data = np.exp(-2 * eta * logs[0]), np.exp(-2 * eta * logs[1])
    prediction = theta[:, :1] + a * size + b * data
    jacobian = np.stack([np.ones_like(size), size, data, -2 * (a * size * logs[0] + b * data * logs[1])], 2)
    return prediction, jacobian


def _polish(
    theta: np.ndarray, logs: np.ndarray, response: np.ndarray, weights: np.ndarray, free: tuple[tuple[int, ...], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """A few Gauss-Newton steps, coefficients no lower than zero, and whether they ended at a minimum inside."""
    theta = np.array(theta)
    settled, above = np.zeros(len(theta), bool), list(free[0])
    given = ~np.isin(np.arange(4), (*free[0], 3))
    active = np.arange(len(theta))
    with np.errstate(over="ignore", invalid="ignore"):  # a step too far is turned down, not worth a warning
        for _ in range(12):
            at, y, load = theta[active], response[active], weights[active]
            tried, before = _step(at, np.broadcast_to(given, at.shape), logs, y, load)
            below = (tried < 0) & [True, True, True, False]
            over = below.any(1)
            if over.any():  # a step through zero would be turned down: from zero itself, the rest may go on
                from_zero = np.where(below[over], 0.0, at[over])
                tried[over], _ = _step(from_zero, given | below[over], logs, y[over], load[over])
                tried[over, :3] = np.maximum(tried[over, :3], 0.0)
            after = np.einsum("sn,sn->s", (y - _parts(tried, logs)[0]) ** 2, load)
            better = (after < before) & (tried[:, 3] > 0)
            settled[active] = (np.abs(tried - at) <= 1e-6 * np.abs(at)).all(1) & (at[:, above] > 0).all(1)
            theta[active[better]] = tried[better]
            active = active[better]
            if not len(active):
                break
    return theta, settled


def _step(
    at: np.ndarray, held: np.ndarray, logs: np.ndarray, response: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One Gauss-Newton step from `at` (S, 4), but for what is held or what zero holds; and the sum of squares there."""
    prediction, jacobian = _parts(at, logs)
    residual = response - prediction
    pull = np.einsum("snp,sn->sp", jacobian, weights * residual)
    jacobian = jacobian * ~(held | (at <= 0) & (pull <= 0))[:, None, :]
    scale = np.sqrt(np.einsum("snp,sn->sp", jacobian**2, weights))
    fixed = scale == 0
    scale = np.where(fixed, 1.0, scale)
    scaled = jacobian / scale[:, None, :]
    loaded = (scaled * weights[:, :, None]).transpose(0, 2, 1)
    # the ridge, far below any step, keeps the solver from dividing by zero
    normal = np.matmul(loaded, scaled) + (1e-15 + fixed)[:, :, None] * np.eye(4)
    right = np.einsum("spn,sn->sp", loaded, residual)
    step = np.linalg.solve(normal, right[:, :, None])[:, :, 0] / scale
    return at + step, np.einsum("sn,sn->s", residual**2, weights)
