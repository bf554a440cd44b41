"""y = E + (beta x)^alpha: the VAR paper's form (its Eq. 9), with no offset, a fixed one, or a fitted one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.engine import newton, starts
from analysis.engine.collapse_rows import design_points
from analysis.engine.estimators import LOG_NO_FLOOR, LineEstimator, NewtonEstimator
from analysis.engine.fixed_offsets import at_fixed_offsets
from analysis.engine.terms import PowerTerms
from analysis.errors import CannotFit, Note
from analysis.laws import outliers
from analysis.laws.form import Form, Number
from analysis.laws.law import Certificate, Law
from analysis.laws.pinned_power import pinned_power
from analysis.rows import checks

STARTS = 8
FIRST_STEPS = 30  # a descent that needs more is on its way to E = 0, or in trouble
FADED = 1e-2  # share of an offset where a search that did not end was going
VANISHED = 1e-6  # share of the prediction below which a term is no longer there
STEEPEST = 20.0  # an exponent beyond this only interpolates the smallest size
PLAIN = Form("power", (Number("alpha", "x"),))
OFFSET = Form("power + offset", (Number("alpha", "x"),), "E")


@dataclass(frozen=True)
class PowerLaw(Law):
    """A fitted E + (beta x)^alpha; alpha is below 0 for a falling loss.

    Attributes:
        offset: "none", "fixed" or "fit"; beside pinned coefficients "given" (E is one) or "beside given" (it is not).
        correlation: Pearson's r of log(y - E) against log x, none where a y lies below E; never evidence for an offset
            (laws.md, finding 4).
    """

    offset: str = "none"
    correlation: float = float("nan")

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """As :meth:`Law.interval`; a fitted offset on its bound 0 has the profile's upper limit."""
        if name == "E" and self.offset == "fit" and self.coefficients["E"] == 0:
            return 0.0, self.profile_interval(level)[1]
        return super().interval(name, level)

    def profile(self, points: int = 25, level: float = 0.95) -> pd.DataFrame:
        """Profile likelihood of the offset: the scan of fixed offsets that a single number hides.

        Args:
            points: offsets tried, from 0 to just below the smallest y.
            level: of the interval that `inside` marks.

        Returns:
            Columns E, objective, alpha, beta, inside (within the profile interval: objective below its minimum times
            1 + t^2/freedom).

        Raises:
            ValueError: the law has no fitted offset.
        """
        if self.offset != "fit":
            raise ValueError("only a law with a fitted offset has a profile; fit with offset='fit'")
        top, best = float(np.exp(self.estimator.response.min())), self.coefficients["E"]
        # dense near the optimum, and out to both ends
        inner = best + (top - best) * np.linspace(-1, 0.98, points)
        grid = np.unique(np.clip(np.concatenate([inner, np.linspace(0, 0.999 * top, points), [best]]), 0, 0.9995 * top))
        slope, log_a, cost = at_fixed_offsets(self.estimator, grid)
        with np.errstate(over="ignore", divide="ignore"):
            beta = np.exp(log_a / slope)
        inside = cost <= self._profile_limit(level)
        return pd.DataFrame({"E": grid, "objective": cost, "alpha": slope, "beta": beta, "inside": inside})

    def _profile_limit(self, level: float) -> float:
        freedom = max(self.freedom, 1)
        return self.objective * (1 + float(stdtrit(freedom, 0.5 + level / 2)) ** 2 / freedom)

    def profile_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Where the profile crosses its limit; 0 or the smallest y where it does not close."""
        limit = self._profile_limit(level)
        best, top = self.coefficients["E"], float(np.exp(self.estimator.response.min())) * (1 - 1e-6)

        def outside(offsets: np.ndarray) -> np.ndarray:
            return at_fixed_offsets(self.estimator, offsets)[2] > limit

        if at_fixed_offsets(self.estimator, np.array([best]))[2][0] >= limit:  # an exact law: the limit is its minimum
            return best, best
        ends = np.array([0.0, max(top, best)])
        inner, outer = np.array([best, best]), ends.copy()
        closes = outside(outer)
        for _ in range(12):  # sixteen points a step: to 1e-14 of the range
            steps = np.linspace(0, 1, 17)[:, None]
            tried = inner + steps * (outer - inner)
            beyond = outside(tried.ravel()).reshape(tried.shape)
            beyond[-1] = True
            first = beyond.argmax(0)
            inner, outer = (np.take_along_axis(tried, np.maximum(at, 0)[None], 0)[0] for at in (first - 1, first))
        low, high = np.where(closes, outer, ends)
        return float(low), float(high)


def fit_power_law(
    x,
    y,
    offset: str | float = "none",
    runs=None,
    *,
    weights=None,
    seed: int = 0,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> PowerLaw:
    """Fit y = E + (beta x)^alpha.

    Without an offset, or with a fixed one, this is the straight line of log(y - E) on log x, as in the VAR paper. A
    fitted offset is found on log y (log(y - E) would change its own yardstick with E), exactly, from several starts.

    Args:
        x: (n,) sizes, compute or data, above 0, any unit.
        y: (n,) losses or error rates, above 0.
        offset: "none" (E = 0), "fit", or the value of E.
        runs: (n,) name of the run that each row came from; None makes each row its own.
        weights: (n,) multiplicities; a row of weight 2 is that row twice.
        seed: of the random starts.
        conventions: how x and y were counted, kept on the law.
        fix: coefficients that are given and not fitted, by name (E, alpha, beta, A = beta^alpha), in the units of the
            inputs; every interval is then conditional on them, and the residuals are those of log y.

    Raises:
        CannotFit: ``not_positive``, ``not_finite``, ``too_few_sizes``, ``offset_too_high``, ``loss_rises``,
            ``at_bound``,
            ``not_converged``.
        ValueError: an unknown offset, or inputs of different lengths.
    """
    x, y = checks.column("x", x), checks.column("y", y)
    rows = checks.same_length(x=x, y=y)
    weights = checks.weights_or_ones(weights, rows)
    run_codes = checks.run_codes(runs, rows)
    kind, fixed = _read_offset(offset)
    if fix:
        if kind == "fixed":
            raise ValueError("fix and a fixed offset were both given; fix E with offset='fit' instead")
        return _pinned(x, y, kind, run_codes, weights, seed, conventions, fix)
    parameters = 3 if kind == "fit" else 2
    used = weights > 0
    size_codes = checks.group_sizes(x)
    sizes = len(np.unique(size_codes[used]))
    notes = checks.require_sizes(sizes, parameters, "sizes")
    if kind == "fixed" and fixed >= y[used].min():
        lowest = int(np.argmin(np.where(used, y, np.inf)))
        raise CannotFit(
            "offset_too_high",
            f"the offset {fixed:g} is not below the smallest y, {y[lowest]:g} ({checks.name_rows([lowest])}); what is "
            "left has no logarithm: give a smaller one, or fit it",
            fixed,
            (lowest,),
        )
    log_x = np.log(x)
    centre = float((weights * log_x).sum() / weights.sum())
    if kind == "fit":
        estimator, certificate, objective, more = _fit_offset(log_x - centre, centre, y, weights, seed)
        notes += more
    else:
        above = np.log(np.where(used, y - fixed, 1.0))  # a row of weight 0 may lie below the offset
        estimator = LineEstimator(log_x - centre, centre, fixed, above, weights)
        objective = 0.5 * float((weights * estimator.residual**2).sum())
        certificate = Certificate(0.0, 0.0, 1.0, 1, 1, "closed form")
    names = {name: float(value[0]) for name, value in estimator.natural(estimator.theta[None]).items()}
    spread = 1e-12 * max(1.0, float(np.abs(estimator.response).max()))
    if names["alpha"] > spread:
        raise CannotFit(
            "loss_rises",
            f"y rises with x (exponent {names['alpha']:+.3g}); the law describes a fall: check the "
            "columns (of an accuracy fit the error), or whether the larger models were trained to the same point",
            names["alpha"],
        )
    if abs(names["alpha"]) <= spread:
        raise CannotFit("loss_rises", "y does not change with x (exponent 0): there is no law to fit", 0.0)
    # a frontier through several budgets of a run has steps that are no run's fault
    ladder = kind == "fit" and int(run_codes.max()) + 1 == rows
    missed = outliers.missed_by_the_rest(estimator, x) if ladder else ()
    notes += outliers.outlier_note(estimator.residual, parameters, weights) or missed
    if kind == "fit":
        notes += _flat_profile(estimator, objective, int(weights.sum()) - parameters)
    above = y[used] - names["E"]
    correlation = float("nan")  # a loss below the floor has no logarithm, and the others' r is not that of the law
    if (above > 0).all():
        correlation = _correlation(log_x[used], np.log(above), weights[used])
    space = {"none": "log y", "fixed": f"log(y - {fixed:g})", "fit": "log y"}[kind]
    return PowerLaw(
        kind={"none": PLAIN, "fit": OFFSET}.get(kind) or fixed_offset(fixed),
        form={"none": "(beta x)^alpha", "fixed": f"{fixed:g} + (beta x)^alpha", "fit": "E + (beta x)^alpha"}[kind],
        coefficients={name: names[name] for name in ("E", "alpha", "beta")},
        objective=objective,
        objective_definition=f"half the sum of weight x squared residual of {space}",
        notes=notes,
        rows_used=int(used.sum()),
        sizes=sizes,
        certificate=certificate,
        inputs=("x",),
        ranges=((float(x[used].min()), float(x[used].max())),),
        estimator=estimator,
        run_codes=run_codes,
        size_codes=size_codes,
        conventions=dict(conventions or {}),
        offset=kind,
        correlation=correlation,
    )


def _pinned(
    x: np.ndarray, y: np.ndarray, kind: str, run_codes: np.ndarray, weights: np.ndarray, seed: int, conventions, fix
) -> PowerLaw:
    found = pinned_power(x, y, kind == "fit", run_codes, weights, seed, fix)
    used, size_codes = weights > 0, checks.group_sizes(x)
    names = {name: float(value[0]) for name, value in found.estimator.natural(found.estimator.theta[None]).items()}
    names |= found.given
    if names["alpha"] >= 0:
        raise CannotFit(
            "loss_rises", f"y rises with x (exponent {names['alpha']:+.3g}) beside what is given", names["alpha"]
        )
    above = y[used] - names["E"]
    straight = _correlation(np.log(x[used]), np.log(above), weights[used]) if (above > 0).all() else float("nan")
    form = PLAIN if kind == "none" else replace(OFFSET, floor_fitted="E" not in found.given)
    return PowerLaw(
        kind=form,
        form="(beta x)^alpha" if kind == "none" else "E + (beta x)^alpha",
        coefficients={name: names[name] for name in ("E", "alpha", "beta")},
        objective=found.objective,
        objective_definition="half the sum of weight x squared residual of log y",
        notes=found.notes,
        rows_used=int(used.sum()),
        sizes=len(np.unique(size_codes[used])),
        certificate=found.certificate,
        inputs=("x",),
        ranges=((float(x[used].min()), float(x[used].max())),),
        estimator=found.estimator,
        run_codes=run_codes,
        size_codes=size_codes,
        conventions=dict(conventions or {}),
        offset="given" if "E" in found.given else "none" if kind == "none" else "beside given",
        correlation=straight,
    )


def fixed_offset(value: float) -> Form:
    """The form with a given offset."""
    return Form(f"power + fixed offset {value:g}", (Number("alpha", "x"),), "E", floor_fitted=False)


def _read_offset(offset: str | float) -> tuple[str, float]:
    if isinstance(offset, str):
        if offset not in ("none", "fit"):
            raise ValueError(f"offset is {offset!r}; it is 'none', 'fit' or a number")
        return offset, 0.0
    if isinstance(offset, bool) or not np.isscalar(offset):
        raise ValueError(f"offset is {offset}; it is 'none', 'fit' or a number")
    value = float(offset)
    if not np.isfinite(value) or value < 0:
        raise ValueError(f"offset is {value}; a fixed offset is finite and not negative")
    return ("fixed", value) if value > 0 else ("none", 0.0)


def _fit_offset(
    log_x: np.ndarray, centre: float, y: np.ndarray, weights: np.ndarray, seed: int
) -> tuple[NewtonEstimator, Certificate, float, tuple[Note, ...]]:
    terms, log_y = PowerTerms(log_x[None], offset=True), np.log(y)
    few, mean, load, within = terms, log_y, weights, 0.0
    points = design_points(log_x[None])
    if points is not None:
        few, within = PowerTerms(points.values, offset=True), points.within(log_y, weights)
        mean, load = points.means(log_y, weights)
    rng = np.random.default_rng(seed)
    # exponents per unit of log x: the span of the data sets which are distinguishable
    span = max(float(np.ptp(log_x[weights > 0])), 1e-9)
    guesses = starts.exponent_starts(4 * STARTS, 1, rng, 0.1 / span, 8.0 / span)
    _, cost = starts.project(guesses, few.logs, np.exp(mean), load, True)
    order = np.argsort(cost)  # the better half, and some of the rest, so that their agreement means something
    chosen = guesses[np.concatenate([order[: STARTS // 2], order[STARTS // 2 :: 7][: STARTS - STARTS // 2]])]
    chosen = starts.descend(chosen, few.logs, np.exp(mean), load, True)
    theta, _ = starts.project(chosen, few.logs, np.exp(mean), load, True)
    found = newton.minimize(few, theta, mean, load, np.inf, FIRST_STEPS)
    lowest = found.theta[[np.argmin(found.value)]]
    if not found.converged[np.argmin(found.value)] and few.evaluate(lowest).shares[0].max() > FADED:
        found = newton.minimize(few, found.theta, mean, load, np.inf)
    value = np.where(np.isfinite(found.value), found.value, np.inf) + within
    best = int(np.argmin(value))
    plain = LineEstimator(log_x, centre, 0.0, log_y, weights)
    plain_cost = 0.5 * float((weights * plain.residual**2).sum())
    optimum = found.theta[best]
    share = float(few.evaluate(optimum[None]).shares[0].max())
    faded = share < VANISHED or (not found.converged[best] and share < FADED)
    exact = plain_cost <= 1e-24 * weights.sum()  # the straight line passes every row
    if exact or plain_cost <= value[best] * (1 + 1e-9) or (faded and plain_cost <= value[best] * (1 + 1e-3)):
        certificate = Certificate(0.0, 0.0, 1.0, STARTS, STARTS, "closed form at the bound E = 0")
        note = Note("at_bound", f"the fitted offset is 0, its bound: {_why_no_floor(log_x, log_y, weights)}", 0.0)
        line = np.array([LOG_NO_FLOOR, plain.theta[0], -plain.theta[1]])
        return (
            NewtonEstimator(terms, (centre,), line, log_y, weights, np.inf, "power"),
            certificate,
            plain_cost,
            (note,),
        )
    exponent = abs(optimum[2])
    if exponent > STEEPEST or exponent * span > 40:
        raise CannotFit(
            "at_bound",
            f"the exponent ran to {-optimum[2]:.3g}: beyond the smallest size the rows are flat, so "
            "offset and exponent cannot both be fitted; leave the offset out or fix it",
            -float(optimum[2]),
        )
    if not found.converged[best]:
        raise CannotFit(
            "not_converged",
            f"no start reached a certified minimum (relative excess {found.decrement[best]:.1e}); "
            "the rows hardly bend, or fall no more than they scatter; fix the offset, or leave it out",
            float(found.decrement[best]),
        )
    eigenvalues = np.linalg.eigvalsh(found.hessian[best])
    floor = 1e-26 * weights.sum()  # an exact law: objectives of rounding size all agree
    certificate = Certificate(
        float(np.abs(found.gradient[best]).max() / weights.sum()),
        float(found.decrement[best]),
        float(eigenvalues[0] / eigenvalues[-1]),
        STARTS,
        int((value <= value[best] * (1 + 1e-9) + floor).sum()),
        "Newton, exact Hessian, projected starts",
    )
    estimator = NewtonEstimator(terms, (centre,), optimum, log_y, weights, np.inf, "power")
    return estimator, certificate, float(value[best]), ()


def _why_no_floor(log_x: np.ndarray, log_y: np.ndarray, weights: np.ndarray) -> str:
    """Straight in logs, or bent the other way: an offset bends a law up."""
    basis = np.vander(log_x, 3) * np.sqrt(weights)[:, None]
    right = log_y * np.sqrt(weights)
    found = np.linalg.lstsq(basis, right, rcond=None)[0]
    freedom = max(int(weights.sum()) - 3, 1)
    variance = float(((right - basis @ found) ** 2).sum()) / freedom * np.linalg.pinv(basis.T @ basis)[0, 0]
    depth = -found[0] * float(np.ptp(log_x[weights > 0])) ** 2 / 4
    if depth > 1e-9 and -found[0] > float(stdtrit(freedom, 0.995)) * np.sqrt(max(variance, 0.0)):
        return (
            f"in logs the rows bend down, by {100 * np.expm1(depth):.2g} % at mid-range, and an offset bends a law up; "
            "this form does not describe them: look for two regimes, or a ceiling"
        )
    return "the rows show no upward curvature in logs, so E = 0 is the best that they say and no lower limit is meant"


def _flat_profile(estimator, objective: float, freedom: int) -> tuple[Note, ...]:
    """Whether E = 0 is inside the profile interval of the offset."""
    if estimator.theta[0] <= LOG_NO_FLOOR or freedom < 1:
        return ()
    plain = LineEstimator(estimator.terms.logs[0], estimator.centres[0], 0.0, estimator.response, estimator.weights)
    cost = 0.5 * float((estimator.weights * plain.residual**2).sum())
    limit = objective * (1 + float(stdtrit(freedom, 0.975)) ** 2 / freedom)
    if cost > limit:
        return ()
    ratio = cost / max(objective, 1e-300)
    return (
        Note(
            "flat_profile",
            f"no offset at all fits {ratio:.2f} times as badly, inside the 95 % limit of "
            f"{limit / max(objective, 1e-300):.2f}: the offset has no lower limit from these rows",
            ratio,
        ),
    )


def _correlation(log_x: np.ndarray, log_y: np.ndarray, weights: np.ndarray) -> float:
    total = weights.sum()
    dx, dy = log_x - (weights * log_x).sum() / total, log_y - (weights * log_y).sum() / total
    scale = np.sqrt((weights * dx**2).sum() * (weights * dy**2).sum())
    return float((weights * dx * dy).sum() / scale) if scale > 0 else float("nan")
