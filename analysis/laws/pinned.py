"""Laws some of whose coefficients are given: what else they need, in the forms that are sums of power laws.

A coefficient that somebody else measured better (E = 1.69, alpha = 0.34) is pinned, and the rest is fitted on the same
objective, exactly. Everything that the law then says is conditional on it, and the note `pinned` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from analysis.engine import newton, starts
from analysis.engine.estimators import LOG_NO_FLOOR, NewtonEstimator
from analysis.engine.pinned import PinnedEstimator, PinnedTerms
from analysis.engine.subspace import Equation
from analysis.errors import BadRequest, CannotFit, Note
from analysis.laws.law import Law, ParametricLaw
from analysis.laws.plane import NO_FLOOR, _check_falls, _law, _require_minimum, _Rows, _Solution, _solve
from analysis.rows import checks

UNDETERMINED = 1e-7  # a direction whose columns of the Jacobian are this small beside the others says nothing
ANY_NUMBER = ("p", "q", "kappa", "lambda")
FLOORS = ("E", "floor")

AnyLaw = TypeVar("AnyLaw", bound=Law)


@dataclass(frozen=True)
class Pins:
    """What a form may have pinned, as equations in the parameters that it fits.

    Attributes:
        equations: by name, value -> (vector (p,), number).
        signs: names whose size alone is taken, with the sign that the form has: a falling exponent.
    """

    equations: Mapping[str, Callable[[float], Equation]]
    signs: Mapping[str, float]

    def checked(self, given: Mapping[str, float], form: str) -> dict[str, float]:
        """Numbers that the form can have, with its signs.

        Raises:
            BadRequest: a name that the form has not, or a number that it cannot have.
        """
        found = {}
        for name, value in given.items():
            if name not in self.equations:
                raise BadRequest(f"{form} has no coefficient {name!r} to fix; it has {', '.join(self.equations)}")
            value = float(value)
            if name in self.signs:
                value = self.signs[name] * abs(value)
            lowest = "0 or above" if name in FLOORS else "above zero"
            possible = name in ANY_NUMBER or name in self.signs and value or value > 0 or name in FLOORS and value == 0
            if not (np.isfinite(value) and possible):
                raise BadRequest(f"{name} is fixed at {value:g}; in {form} it is a finite number {lowest}")
            found[name] = value
        return found


def axis(place: int, parameters: int, scale: float = 1.0) -> np.ndarray:
    """A unit vector, (p,)."""
    vector = np.zeros(parameters)
    vector[place] = scale
    return vector


def log_floor(value: float) -> float:
    """Of a given floor, 0 among them."""
    return float(np.log(value)) if value > 0 else LOG_NO_FLOOR


def below_all(name: str, value: float, y: np.ndarray, weights: np.ndarray) -> None:
    """Raise CannotFit where a given floor is not below every row."""
    used = np.where(weights > 0, y, np.inf)
    if value >= used.min():
        lowest = int(np.argmin(used))
        raise CannotFit(
            "offset_too_high",
            f"{name} is fixed at {value:g}, which is not below the smallest y, {y[lowest]:g} "
            f"({checks.name_rows([lowest])}); give a smaller one, or let it be fitted",
            value,
            (lowest,),
        )


def note_of(given: Mapping[str, float]) -> Note:
    """That every interval is conditional."""
    told = ", ".join(f"{name} = {value:g}" for name, value in given.items())
    words = f"{told} {'is' if len(given) == 1 else 'are'} given, not fitted: every interval is conditional on "
    return Note("pinned", words + ("it" if len(given) == 1 else "them"), float(len(given)))


def given_exponents(guesses: np.ndarray, given: Mapping[str, float], names: tuple[str, ...]) -> np.ndarray:
    """(S, k) exponents to start from, the given ones among them as they are."""
    guesses = np.array(guesses)
    for place, name in enumerate(names):
        if name in given:
            guesses[:, place] = given[name]
    return guesses


def starts_of(
    logs: np.ndarray, guesses: np.ndarray, rows: _Rows, floor: float | None, offset: bool = True
) -> np.ndarray:
    """The best of many exponents (S, k), the linear coefficients projected out beside a given floor; (s, p) with E."""
    loss, weights = rows.loss, rows.weights
    if floor is not None:
        loss = np.maximum(rows.loss - floor, 1e-12 * rows.loss)
        weights = weights * (loss / rows.loss) ** 2  # an error of log(y - E) is larger by that
    theta, cost = starts.project(guesses, logs, loss, weights, offset and floor is None)
    if floor is not None:
        theta = np.column_stack([np.full(len(theta), log_floor(floor)), theta])
    return theta[np.argsort(cost)[:16]]


def fit_on_plane(
    shape: str,
    rows: _Rows,
    terms: Any,
    centres: tuple[float, float],
    given: Mapping[str, float],
    pins: Pins,
    begin: np.ndarray,
    spans: list[float],
    notes: tuple[Note, ...],
    estimator: type[NewtonEstimator] = NewtonEstimator,
) -> ParametricLaw:
    """A law of :mod:`analysis.laws.plane` beside what is given.

    Args:
        shape: as :class:`NewtonEstimator` has it.
        rows: checked.
        terms: of the form, with a floor.
        centres: what was subtracted from the logs.
        given: checked by `pins`.
        pins: of the form.
        begin: (S, p) starts in the form's parameters.
        spans: of the logs.
        notes: what is known of the rows.
        estimator: the form's own.

    Raises:
        CannotFit: as the form; ``too_few_sizes`` where a direction of what is left has no effect on any row.
    """
    if "E" in given:
        below_all("E", given["E"], rows.loss, rows.weights)
    equations = tuple(pins.equations[name](value) for name, value in given.items())
    left, solution, lost = minimum(PinnedTerms(terms, equations, "E" not in given), begin, rows)
    if lost:
        notes += (NO_FLOOR,)
    _check_falls(left.inner, left.space.whole(solution.theta[None])[0], spans)
    _require_minimum(solution, terms.logs if hasattr(terms, "logs") else np.log(np.stack(rows.inputs[:2])), rows)
    law = _law(
        shape,
        rows,
        left,
        centres,
        solution,
        (*notes, note_of(given)),
        lambda form: estimator_of(_as(estimator, form), left, solution.theta, lost, given),
    )
    return told(law, given)


def told(law: AnyLaw, given: Mapping[str, float]) -> AnyLaw:
    """The law with what is given as it was given, to the last digit."""
    natural = law.estimator.natural(law.estimator.theta[None])
    listed = {name: float(natural[name][0]) for name in law.coefficients if name in natural}
    told_floor = law.kind is not None and law.kind.floor in given
    kind = replace(law.kind, floor_fitted=False) if told_floor else law.kind
    return replace(law, coefficients={**listed, **{name: v for name, v in given.items() if name in listed}}, kind=kind)


def _as(kind: type[NewtonEstimator], form: NewtonEstimator) -> NewtonEstimator:
    return kind(form.terms, form.centres, form.theta, form.response, form.weights, form.delta, form.shape)


def minimum(terms: PinnedTerms, begin: np.ndarray, rows: _Rows) -> tuple[PinnedTerms, _Solution, bool]:
    """The pinned minimum from starts (S, p) of the form with its floor; without a floor where it runs to 0.

    Returns:
        The terms that were fitted, the solution in their coordinates, and whether the floor was lost.
    """
    solution = _solve(terms, np.unique(terms.space.nearest(begin), axis=0), rows)
    lost = solution.lost_floor
    if lost:
        terms = replace(terms, offset=False)
        solution = _solve(terms, np.unique(terms.space.nearest(begin[:, 1:]), axis=0), rows)
    at = terms.evaluate(solution.theta[None])
    slopes = newton.log_jacobian(terms, at)[0] * np.sqrt(rows.weights)[:, None]
    slopes = slopes / np.maximum(np.sqrt((slopes**2).sum(0)), 1e-300)
    weakest = float(np.linalg.svd(slopes, compute_uv=False)[-1]) if len(slopes) >= slopes.shape[1] else 0.0
    if weakest < UNDETERMINED:
        raise CannotFit(
            "too_few_sizes",
            f"beside what is given the rows do not tell the other {terms.parameters} coefficients apart: add sizes or "
            "amounts of data, or fix one more",
            weakest,
        )
    return terms, solution, lost


def estimator_of(
    form: NewtonEstimator, terms: PinnedTerms, theta: np.ndarray, lost: bool, given: Mapping[str, float]
) -> PinnedEstimator:
    """Refits of a pinned law; a floor on its bound is still fitted, for resamples may have one."""
    if lost:
        terms, theta = replace(terms, offset=True), np.append(LOG_NO_FLOOR, theta)
    return PinnedEstimator(
        terms, form.centres, theta, form.response, form.weights, form.delta, form.shape, form, tuple(given)
    )
