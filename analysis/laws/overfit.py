"""The law of repeated data that can rise: E + A/N^alpha + B/D'^beta + F (N/U)^kappa epochs^lambda.

D' as :func:`analysis.laws.repeated.fit_repeated` has it; F = 0 is that law, in which more passes never harm. A model
that is large for its unique data (U: those seen) learns them by heart: its loss rises, the earlier the larger it is. On
29 rows of three depths and four numbers of images (up to 74 epochs, loss up to 8.5) residuals fall from 10.4 % to
1.2 %, those of runs left out from a median of 4.8 % to 0.8 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.engine.estimators import NewtonEstimator
from analysis.engine.overfit_terms import OverfitTerms
from analysis.errors import CannotFit
from analysis.laws import pinned
from analysis.laws import plane as base
from analysis.laws.law import ParametricLaw
from analysis.laws.parametric import pins_of

TRIED = 60  # starts, drawn about the plain exponents and a rise that sets in late
# mean and spread of (log E, log A, log alpha, log B, log beta, log R, log F, kappa, lambda), parts over the loss
MEAN = np.array([-0.5, -1.5, np.log(0.3), -1.5, np.log(0.3), np.log(10.0), -5.0, 1.0, 1.5])
SPREAD = np.array([0.7, 1.0, 0.7, 1.0, 0.7, 1.2, 2.0, 0.7, 0.7])
LEVELS = np.array([1.0, 1, 0, 1, 0, 0, 1, 0, 0])
PARAMETERS = 9


@dataclass(frozen=True, eq=False)
class OverfitEstimator(NewtonEstimator):
    """The repeated law's refits, with three more names."""

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """E, A, B, alpha, beta, R, F, kappa, lambda."""
        names = super().natural(theta[:, :-3])
        names["F"] = np.exp(theta[:, -3] - theta[:, -2] * (self.centres[0] - self.centres[1]))
        return names | {"kappa": theta[:, -2], "lambda": theta[:, -1]}

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        size, unique, epochs = np.broadcast_arrays(*inputs)
        once = unique * np.minimum(epochs, 1.0)
        logs = np.log(size) - self.centres[0], np.log(once) - self.centres[1]
        terms = OverfitTerms(*logs, np.maximum(epochs - 1.0, 0.0), self.terms.offset)
        return np.exp(terms.evaluate(theta).log_prediction)


def fit_overfit(
    params,
    unique_data,
    epochs,
    loss,
    runs=None,
    *,
    delta: float = np.inf,
    weights=None,
    seed: int = 0,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> ParametricLaw:
    """Fit E + A/N^alpha + B/D'^beta + F (N/U)^kappa epochs^lambda on logs; arguments as :func:`fit_repeated`.

    `fix` may also name F, kappa and lambda.

    Returns:
        Coefficients E, A, B, alpha, beta, R, F, kappa, lambda.

    Raises:
        CannotFit: as :func:`fit_repeated`; ``not_converged`` where no row shows a rise that determines the last three.
    """
    columns = {"params": params, "unique_data": unique_data, "epochs": epochs}
    rows = base._checked(columns, loss, runs, weights, delta, conventions)
    size, unique, passes = rows.inputs
    notes = base.require_plane(size, unique * np.minimum(passes, 1.0), rows.weights, PARAMETERS, passes, len(fix or ()))
    centres, _, _ = base._centred(rows, size, unique * np.minimum(passes, 1.0))
    extra = np.maximum(passes - 1.0, 0.0)
    logs = np.log(size) - centres[0], np.log(unique * np.minimum(passes, 1.0)) - centres[1]
    spans = [max(float(np.ptp(values)), 1e-9) for values in (logs[0], logs[1] + np.log1p(extra))]
    starts = _starts(logs, extra, rows, seed)
    terms = OverfitTerms(*logs, extra)
    listed = ("E", "A", "B", "alpha", "beta", "R", "F", "kappa", "lambda")
    if fix:
        pins = _pins(centres)
        given = pins.checked(fix, "the law of repeated data that can rise")
        law = pinned.fit_on_plane("repeated", rows, terms, centres, given, pins, starts, spans, notes, OverfitEstimator)
        return _described(law, law.estimator, listed)
    solution = base._solve(terms, starts, rows)
    if solution.lost_floor:
        terms = OverfitTerms(*logs, extra, offset=False)
        solution = base._solve(terms, starts[:, 1:], rows)
        notes += (base.NO_FLOOR,)
    base._check_falls(terms, solution.theta, spans)
    if not solution.minimum:
        raise CannotFit(
            "not_converged",
            "no certified minimum: the rows show no rise that determines F, kappa and lambda; fit_repeated describes "
            "losses that level off",
            solution.certificate.excess,
        )
    law = base._law("repeated", rows, terms, centres, solution, notes)
    fit = law.estimator
    estimator = OverfitEstimator(fit.terms, fit.centres, fit.theta, fit.response, fit.weights, fit.delta, "repeated")
    return _described(law, estimator, listed)


def _described(law: ParametricLaw, estimator: NewtonEstimator, listed: tuple[str, ...]) -> ParametricLaw:
    natural = {name: float(value[0]) for name, value in estimator.natural(estimator.theta[None]).items()}
    natural |= {name: law.coefficients[name] for name in law.given if name in law.coefficients}
    return replace(
        law,
        form=law.form.replace("B/D'^beta,", "B/D'^beta + F (N/U)^kappa epochs^lambda,"),
        coefficients={name: natural[name] for name in listed},
        estimator=estimator,
    )


def _pins(centres: tuple[float, float]) -> pinned.Pins:
    """Of the repeated law, and F, kappa, lambda."""
    plain = pins_of(centres, PARAMETERS)
    crowd = centres[0] - centres[1]
    own = {
        "R": lambda value: (pinned.axis(5, PARAMETERS), np.log(value)),
        "F": lambda value: (pinned.axis(6, PARAMETERS) + pinned.axis(7, PARAMETERS, -crowd), np.log(value)),
        "kappa": lambda value: (pinned.axis(7, PARAMETERS), value),
        "lambda": lambda value: (pinned.axis(8, PARAMETERS), value),
    }
    return pinned.Pins({**plain.equations, **own}, plain.signs)


def _starts(logs: tuple[np.ndarray, np.ndarray], extra: np.ndarray, rows, seed: int) -> np.ndarray:
    """(S, 9) with positive exponents, each as near the rows as a bounded search in their logs comes."""
    from scipy.optimize import least_squares

    terms, y, root = OverfitTerms(*logs, extra), np.log(rows.loss), np.sqrt(rows.weights)

    def theta_of(phi: np.ndarray) -> np.ndarray:
        theta = phi.copy()
        theta[[2, 4]] = np.exp(phi[[2, 4]])
        return theta

    rng, middle, found = np.random.default_rng(seed), MEAN + LEVELS * float(np.median(y)), []
    for _ in range(base.STARTS):
        begin = middle + SPREAD * rng.normal(size=(TRIED, len(MEAN))) * 0.7
        cost = [np.square(root * (terms.evaluate(theta_of(phi)[None]).log_prediction[0] - y)).sum() for phi in begin]
        best = begin[int(np.argmin(cost))]
        answer = least_squares(
            lambda phi: root * (terms.evaluate(theta_of(phi)[None]).log_prediction[0] - y),
            best,
            bounds=(middle - 6 * SPREAD, middle + 6 * SPREAD),
            max_nfev=200,
        )
        found.append(theta_of(answer.x))
    return np.stack(found)
