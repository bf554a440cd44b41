"""Data seen again wear out: E + A/N^alpha + B/D'^beta, D' = U (1 + R (1 - exp(-(epochs - 1)/R))).

Source: Muennighoff et al. 2023 (arXiv 2305.16264), the data half of their law. Fitted as
:mod:`analysis.laws.parametric` fits Chinchilla's form, which it becomes at either end of R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.engine import starts
from analysis.engine.terms import PowerTerms, RepeatedTerms, log_epoch_gain
from analysis.errors import CannotFit, Note
from analysis.laws import pinned
from analysis.laws.law import ParametricLaw
from analysis.laws.parametric import pins_of
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
    _Rows,
    _Solution,
    _solve,
    require_plane,
)


def fit_repeated(
    params,
    unique_data,
    epochs,
    loss,
    runs=None,
    *,
    delta: float = 1e-3,
    weights=None,
    seed: int = 0,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> ParametricLaw:
    """Fit loss = E + A/params^alpha + B/D'^beta with D' = U (1 + R (1 - exp(-(epochs - 1)/R))).

    R says after how many repetitions an image is worth no more: at R epochs the e-fold of its use is gone.

    Args:
        params: (n,) parameters.
        unique_data: (n,) unique tokens or images U.
        epochs: (n,) passes over them; below 1 the data seen are U x epochs and nothing repeats.
        loss: (n,) losses, above 0.
        runs: (n,) name of the run that each row came from; None makes each row its own.
        delta: Huber's switch point in log units; inf for least squares.
        weights: (n,) multiplicities.
        seed: of the random starts.
        conventions: how the columns were counted, kept on the law.
        fix: coefficients that are given and not fitted, by name; every interval is then conditional on them.

    Returns:
        Coefficients E, A, B, alpha, beta, R.

    Raises:
        CannotFit: as :func:`fit_chinchilla`; also ``too_few_sizes`` where no data repeat.
    """
    columns = {"params": params, "unique_data": unique_data, "epochs": epochs}
    rows = _checked(columns, loss, runs, weights, delta, conventions)
    if rows.delta == 0:
        raise ValueError("fit_repeated has no least-absolute form; use a small delta such as 1e-4")
    params, unique, epochs = rows.inputs
    used = rows.weights > 0
    # less than one pass: that share of the images was seen once
    seen_once = unique * np.minimum(epochs, 1.0)
    extra = np.maximum(epochs - 1.0, 0.0)
    distinct = len(np.unique(np.round(epochs[used], 9)))
    if (distinct < 3 or not (extra[used] > 0).any()) and "R" not in (fix or ()):
        raise CannotFit(
            "too_few_sizes",
            f"{distinct} distinct epoch counts; the reuse constant needs at least three, some "
            "above 1: repeat a part of the data",
            distinct,
        )
    notes = require_plane(
        params, seen_once * (1 + extra), rows.weights, parameters=6, third=epochs, given=len(fix or ())
    )
    centres, (log_params, log_unique), _ = _centred(rows, params, seen_once)
    seen = log_unique + np.log1p(extra)
    spans = [max(float(np.ptp(values[used])), 1e-9) for values in (log_params, seen)]
    guesses = _exponent_guesses(3 * STARTS, spans, seed)
    terms = RepeatedTerms(log_params, log_unique, extra)
    if fix:
        plain = pins_of(centres, 6)
        pins = pinned.Pins({**plain.equations, "R": lambda value: (pinned.axis(5, 6), np.log(value))}, plain.signs)
        given = pins.checked(fix, "the law of repeated data")
        guesses = pinned.given_exponents(guesses, given, ("alpha", "beta"))
        begin = _pinned_starts(terms, guesses, rows, given)
        return pinned.fit_on_plane("repeated", rows, terms, centres, given, pins, begin, spans, notes)
    solution = _solve(terms, _repeated_starts(terms, guesses, rows), rows)
    if solution.lost_floor:
        terms = RepeatedTerms(log_params, log_unique, extra, offset=False)
        solution = _solve(terms, _repeated_starts(terms, guesses, rows), rows)
        notes += (NO_FLOOR,)
    most, least = float(extra[used].max()), float(extra[used][extra[used] > 0].min())
    if not solution.minimum or not 0.01 * least < np.exp(solution.theta[-1]) < 100 * most:
        solution = _reuse_at_its_bound(solution, terms, guesses, rows, (1e-6 * least, 1e8 * most))
    _check_falls(terms, solution.theta, spans)
    _require_minimum(solution, np.stack([log_params, seen]), rows)
    reuse = float(np.exp(solution.theta[-1]))
    if reuse > 30 * most:
        notes += (
            Note(
                "at_bound",
                f"the reuse constant ran to {reuse:.3g}, far beyond the {most + 1:g} epochs seen: repeated "
                "data were as good as new ones here, so R has no upper limit",
                reuse,
            ),
        )
    elif reuse < 0.02 * least:
        notes += (
            Note(
                "at_bound",
                f"the reuse constant ran to {reuse:.3g}: repeated data were worth nothing here, so R has no "
                "lower limit",
                reuse,
            ),
        )
    return _law("repeated", rows, terms, centres, solution, notes)


def _repeated_starts(terms: RepeatedTerms, guesses: np.ndarray, rows: _Rows) -> np.ndarray:
    """Projected starts at several reuse constants around the epochs seen."""
    most = max(float(terms.extra_epochs.max()), 1e-3)
    best = []
    for reuse in most * np.array([0.03, 0.1, 0.3, 1.0, 3.0]):
        gain, _, _ = log_epoch_gain(terms.extra_epochs, np.log(reuse))
        logs = np.stack([terms.log_params, terms.log_unique + gain])
        _, cost = starts.project(guesses, logs, rows.loss, rows.weights, terms.offset)
        near = starts.descend(guesses[np.argsort(cost)[:3]], logs, rows.loss, rows.weights, terms.offset)
        theta, _ = starts.project(near, logs, rows.loss, rows.weights, terms.offset)
        best.append(np.column_stack([theta, np.full(len(theta), np.log(reuse))]))
    return np.concatenate(best)


def _pinned_starts(terms: RepeatedTerms, guesses: np.ndarray, rows: _Rows, given: Mapping[str, float]) -> np.ndarray:
    """(S, 6), at several reuse constants or the one that is given."""
    most = max(float(terms.extra_epochs.max()), 1e-3)
    begin = []
    for reuse in [given["R"]] if "R" in given else most * np.array([0.03, 0.1, 0.3, 1.0, 3.0]):
        gain, _, _ = log_epoch_gain(terms.extra_epochs, np.log(reuse))
        logs = np.stack([terms.log_params, terms.log_unique + gain])
        theta = pinned.starts_of(logs, guesses, rows, given.get("E"))
        begin.append(np.column_stack([theta, np.full(len(theta), np.log(reuse))]))
    return np.concatenate(begin)


def _reuse_at_its_bound(
    solution: _Solution, terms: RepeatedTerms, guesses: np.ndarray, rows: _Rows, ends: tuple[float, float]
) -> _Solution:
    """Where R runs off, repeated data are as good as new or worth nothing: that limit is Chinchilla's form."""
    best = solution
    for reuse in ends:
        gain, _, _ = log_epoch_gain(terms.extra_epochs, np.log(reuse))
        limit = PowerTerms(np.stack([terms.log_params, terms.log_unique + gain]), terms.offset)
        tried = _solve(limit, _choose_starts(guesses, limit, rows), rows)
        # the limit has to be as good as what ran towards it
        if tried.minimum and tried.objective <= best.objective * (1 + 1e-4) + 1e-15 * rows.weights.sum():
            best = replace(tried, theta=np.append(tried.theta, np.log(reuse)))
    return best
