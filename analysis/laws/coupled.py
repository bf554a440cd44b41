"""E + A/N^alpha + B(N)/D^beta(N): what data are worth, and how fast that fades, depends on size.

    loss = E + A/N^alpha + B (N/N0)^p / (D/D0)^(beta (N/N0)^q)

N0 and D0 are the middles of the rows (geometric means): B is the data's part of the loss there, beta its exponent
there. p = q = 0 is Chinchilla's law, so rows that need no coupling give p and q whose intervals hold 0. The exponent is
a power of N, not a line in log N, for a line turns negative beyond the rows, where laws are asked. Of those tried on
Farseer's 404 runs (arXiv 2506.10972) it predicts seven larger runs best: R2 0.944, against 0.803 with a line, 0.899
for a power of the sum of both terms (six coefficients), 0.817 and 0.309 with only p or only a line's q, and -1.76
without any coupling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from analysis.engine import newton
from analysis.engine.coupled_terms import STEEPEST, CoupledTerms
from analysis.engine.estimators import LOG_NO_FLOOR, NewtonEstimator
from analysis.engine.terms import PowerTerms
from analysis.errors import CannotFit, Note
from analysis.laws import pinned
from analysis.laws.form import Form, Number
from analysis.laws.law import ParametricLaw
from analysis.laws.parametric import pins_of
from analysis.laws.plane import (
    AGREE,
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

# the exponents of its data's part in N; its best size's exponent is another at every budget
COUPLINGS_READ = (Number("p", "B: N"), Number("q", "beta: N"))
COUPLED = Form("coupled", (Number("alpha", "N", -1.0), Number("beta", "D", -1.0), *COUPLINGS_READ), "E")
PARAMETERS = 7
COUPLINGS = ((0.0, 0.0), (0.2, -0.1), (-0.2, 0.1), (0.1, 0.0), (0.0, 0.05))  # (p, q) that the search starts from
FAR = 1e3  # factor beyond the rows' sizes within which the best size is searched
SEARCH_GRID = 33  # sizes tried at a time
SEARCH_WIDTH = 1e-6  # of log N at which the search ends
DESCENT = 25  # steps with the linear coefficients projected out
FEWEST_SIZES = 4  # of each: a line through three exponents would be no law of them


@dataclass(frozen=True, eq=False)
class CoupledEstimator(NewtonEstimator):
    """The same refits as every sum of power laws; other names and inputs."""

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """E, A, B, alpha, beta, p, q; and N0, D0, where B and beta are meant."""
        place = 1 if self.terms.offset else 0
        a, alpha, b, beta, lift, drift = (theta[:, place + j] for j in range(6))
        return {
            "E": np.exp(theta[:, 0]) if place else np.zeros(len(theta)),
            "A": np.exp(a + alpha * self.centres[0]),
            "B": np.exp(b),
            "alpha": alpha,
            "beta": beta,
            "p": lift,
            "q": drift,
        }

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        logs = [np.log(values) - centre for values, centre in zip(inputs, self.centres, strict=True)]
        terms = CoupledTerms(np.stack(np.broadcast_arrays(*logs)), self.terms.offset)
        return np.exp(terms.evaluate(theta).log_prediction)

    def _along_the_valley(
        self, terms: CoupledTerms, begin: np.ndarray, response: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Down where Newton crawls, between floor and exponents: the linear coefficients projected out; (S, p)."""
        if not terms.offset:
            return begin
        tried = _descend(terms.logs, begin, response, weights)
        values = [newton.objective(terms, theta, response, weights, self.delta) for theta in (begin, tried)]
        return np.where((values[1] < values[0])[:, None], tried, begin)


@dataclass(frozen=True)
class CoupledLaw(ParametricLaw):
    """Its best size for a budget has no closed form: it is searched along the budget, within FAR of the rows."""

    def _optimum(self, theta: np.ndarray, budget: float, cost: float) -> dict[str, np.ndarray]:
        fit, theta = self.estimator.whole(theta)
        at = theta if fit.terms.offset else np.column_stack([np.full(len(theta), LOG_NO_FLOOR), theta])
        floor, a, alpha, b, beta, lift, drift = at.T[:, :, None]

        def losses(log_size: np.ndarray) -> np.ndarray:
            size, data = log_size - fit.centres[0], np.log(budget / cost) - log_size - fit.centres[1]
            bent = np.exp(np.clip(drift * size, -STEEPEST, STEEPEST)) * data
            return np.exp(floor) + np.exp(a - alpha * size) + np.exp(b + lift * size - beta * bent)

        ends = np.log(self.ranges[0][0] / FAR), np.log(self.ranges[0][1] * FAR)
        sizes = np.repeat(np.linspace(*ends, SEARCH_GRID)[None], len(theta), 0)
        while True:
            values = losses(sizes)
            best = values.argmin(1)[:, None]
            if np.ptp(sizes[0]) < SEARCH_WIDTH:
                break
            inner = np.clip(best, 1, SEARCH_GRID - 2)
            low, high = (np.take_along_axis(sizes, inner + side, 1)[:, 0] for side in (-1, 1))
            sizes = np.linspace(low, high, SEARCH_GRID, axis=1)
        params = np.exp(np.take_along_axis(sizes, best, 1)[:, 0])
        return {"params": params, "data": budget / cost / params, "loss": np.take_along_axis(values, best, 1)[:, 0]}


def fit_coupled(
    params,
    data,
    loss,
    delta: float = np.inf,
    runs=None,
    *,
    weights=None,
    seed: int = 0,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> ParametricLaw:
    """Fit loss = E + A/N^alpha + B (N/N0)^p / (D/D0)^(beta (N/N0)^q) on logs; arguments as :func:`fit_chinchilla`.

    Args:
        params: (n,) parameters, any unit.
        data: (n,) tokens or images seen, any unit.
        loss: (n,) losses, above 0.
        delta: Huber's switch point in log units; inf for least squares. It has no least-absolute form.
        runs: (n,) name of the run that each row came from; None makes each row its own.
        weights: (n,) multiplicities.
        seed: of the random starts.
        conventions: how the columns were counted, kept on the law.
        fix: coefficients that are given and not fitted, by name; every interval is then conditional on them.

    Returns:
        Coefficients E, A, B, alpha, beta, p, q.

    Raises:
        CannotFit: as :func:`fit_chinchilla`; ``too_few_sizes`` also below eight distinct points or four of each size.
        ValueError: inputs of different lengths, or delta 0.

    Source: the exponent's dependence on size after Farseer, arXiv 2506.10972 (theirs: exponentials of powers).
    """
    rows = _checked({"params": params, "data": data}, loss, runs, weights, delta, conventions)
    if rows.delta == 0:
        raise ValueError("fit_coupled has no least-absolute form; use a small delta such as 1e-4")
    params, data = rows.inputs
    notes = require_plane(params, data, rows.weights, parameters=PARAMETERS, given=len(fix or ()))
    for name, values in (("model sizes", params), ("data sizes", data)):
        found = len(np.unique(np.round(np.log(values[rows.weights > 0]), 9)))
        if found < FEWEST_SIZES and not fix:
            raise CannotFit(
                "too_few_sizes",
                f"{found} distinct {name}, a coupled law needs {FEWEST_SIZES} of each: add some, or take Chinchilla's",
                found,
            )
    centres, logs, spans = _centred(rows, params, data)
    guesses = _exponent_guesses(4 * STARTS, spans, seed)
    plain = _choose_starts(guesses, PowerTerms(logs, offset=True), rows)
    terms = CoupledTerms(logs)
    if fix:
        law = _pinned(fix, terms, centres, spans, guesses, rows, notes)
        return _described(law, law.estimator, centres)
    begin = _chosen(logs, _descend(logs, _coupled(plain), np.log(rows.loss), rows.weights), rows)
    solution = _solve(terms, begin, rows)
    if solution.lost_floor or not solution.minimum:
        flat = CoupledTerms(logs, offset=False)
        without = _solve(flat, begin[:, 1:], rows)
        # a floor that the search never settled on is none where the law without it is as good
        if solution.lost_floor or (without.minimum and without.objective <= solution.objective * (1 + AGREE)):
            terms, solution = flat, without
            notes += (NO_FLOOR,)
    _check_falls(terms, solution.theta, spans)
    _require_minimum(solution, logs, rows)
    notes += _rising(terms, solution.theta, rows)
    law = _law("chinchilla", rows, terms, centres, solution, notes)
    fit = law.estimator
    estimator = CoupledEstimator(fit.terms, fit.centres, fit.theta, fit.response, fit.weights, fit.delta, "coupled")
    return _described(law, estimator, centres)


def _described(law: ParametricLaw, estimator: NewtonEstimator, centres: tuple[float, float]) -> CoupledLaw:
    """The law by its own names, with the middles of the rows that it is written about."""
    names = {name: float(value[0]) for name, value in estimator.natural(estimator.theta[None]).items()}
    names |= {name: law.coefficients[name] for name in law.given if name in law.coefficients}
    size, amount = (float(np.exp(centre)) for centre in centres)
    given = {name: getattr(law, name) for name in law.__dataclass_fields__}
    return CoupledLaw(
        **given
        | {
            "form": f"E + A/N^alpha + B (N/N0)^p / (D/D0)^(beta (N/N0)^q), N0 = {size:.6g}, D0 = {amount:.6g}",
            "coefficients": names,
            "estimator": estimator,
            "kind": COUPLED if law.kind.floor_fitted else replace(COUPLED, floor_fitted=False),
        }
    )


def _pinned(fix, terms: CoupledTerms, centres, spans, guesses, rows, notes) -> ParametricLaw:
    """The same beside given coefficients; B and beta are meant at the middles of the rows."""
    plain = pins_of(centres, PARAMETERS)
    own = {
        "B": lambda value: (pinned.axis(3, PARAMETERS), np.log(value)),
        "p": lambda value: (pinned.axis(5, PARAMETERS), value),
        "q": lambda value: (pinned.axis(6, PARAMETERS), value),
    }
    pins = pinned.Pins({**plain.equations, **own}, plain.signs)
    given = pins.checked(fix, "the coupled form")
    guesses = pinned.given_exponents(guesses, given, ("alpha", "beta"))
    begin = _coupled(pinned.starts_of(terms.logs, guesses, rows, given.get("E")))
    return pinned.fit_on_plane("chinchilla", rows, terms, centres, given, pins, begin, spans, notes, CoupledEstimator)


def _coupled(plain: np.ndarray) -> np.ndarray:
    """Chinchilla's starts (S, 5) with each coupling."""
    return np.concatenate([np.column_stack([plain, np.tile(pair, (len(plain), 1))]) for pair in COUPLINGS])


def _chosen(logs: np.ndarray, theta: np.ndarray, rows) -> np.ndarray:
    """The better half of STARTS and some of the rest, so that agreement of starts means something."""
    order = np.argsort(newton.objective(CoupledTerms(logs), theta, np.log(rows.loss), rows.weights, rows.delta))
    half = STARTS // 2
    return theta[np.concatenate([order[:half], order[half :: max(1, (len(order) - half) // half)][:half]])]


def _descend(logs: np.ndarray, theta: np.ndarray, response: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gauss-Newton in (alpha, beta, p, q) on relative residuals, E, A and B the best for those; (S, 7)."""
    size, data = logs
    count = len(theta)
    loss, weights = (np.broadcast_to(part, (count, len(size))) for part in (np.exp(response), weights))
    moving = theta[:, [2, 4, 5, 6]].copy()
    damping = np.full(count, 1e-6)

    def parts(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alpha, beta, lift, drift = (at[:, j, None] for j in range(4))
        bent = np.exp(np.clip(drift * size, -STEEPEST, STEEPEST)) * data
        falls = [np.ones_like(bent), np.exp(-alpha * size), np.exp(np.clip(lift * size - beta * bent, -60, 60))]
        return np.stack(falls, 1) / loss[:, None], bent

    def project(at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        basis, bent = parts(at)
        loaded = basis * weights[:, None]
        normal = np.matmul(loaded, basis.transpose(0, 2, 1))
        scale = np.sqrt(np.einsum("skk->sk", normal))
        normal = normal / scale[:, :, None] / scale[:, None, :] + 1e-13 * np.eye(3)
        best = np.linalg.solve(normal, (loaded.sum(2) / scale)[:, :, None])[:, :, 0] / scale
        away = 1 - np.einsum("sk,skn->sn", best, basis)
        value = np.where((best > 0).all(1), np.einsum("sn,sn->s", away**2, weights), np.inf)
        return basis, bent, best, value

    basis, bent, linear, cost = project(moving)
    for _ in range(DESCENT):
        fall, data_part = linear[:, 1, None] * basis[:, 1], linear[:, 2, None] * basis[:, 2]
        slopes = [-fall * size, -data_part * bent, data_part * size, -data_part * moving[:, 1, None] * size * bent]
        design = np.concatenate([basis, np.stack(slopes, 1)], 1)
        loaded = design * weights[:, None]
        normal = np.matmul(loaded, design.transpose(0, 2, 1))
        scale = np.sqrt(np.maximum(np.einsum("skk->sk", normal), 1e-300))
        normal = normal / scale[:, :, None] / scale[:, None, :]
        away = 1 - np.einsum("sk,skn->sn", linear, basis)
        pull = np.einsum("skn,sn->sk", loaded, away) / scale
        damped = normal + (damping[:, None] + 1e-13)[:, :, None] * np.eye(7)
        step = np.linalg.solve(damped, pull[:, :, None])[:, :, 0] / scale
        tried = moving + step[:, 3:]
        new = project(tried)
        better = new[3] < cost
        gain = np.subtract(cost, new[3], out=np.zeros(count), where=better)  # both are inf where a part is below 0
        moving[better], basis[better], bent[better] = tried[better], new[0][better], new[1][better]
        linear[better] = new[2][better]
        damping = np.where(better, damping / 10, damping * 10)
        nearly = ~(gain > 1e-10 * np.where(np.isfinite(cost), cost, 0.0))
        cost = np.where(better, new[3], cost)
        if (nearly & ~(damping > 1e-3)).all():
            break
    found = np.isfinite(cost)
    answer = theta.copy()
    answer[found] = np.column_stack(
        [
            np.log(linear[found, 0]),
            np.log(linear[found, 1]),
            moving[found, 0],
            np.log(linear[found, 2]),
            moving[found, 1:],
        ]
    )
    return answer


def _rising(terms: CoupledTerms, theta: np.ndarray, rows) -> tuple[Note, ...]:
    """A note where the fitted loss rises with size or data at some row: B grows with N as p says."""
    at = terms.evaluate(theta[None])
    size, data = terms.logs
    place = 1 if terms.offset else 0
    alpha, beta, lift, drift = theta[[place + 1, place + 3, place + 4, place + 5]]
    bent = np.exp(drift * size)
    with_size = -alpha * at.shares[place][0] + (lift - beta * drift * bent * data) * at.shares[place + 1][0]
    worst = float(np.max(np.where(rows.weights > 0, with_size, -np.inf)))
    if worst <= 0:
        return ()
    return (
        Note(
            "loss_rises",
            f"at some of its own rows the fitted loss rises with model size (slope up to {worst:+.2g} in logs): little "
            "data for that size, or a coupling that the rows do not carry",
            worst,
        ),
    )
