"""E + A/N^alpha + B/D^beta (Hoffmann et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.engine.terms import PowerTerms
from analysis.laws import pinned
from analysis.laws.law import ParametricLaw
from analysis.laws.plane import (
    NO_FLOOR,
    STARTS,
    _centred,
    _check_falls,
    _checked,
    _choose_starts,
    _exponent_guesses,
    _law,
    _require_minimum,
    _solve,
    require_plane,
)


def fit_chinchilla(
    params,
    data,
    loss,
    delta: float = 1e-3,
    runs=None,
    *,
    weights=None,
    seed: int = 0,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> ParametricLaw:
    """Fit loss = E + A/params^alpha + B/data^beta on logs.

    Args:
        params: (n,) parameters, any unit.
        data: (n,) tokens or images seen, any unit.
        loss: (n,) losses, above 0.
        delta: Huber's switch point in log units; 0: least absolute deviations, inf: least squares on logs.
        runs: (n,) name of the run that each row came from; None makes each row its own.
        weights: (n,) multiplicities; a row of weight 2 is that row twice.
        seed: of the random starts.
        conventions: how params, data and loss were counted, kept on the law.
        fix: coefficients that are given and not fitted, by name (E, A, B, alpha, beta), in the units of the inputs;
            every interval is then conditional on them. Two sizes or one line of N and D may do where enough is given.

    Returns:
        Coefficients E, A, B, alpha, beta; derived a_opt = beta/(alpha+beta), b_opt, G (N* = G (C/6)^a_opt) and
        compute_exponent.

    Raises:
        CannotFit: ``not_positive``, ``not_finite``, ``too_few_sizes``, ``one_ray``, ``loss_rises``, ``at_bound``,
            ``not_converged``.
        ValueError: inputs of different lengths, a negative delta, or a coefficient that the form has not.
    """
    rows = _checked({"params": params, "data": data}, loss, runs, weights, delta, conventions)
    params, data = rows.inputs
    notes = require_plane(params, data, rows.weights, parameters=5, given=len(fix or ()))
    centres, logs, spans = _centred(rows, params, data)
    guesses = _exponent_guesses(4 * STARTS, spans, seed)
    terms = PowerTerms(logs, offset=True)
    if fix:
        pins = pins_of(centres)
        given = pins.checked(fix, "Chinchilla's form")
        guesses = pinned.given_exponents(guesses, given, ("alpha", "beta"))
        begin = pinned.starts_of(logs, guesses, rows, given.get("E"))
        return pinned.fit_on_plane("chinchilla", rows, terms, centres, given, pins, begin, spans, notes)
    solution = _solve(terms, _choose_starts(guesses, terms, rows), rows)
    if solution.lost_floor:
        terms = PowerTerms(logs, offset=False)
        solution = _solve(terms, _choose_starts(guesses, terms, rows), rows)
        notes += (NO_FLOOR,)
    _check_falls(terms, solution.theta, spans)
    _require_minimum(solution, logs, rows)
    return _law("chinchilla", rows, terms, centres, solution, notes)


def pins_of(centres: tuple[float, float], parameters: int = 5) -> pinned.Pins:
    """E, A, B, alpha, beta in the parameters (log E, a, alpha, b, beta, ...) of centred logs."""

    def unit(place: int, other: int = 0, scale: float = 0.0) -> np.ndarray:
        return pinned.axis(place, parameters) + pinned.axis(other, parameters, scale)

    return pinned.Pins(
        {
            "E": lambda value: (unit(0), pinned.log_floor(value)),
            "A": lambda value: (unit(1, 2, centres[0]), np.log(value)),
            "B": lambda value: (unit(3, 4, centres[1]), np.log(value)),
            "alpha": lambda value: (unit(2), value),
            "beta": lambda value: (unit(4), value),
        },
        {"alpha": 1.0, "beta": 1.0},
    )
