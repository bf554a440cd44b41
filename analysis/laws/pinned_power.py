"""The power law beside given coefficients: alpha, beta, A or E pinned, the rest by least squares on log y."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.engine import starts
from analysis.engine.estimators import NewtonEstimator
from analysis.engine.pinned import PinnedTerms
from analysis.engine.terms import PowerTerms
from analysis.errors import BadRequest, CannotFit
from analysis.laws import outliers, pinned
from analysis.laws.plane import NO_FLOOR, _Rows
from analysis.rows import checks

GUESSES = 32


@dataclass(frozen=True)
class PinnedPower:
    """What the law is made of: an estimator, its certificate and notes, and the given numbers with their signs."""

    estimator: Any
    certificate: Any
    objective: float
    notes: tuple
    given: dict[str, float]


def pinned_power(
    x: np.ndarray,
    y: np.ndarray,
    with_floor: bool,
    run_codes: np.ndarray,
    weights: np.ndarray,
    seed: int,
    fix: Mapping[str, float],
) -> PinnedPower:
    """Fit what is left of y = E + (beta x)^alpha.

    Raises:
        BadRequest: names or numbers that the form cannot have; E in a law without one.
        CannotFit: as :func:`analysis.laws.power.fit_power_law`.
    """
    if "E" in fix and not with_floor:
        raise BadRequest("E is fixed in a power law without an offset; ask for the one with a fitted offset")
    log_x = np.log(x)
    centre = float((weights * log_x).sum() / weights.sum())
    pins = _pins(centre, with_floor)
    given = pins.checked(fix, "the power law")
    if "E" in given:
        pinned.below_all("E", given["E"], y, weights)
    sizes = checks.group_sizes(x)
    number = len(np.unique(sizes[weights > 0]))
    notes = checks.require_sizes(number, (3 if with_floor else 2) - len(given), "sizes")
    rows = _Rows((x,), y, weights, run_codes, np.inf, {})
    logs = (log_x - centre)[None]
    span = max(float(np.ptp(logs[0][weights > 0])), 1e-9)
    guesses = starts.exponent_starts(GUESSES, 1, np.random.default_rng(seed), 0.1 / span, 8.0 / span)
    if "alpha" in given:
        guesses[:] = -given["alpha"]
    begin = pinned.starts_of(logs, guesses, rows, given.get("E"), with_floor)
    equations = tuple(pins.equations[name](value) for name, value in given.items())
    terms = PinnedTerms(PowerTerms(logs, with_floor), equations, with_floor and "E" not in given)
    left, solution, lost = pinned.minimum(terms, begin, rows)
    if not solution.minimum:
        raise CannotFit(
            "not_converged",
            f"no start reached a certified minimum (relative excess {solution.certificate.excess:.1e}) beside what is "
            "given; fix another coefficient, or fewer",
            solution.certificate.excess,
        )
    form = NewtonEstimator(PowerTerms(logs, with_floor), (centre,), solution.theta, np.log(y), weights, np.inf, "power")
    estimator = pinned.estimator_of(form, left, solution.theta, lost, given)
    notes += outliers.outlier_note(estimator.residual, len(solution.theta), weights)
    notes += (*((NO_FLOOR,) if lost else ()), pinned.note_of(given))
    return PinnedPower(estimator, solution.certificate, solution.objective, notes, given)


def _pins(centre: float, with_floor: bool) -> pinned.Pins:
    """In the parameters (log E,) a, and minus alpha."""
    place = 1 if with_floor else 0
    parameters = place + 2

    def level(scale: float) -> np.ndarray:
        return pinned.axis(place, parameters) + pinned.axis(place + 1, parameters, scale)

    equations = {
        "alpha": lambda value: (pinned.axis(place + 1, parameters), -value),
        "beta": lambda value: (level(centre + np.log(value)), 0.0),
        "A": lambda value: (level(centre), np.log(value)),
    }
    if with_floor:
        equations["E"] = lambda value: (pinned.axis(0, parameters), pinned.log_floor(value))
    return pinned.Pins(equations, {"alpha": -1.0})
