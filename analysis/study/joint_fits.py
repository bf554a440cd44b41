"""The laws of one column in size and data together: Chinchilla's and its kin, and that of repeated data, as records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.errors import CannotFit
from analysis.laws.coupled import COUPLED, fit_coupled
from analysis.laws.law import Law
from analysis.laws.parametric import fit_chinchilla
from analysis.laws.plane import CHINCHILLA, EXACT, REPEATED
from analysis.laws.repeated import fit_repeated
from analysis.laws.tied import TIED, fit_tied
from analysis.rows.columns import Columns
from analysis.study.comparison import best_form
from analysis.study.fits import NOTHING, RESAMPLES, Fit, points_of, record_of
from analysis.study.fixing import Fixed
from analysis.study.record import LawRecord

LEAST_DELTA = 1e-4  # the laws of repeated data and of coupling have no form of absolute deviations


def against_both(
    table: pd.DataFrame,
    columns: Columns,
    target: str,
    conventions: dict,
    holdout: int,
    delta: float,
    key: int,
    fixed: Fixed = NOTHING,
) -> list[LawRecord]:
    """Chinchilla's form and the one with tied exponents, over all budgets; the coupled one where rows ask for it."""
    data = points_of(table, columns, y=target, x=columns.params, data=columns.data)
    inputs = (data["x"].to_numpy(), data["data"].to_numpy())
    y, runs = data["y"].to_numpy(), data["run"].to_numpy()
    words = {"params": conventions["N"], "data": conventions["D"]}

    def chinchilla(mask: np.ndarray) -> Law:
        given = inputs[0][mask], inputs[1][mask], y[mask], delta, runs[mask]
        law = fit_chinchilla(*given, conventions=words, fix=fixed.of(CHINCHILLA))
        return replace(law, resamples=RESAMPLES)

    def tied(mask: np.ndarray) -> Law:
        given = inputs[0][mask], inputs[1][mask], y[mask], runs[mask]
        law = fit_tied(*given, conventions=words, fix=fixed.of(TIED))
        return replace(law, resamples=RESAMPLES)

    def coupled(mask: np.ndarray) -> Law:
        given = inputs[0][mask], inputs[1][mask], y[mask], delta or LEAST_DELTA, runs[mask]
        return replace(fit_coupled(*given, conventions=words, fix=fixed.of(COUPLED)), resamples=RESAMPLES)

    records = [
        record_of(target, "params, data", None, CHINCHILLA.name, chinchilla, data, inputs, holdout, inputs[key]),
        record_of(target, "params, data", None, TIED.name, tied, data, inputs, holdout, inputs[key]),
    ]
    if holdout and _asks_for_coupling(records[0].law, coupled):
        bent = record_of(target, "params, data", None, COUPLED.name, coupled, data, inputs, holdout, inputs[key])
        if bent.backtests and best_form([*records, bent]) is bent:
            records.append(bent)
    return records


def _asks_for_coupling(plain: Law | None, coupled: Fit) -> bool:
    """Whether two more coefficients fit the rows better than chance lets them (Bayes's criterion), before a backtest.

    Rows of Chinchilla's law pass once in as many studies as there are rows; their held-out sizes then decide.
    """
    if plain is None or plain.noise_sd < EXACT:
        return False
    rows = len(plain.residuals)
    try:
        bent = coupled(np.ones(rows, bool))
    except CannotFit:
        return False
    more = len(bent.estimator.theta) - len(plain.estimator.theta)
    gain = np.log(np.square(plain.residuals).sum() / max(np.square(bent.residuals).sum(), rows * EXACT**2))
    return bool(rows * gain > more * np.log(rows))


def repeated(
    table: pd.DataFrame,
    columns: Columns,
    target: str,
    conventions: dict,
    holdout: int,
    delta: float,
    key: int,
    fixed: Fixed = NOTHING,
) -> list[LawRecord]:
    """The joint law in which repeated data wear out."""
    parts = {"x": columns.params, "data": columns.data, "unique": columns.unique, "epochs": columns.epochs}
    data = points_of(table, columns, y=target, **parts)
    inputs = tuple(data[part].to_numpy() for part in ("x", "unique", "epochs"))
    y, runs = data["y"].to_numpy(), data["run"].to_numpy()
    words = {"params": conventions["N"], "unique_data": conventions["U"], "epochs": conventions["epochs"]}

    def fit(mask: np.ndarray) -> Law:
        law = fit_repeated(
            *(values[mask] for values in inputs),
            y[mask],
            runs[mask],
            delta=delta or LEAST_DELTA,
            conventions=words,
            fix=fixed.of(REPEATED),
        )
        return replace(law, resamples=RESAMPLES)

    hidden = data[("x", "data")[key]].to_numpy()
    return [record_of(target, "params, data, epochs", None, REPEATED.name, fit, data, inputs, holdout, hidden)]
