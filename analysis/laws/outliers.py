"""Rows that lie where no other row leads one to expect them, by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from analysis.engine.estimators import NewtonEstimator
from analysis.errors import Note
from analysis.rows import checks

MOST_LEFT_OUT = 40  # rows of a ladder that are left out one by one; among more, one pulls less
MATERIAL = 0.05  # in logs: less than that is no diverged run, whatever its odds


def outlier_note(residuals: np.ndarray, parameters: int, weights: np.ndarray | None = None) -> tuple[Note, ...]:
    """Name rows whose residual is far beyond the spread of the others.

    The spread is the median absolute deviation, which half of the rows would have to spoil; the threshold is the
    Student quantile for one false alarm in a thousand fits of this size.
    """
    rows = len(residuals)
    freedom = rows - parameters
    if freedom < 3:
        return ()
    centred = residuals - np.median(residuals)
    spread = 1.4826 * np.median(np.abs(centred)) * np.sqrt(rows / freedom)
    if spread <= 1e-12 * max(1.0, np.abs(residuals).max()):  # half of the rows are hit exactly: no scale to judge by
        return ()
    score = np.abs(centred) / spread
    threshold = -float(stdtrit(freedom, 0.0005 / rows))
    bad = np.flatnonzero(score > threshold)
    if weights is not None:
        bad = bad[weights[bad] > 0]
    if not len(bad):
        return ()
    worst = float(score[bad].max())
    return (
        Note(
            "outliers",
            f"{checks.name_rows(bad)}: residual up to {worst:.1f} robust standard deviations (limit "
            f"{threshold:.1f}); look at those runs before you trust the law",
            worst,
            tuple(int(row) for row in bad),
        ),
    )


def missed_by_the_rest(estimator: NewtonEstimator, x: np.ndarray) -> tuple[Note, ...]:
    """`outliers`: rows that the law of all other rows misses, where each size has one.

    An end of a ladder pulls three parameters onto itself and leaves no residual: each row is left out, the law fitted
    again and the row's distance told in standard deviations of a new row there (Student's, two sides, 1 % over all
    rows), if it is large enough to matter.
    """
    rows, parameters = len(x), len(estimator.theta)
    freedom = rows - 1 - parameters
    if freedom < 1 or rows > MOST_LEFT_OUT or (estimator.weights != 1).any() or estimator.few()[1] is not None:
        return ()
    keep = 1.0 - np.eye(rows)
    theta, certified = estimator.refit(estimator.response, keep)
    missed = estimator.response - np.log(estimator.predict(theta, (x,)))
    spread = np.sqrt((keep * missed**2).sum(1) / freedom)
    away = np.diagonal(missed)
    odds = np.zeros(rows)
    for row in np.flatnonzero(certified):
        slopes = replace(estimator, theta=theta[row]).jacobian
        others = np.delete(slopes, row, 0)
        leverage = float(slopes[row] @ np.linalg.pinv(others.T @ others) @ slopes[row])
        odds[row] = abs(away[row]) / max(spread[row] * np.sqrt(1 + leverage), 1e-300)
    limit = float(stdtrit(freedom, 1 - 0.005 / rows))
    bad = np.flatnonzero((odds > limit) & (np.abs(away) > MATERIAL))
    if not len(bad):
        return ()
    worst = int(bad[np.argmax(odds[bad])])
    side = "above" if away[worst] > 0 else "below"
    words = (
        f"{checks.name_rows([worst])}: {100 * abs(np.expm1(away[worst])):.3g} % {side} the law of all other rows, "
        f"{odds[worst]:.3g} standard deviations (limit {limit:.3g}); look at that run before you trust the law"
    )
    return (Note("outliers", words, float(odds[worst]), (worst,)),)
