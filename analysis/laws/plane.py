"""What every law over the plane of size and data is fitted with: checks, starts, exact minima, and the law made of one.

Residuals are log loss minus log prediction; the objective is their Huber sum at `delta` (in log units), their
absolute sum at delta 0, or half their squares at delta inf. Optima are exact and certified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.engine import newton, starts
from analysis.engine.absolute import minimize_absolute
from analysis.engine.collapse_rows import design_points
from analysis.engine.estimators import LOG_NO_FLOOR, NewtonEstimator
from analysis.engine.terms import PowerTerms, RepeatedTerms
from analysis.errors import CannotFit, Note
from analysis.laws import outliers
from analysis.laws.form import Form, Number
from analysis.laws.law import Certificate, ParametricLaw
from analysis.rows import checks

STARTS = 10
VANISHED = 1e-6
FADED = 1e-2  # share of E where a search that did not end was going
SHORTEST_OFF_RAY = 0.05  # sd of (log N, log D) across their common line: below, N and D are one variable
SHORT_OFF_RAY = 0.35  # a note: a factor 1.4 apart
AGREE = 1e-9
EXACT = 1e-11  # residuals of this size are rounding
SMOOTHING = 0.1  # resamples of a least-absolute fit: delta as a share of the residuals' robust spread


NO_FLOOR = Note("at_bound", "E is 0, its bound: the rows show no floor, so E has no lower limit", 0.0)
EXPONENTS = (Number("alpha", "N", -1.0), Number("beta", "D", -1.0))
CHINCHILLA = Form("chinchilla", (*EXPONENTS, Number("a_opt", tex=r"a_\mathrm{opt}")), "E")
REPEATED = Form("repeated data", (*EXPONENTS, Number("R", tex="R")), "E")


@dataclass(frozen=True)
class _Rows:
    """The checked rows of one fit, and how they are to be fitted.

    Attributes:
        inputs: what the law takes, each (n,), in its order.
        loss: (n,).
        weights: (n,).
        run_codes: (n,).
        delta: Huber's switch point.
        conventions: how the columns were counted.
    """

    inputs: tuple[np.ndarray, ...]
    loss: np.ndarray
    weights: np.ndarray
    run_codes: np.ndarray
    delta: float
    conventions: Mapping[str, str]


def _checked(columns: Mapping[str, object], loss, runs, weights, delta: float, conventions) -> _Rows:
    """Every input as numbers of one length; see :mod:`analysis.rows.checks` for the refusals."""
    inputs = {name: checks.column(name, values) for name, values in columns.items()}
    loss = checks.column("loss", loss)
    number = checks.same_length(**inputs, loss=loss)
    weights = checks.weights_or_ones(weights, number)
    codes = checks.run_codes(runs, number)
    return _Rows(tuple(inputs.values()), loss, weights, codes, _read_delta(delta), dict(conventions or {}))


def _centred(rows: _Rows, params: np.ndarray, data: np.ndarray) -> tuple[tuple[float, float], np.ndarray, list[float]]:
    """Weighted means of the logs, (2, n) logs less those, and the span of each."""
    used = rows.weights > 0
    logs = np.log(np.stack([params, data]))
    centres = (logs * rows.weights).sum(1) / rows.weights.sum()
    logs = logs - centres[:, None]
    spans = [max(float(np.ptp(values[used])), 1e-9) for values in logs]
    return (float(centres[0]), float(centres[1])), logs, spans


def _exponent_guesses(count: int, spans: list[float], seed: int) -> np.ndarray:
    """Exponents per unit of log, (count, 2): what the span of the data can tell apart."""
    unit = starts.exponent_starts(count, 2, np.random.default_rng(seed), 0.05, 1.0)
    return unit * np.minimum(12.0 / np.array(spans), 2.0)


def require_plane(
    params: np.ndarray,
    data: np.ndarray,
    weights: np.ndarray,
    parameters: int,
    third: np.ndarray | None = None,
    given: int = 0,
) -> tuple[Note, ...]:
    """Enough distinct (N, D) points, three sizes of each, not all on one curve; with `given` coefficients, just enough.

    Raises:
        CannotFit: ``too_few_sizes`` or ``one_ray``.
    """
    used = weights > 0
    log_params, log_data = np.log(params[used]), np.log(data[used])
    columns = [log_params, log_data] + ([np.log(third[used])] if third is not None else [])
    points = len(np.unique(np.round(np.stack(columns, 1), 9), axis=0))
    notes = checks.require_sizes(points, parameters - given, "(N, D) points")
    if given:  # whether what is left is determined shows at the minimum
        return notes
    for name, values in (("model sizes", params[used]), ("data sizes", data[used])):
        found = int(checks.group_sizes(values).max()) + 1
        if found < 3 and parameters > 4:
            raise CannotFit(
                "too_few_sizes",
                f"{found} distinct {name}; a floor, a coefficient and an exponent need three of "
                "each: add sizes, or tie the exponents",
                found,
            )
    cloud = np.cov(np.stack([log_params, log_data]), aweights=weights[used], ddof=0)
    across = float(np.sqrt(max(np.linalg.eigvalsh(cloud)[0], 0.0)))
    if across < SHORTEST_OFF_RAY:
        raise CannotFit(
            "one_ray",
            f"all runs lie on one line in (log N, log D), to within {across:.2g} (limit "
            f"{SHORTEST_OFF_RAY}): the effects of size and data cannot be told apart; add runs with another D/N",
            across,
        )
    if across < SHORT_OFF_RAY:
        notes += (
            Note(
                "one_ray",
                f"the runs lie near one line in (log N, log D), to within {across:.2g} (comfortable from "
                f"{SHORT_OFF_RAY}): exponents are badly determined; add runs with another D/N",
                across,
            ),
        )
    return notes


def _read_delta(delta: float) -> float:
    if delta is None or isinstance(delta, (bool, str)):
        raise ValueError(f"delta is {delta!r}; it is 0 (absolute deviations), a positive number of log units, or inf")
    delta = float(delta)
    if np.isnan(delta) or delta < 0:
        raise ValueError(f"delta is {delta}; it is 0 (absolute deviations), a positive number of log units, or inf")
    return delta


def _choose_starts(guesses: np.ndarray, terms: PowerTerms, rows: _Rows) -> np.ndarray:
    """The better half by projected cost and some of the rest, so that agreement of starts means something."""
    logs, loss, weights = terms.logs, rows.loss, rows.weights
    points = design_points(logs)
    if points is not None:
        logs, (loss, weights) = points.values, points.means(loss, weights)
    _, cost = starts.project(guesses, logs, loss, weights, terms.offset)
    order = np.argsort(cost)
    half = STARTS // 2
    rest = order[half :: max(1, (len(order) - half) // (STARTS - half))][: STARTS - half]
    chosen = starts.descend(guesses[np.concatenate([order[:half], rest])], logs, loss, weights, terms.offset)
    return starts.project(chosen, logs, loss, weights, terms.offset)[0]


@dataclass(frozen=True)
class _Solution:
    """The best of all starts, certified as a minimum or not."""

    theta: np.ndarray
    objective: float
    certificate: Certificate
    minimum: bool
    lost_floor: bool  # E ran towards 0: the form without it is the one to fit


def _solve(terms, theta: np.ndarray, rows: _Rows) -> _Solution:
    log_loss, weights, delta, within = np.log(rows.loss), rows.weights, rows.delta, 0.0

    def lost_floor(at: np.ndarray, limit: float) -> bool:
        return terms.offset and terms.evaluate(at[None]).shares[0].max() < limit

    if delta == 0:
        corner = minimize_absolute(terms, theta, log_loss, weights)
        # all starts join one smoothed path, so agreement is the path's
        slack = 1 - min(corner.largest_multiplier, 1.0)
        agree = len(theta) if corner.certified else 0
        certificate = Certificate(corner.stationarity, corner.stationarity, slack, len(theta), agree, corner.method)
        lost = lost_floor(corner.theta, VANISHED if corner.certified else FADED)
        return _Solution(corner.theta, corner.value, certificate, corner.certified, lost)
    points = design_points(terms.logs) if np.isinf(delta) and isinstance(terms, PowerTerms) else None
    if points is not None:
        terms, within = PowerTerms(points.values, terms.offset), points.within(log_loss, weights)
        log_loss, weights = points.means(log_loss, weights)
    found = newton.minimize(terms, theta, log_loss, weights, delta)
    if not found.converged.any() and np.isfinite(delta):
        # a corner that Newton circles: come from where the loss is smoother
        for factor in (30.0, 10.0, 3.0, 1.0):
            found = newton.minimize(terms, found.theta, log_loss, weights, factor * delta, 400)
    value = np.where(np.isfinite(found.value), found.value, np.inf) + within
    best = int(np.argmin(value))
    floor = 1e-26 * weights.sum()
    agreeing = int((value <= value[best] * (1 + AGREE) + floor).sum())
    minimum = bool(found.converged[best] or value[best] <= floor)
    if not minimum:
        better = np.flatnonzero(found.converged & (value <= value[best] * (1 + AGREE)))
        if len(better):
            best, minimum = int(better[0]), True
    eigenvalues = np.linalg.eigvalsh(np.nan_to_num(found.hessian[best]))
    scale = weights.sum() * (1.0 if np.isinf(delta) else delta)
    certificate = Certificate(
        float(np.abs(found.gradient[best]).max() / scale),
        float(found.decrement[best]),
        float(eigenvalues[0] / max(eigenvalues[-1], 1e-300)),
        len(theta),
        agreeing,
        "Newton, exact Hessian, projected starts",
    )
    lost = lost_floor(found.theta[best], VANISHED if minimum else FADED)
    return _Solution(found.theta[best], float(value[best]), certificate, minimum, lost)


def _require_minimum(solution: _Solution, logs: np.ndarray, rows: _Rows) -> None:
    """Refuse what is no certified minimum, and say why it ran away where the rows show it."""
    if solution.minimum:
        return
    root = np.sqrt(rows.weights)
    design = np.column_stack([np.ones(len(root)), *logs]) * root[:, None]
    slopes = np.linalg.lstsq(design, np.log(rows.loss) * root, rcond=None)[0][1:]
    for name, slope in zip(("model size", "data"), slopes, strict=True):
        if slope >= 0:
            raise CannotFit(
                "loss_rises",
                f"the loss rises with {name} (slope {slope:+.3g} in logs); the law describes a fall: check the columns "
                "and the recipe",
                float(slope),
            )
    excess = solution.certificate.excess
    raise CannotFit(
        "not_converged",
        f"the best of {solution.certificate.starts} starts is no certified minimum (relative excess {excess:.1e}); the "
        "rows hardly determine this form: use a simpler one, or a larger delta",
        excess,
    )


def _check_falls(terms, theta: np.ndarray, spans: list[float]) -> None:
    place = 1 if terms.offset else 0
    shares = terms.evaluate(theta[None]).shares
    for name, term, exponent, span in (
        ("model size", place, theta[place + 1], spans[0]),
        ("data", place + 1, theta[place + 3], spans[1]),
    ):
        if shares[term].max() < VANISHED:
            raise CannotFit(
                "at_bound", f"the term in {name} vanished: the loss does not depend on it in these rows", 0.0
            )
        if exponent <= 0:
            raise CannotFit(
                "loss_rises",
                f"the loss rises with {name} (exponent {exponent:.3g}); the law describes a fall: "
                "check the columns and the recipe",
                float(exponent),
            )
        if exponent * span * shares[term].max() < EXACT:
            raise CannotFit("loss_rises", f"the loss does not change with {name}: there is no law to fit", 0.0)
        if exponent * span > 40 or exponent > 20:
            raise CannotFit(
                "at_bound",
                f"the exponent of {name} ran to {exponent:.3g}: only its smallest value matters, so the "
                "form is not determined",
                float(exponent),
            )


def _law(
    shape: str,
    rows: _Rows,
    terms: PowerTerms | RepeatedTerms,
    centres: tuple[float, float],
    solution: _Solution,
    notes: tuple[Note, ...],
    pinned: Callable[[NewtonEstimator], NewtonEstimator] | None = None,
) -> ParametricLaw:
    log_loss, weights, delta, theta = np.log(rows.loss), rows.weights, rows.delta, solution.theta
    used = weights > 0
    residual = log_loss - terms.evaluate(theta[None]).log_prediction[0]
    spread = float(1.4826 * np.median(np.abs(residual[used])))
    refit_delta = delta
    if delta == 0:
        refit_delta = SMOOTHING * spread if spread > EXACT else np.inf  # through rows without noise all sums agree
    fitted = theta
    if pinned is None and not terms.offset:  # a floor on its bound is still fitted: resamples may have one
        terms, fitted = replace(terms, offset=True), np.append(LOG_NO_FLOOR, theta)
    estimator = NewtonEstimator(terms, centres, fitted, log_loss, weights, refit_delta, shape)
    estimator = estimator if pinned is None else pinned(estimator)
    names = {name: float(value[0]) for name, value in estimator.natural(estimator.theta[None]).items()}
    listed = ("E", "A", "B", "alpha", "beta") + (("R",) if shape == "repeated" else ())
    if delta == 0:
        words = "sum of weight x |log loss - log prediction|"
    elif np.isinf(delta):
        words = "half the sum of weight x (log loss - log prediction)^2"
    else:
        inside = float((weights * (np.abs(residual) <= delta)).sum() / weights.sum())
        words = (
            f"sum of weight x Huber(log loss - log prediction), delta {delta:g} in log units, {inside:.0%} of the rows "
            "inside it"
        )
    size_codes = checks.group_sizes(rows.inputs[0])
    return ParametricLaw(
        kind={"chinchilla": CHINCHILLA, "repeated": REPEATED}[shape],
        form={
            "chinchilla": "E + A/N^alpha + B/D^beta",
            "repeated": "E + A/N^alpha + B/D'^beta, D' = U (1 + R (1 - exp(-(epochs - 1)/R)))",
        }[shape],
        coefficients={name: names[name] for name in listed},
        objective=solution.objective,
        objective_definition=words,
        notes=notes + outliers.outlier_note(residual, len(theta), weights),
        rows_used=int(used.sum()),
        sizes=len(np.unique(size_codes[used])),
        certificate=solution.certificate,
        inputs=("params", "data") if shape == "chinchilla" else ("params", "unique_data", "epochs"),
        ranges=tuple((float(values[used].min()), float(values[used].max())) for values in rows.inputs),
        estimator=estimator,
        run_codes=rows.run_codes,
        size_codes=size_codes,
        conventions=rows.conventions,
    )
