"""Forms for scores that saturate: error rates between a ceiling and a floor, and FID as a function of loss.

An error rate cannot leave [0, 1], and a power law in it says nothing about where it came from: the logistic form falls
from a ceiling (what an untrained model scores) to a floor, with a power law's slope between. FID falls with loss
towards the tokenizer's own rFID; families are never pooled, since equal loss does not mean equal quality (frontier.md
section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from analysis.engine.collapse_rows import DesignPoints, few_rows, on_points
from analysis.engine.leastsquares import Model, minimize_squares, relative_excess, with_floor
from analysis.engine.subspace import Subspace, subspace
from analysis.errors import CannotFit, Note
from analysis.laws import outliers, pinned
from analysis.laws.form import Form, Number
from analysis.laws.law import Certificate, Law
from analysis.rows import checks

STARTS = 24
AGREE = 1e-9
CLOSE = 1e-6  # relative excess at which a resample that stopped short still names a quantile
LOWEST = np.array([0.0, -np.inf, -np.inf])  # floor, position, slope
SATURATING = Form("saturating", (Number("alpha", "x"),), "floor")
GIVEN_LOSS = Form("FID given loss", (Number("rate", tex=r"\mathrm{rate}"),), "floor")


@dataclass(frozen=True, eq=False)
class SmoothEstimator:
    """A form fitted by batched Levenberg-Marquardt on log y.

    Attributes:
        shape: "saturating" (floor + (ceiling - floor)/(1 + (beta x)^alpha)) or "given loss" (floor + exp(a + b x)).
        x: (n,) log size, or loss; centred.
        centre: what was subtracted.
        ceiling: of the saturating form; unused otherwise.
        unit: in which theta counts the floor: the smallest y.
        theta: (3,): floor in units, then position and slope; (2,) of a law without a floor.
        response: (n,) log y.
        weights: (n,).
    """

    shape: str
    x: np.ndarray
    centre: float
    ceiling: float
    unit: float
    theta: np.ndarray
    response: np.ndarray
    weights: np.ndarray

    @property
    def noise_place(self) -> np.ndarray | None:
        """(n,) log sizes, along which the noise is modelled (`resample.noise_by_size`); None of a law given loss."""
        return self.x if self.shape == "saturating" else None

    @cached_property
    def jacobian(self) -> np.ndarray:
        """(n, p)."""
        return self._model(self.x)(self.theta[None])[1][0]

    @cached_property
    def residual(self) -> np.ndarray:
        """(n,)."""
        return self.response - self._model(self.x)(self.theta[None])[0][0]

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From the optimum."""
        (x,), response, weights = few_rows(self.x[None], response, weights)
        problems = len(response) if np.ndim(response) == 2 else len(np.atleast_2d(weights))
        starts = np.repeat(self.theta[None], problems, 0)
        lowest = LOWEST[-len(self.theta) :]
        theta, _, converged = minimize_squares(self._model(x), starts, response, weights, lowest)
        excess, _ = relative_excess(self._model(x), theta, response, weights, lowest)
        return theta, converged | (excess < CLOSE)

    def few(self) -> tuple[SmoothEstimator, DesignPoints | None]:
        """On the design points."""
        return on_points(self, self.x[None], x=lambda values: values[0])

    def without_floor(self) -> SmoothEstimator | None:
        """From the fit's own other parameters."""
        if len(self.theta) == 2:
            return None
        plain = replace(self, theta=self.theta[1:])
        theta, certified = plain.refit(self.response, self.weights)
        return replace(plain, theta=theta[0]) if certified[0] else None

    def _model(self, x: np.ndarray) -> Model:
        model = _model(self.shape, x, self.ceiling, self.unit)

        def without_floor(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values, jacobian = model(with_floor(theta, 3))
            return values, jacobian[:, :, 1:]

        return model if len(self.theta) == 3 else without_floor

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Coefficients by name."""
        theta = with_floor(theta, 3)
        with np.errstate(over="ignore"):
            floor = theta[:, 0] * self.unit
            if self.shape == "saturating":
                beta = np.exp(theta[:, 1] / theta[:, 2] - self.centre)
                return {"floor": floor, "alpha": theta[:, 2], "beta": beta}
            return {"floor": floor, "scale": np.exp(theta[:, 1] - theta[:, 2] * self.centre), "rate": theta[:, 2]}

    def predict(self, theta: np.ndarray, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        """(S, m)."""
        x = (np.log(inputs[0]) if self.shape == "saturating" else np.asarray(inputs[0])) - self.centre
        with np.errstate(over="ignore"):
            return np.exp(self._model(x)(theta)[0])

    def to_response(self, y: np.ndarray) -> np.ndarray:
        """Log y."""
        return np.log(y)

    def from_response(self, response: np.ndarray) -> np.ndarray:
        """Exp, and no higher than the ceiling."""
        return np.minimum(np.exp(response), self.ceiling)


@dataclass(frozen=True, eq=False)
class PinnedSmooth(SmoothEstimator):
    """The same beside given coefficients; theta is the coordinates that are left.

    Attributes:
        space: of (floor, position, slope).
        given: what is pinned, by name.
    """

    space: Subspace
    given: tuple[str, ...]

    def refit(self, response: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From the optimum."""
        (x,), response, weights = few_rows(self.x[None], response, weights)
        problems = len(response) if np.ndim(response) == 2 else len(np.atleast_2d(weights))
        begin, lowest = np.repeat(self.theta[None], problems, 0), self.space.lowest(LOWEST)
        theta, _, converged = minimize_squares(self._model(x), begin, response, weights, lowest)
        excess, _ = relative_excess(self._model(x), theta, response, weights, lowest)
        return theta, converged | (excess < CLOSE)

    def without_floor(self) -> None:
        """Not looked at: the interval of what is left is that of its own resamples."""

    def _model(self, x: np.ndarray) -> Model:
        return self.space.model(_model(self.shape, x, self.ceiling, self.unit))

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Coefficients by name."""
        return super().natural(self.space.whole(theta))


def fit_saturating(
    x,
    y,
    ceiling: float = 1.0,
    runs=None,
    *,
    weights=None,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> Law:
    """Fit y = floor + (ceiling - floor) / (1 + (beta x)^-alpha), alpha below 0: an error rate between two limits.

    Far from the ceiling this is floor + (beta x)^alpha (ceiling - floor); near it, it bends over, which a power law
    cannot.

    Args:
        x: (n,) sizes, compute or data, above 0.
        y: (n,) error rates, above 0 and below the ceiling.
        ceiling: of an untrained model; 1 for an error rate over many classes.
        runs: (n,) name of the run of each row.
        weights: (n,) multiplicities.
        conventions: how x and y were counted.
        fix: coefficients that are given and not fitted, by name; every interval is then conditional on them.

    Returns:
        Coefficients floor, alpha (below 0), beta.

    Raises:
        CannotFit: ``not_positive``, ``not_finite``, ``too_few_sizes``, ``loss_rises``, ``offset_too_high`` (a row at or
            above the ceiling), ``not_converged``.
    """
    x, y = checks.column("x", x), checks.column("y", y)
    if isinstance(ceiling, (bool, str)) or not np.isfinite(ceiling) or ceiling <= 0:
        raise ValueError(f"ceiling is {ceiling!r}; it is a positive number that every y lies below")
    if y.max() >= ceiling:
        bad = np.flatnonzero(y >= ceiling)
        raise CannotFit(
            "offset_too_high",
            f"y reaches the ceiling {ceiling:g} in {checks.name_rows(bad)}; give a ceiling above every row",
            float(y.max()),
            tuple(bad),
        )
    return _fit("saturating", np.log(x), x, y, ceiling, runs, weights, conventions, fix)


def fit_fid_given_loss(
    loss,
    fid,
    runs=None,
    *,
    families=None,
    weights=None,
    conventions: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
) -> Law:
    """Fit FID = floor + scale exp(rate loss) within one family of models.

    Args:
        loss: (n,) losses, above 0.
        fid: (n,) FID of one kind (features, reference, samples, guidance), above 0.
        runs: (n,) name of the run of each row.
        families: (n,) family of each row; more than one is refused.
        weights: (n,) multiplicities.
        conventions: how loss and FID were taken.
        fix: coefficients that are given and not fitted, by name; every interval is then conditional on them.

    Returns:
        Coefficients floor, scale, rate (above 0: a lower loss gives a lower FID).

    Raises:
        CannotFit: ``mixed_conventions`` for more than one family; ``loss_rises`` where FID falls as loss rises; else as
            :func:`fit_saturating`.
    """
    loss, fid = checks.column("loss", loss), checks.column("fid", fid)
    if families is not None:
        families = list(families)
        checks.same_length(loss=loss, families=np.empty(len(families)))
        found = sorted({str(family) for family in families})
        if len(found) > 1:
            raise CannotFit(
                "mixed_conventions",
                f"{len(found)} families ({', '.join(found)}) in one curve of FID given loss; equal loss is not equal "
                "quality across families: fit each alone",
                len(found),
            )
    return _fit("given loss", loss, loss, fid, np.inf, runs, weights, conventions, fix)


def _fit(shape: str, raw: np.ndarray, x, y, ceiling: float, runs, weights, conventions, fix=None) -> Law:
    rows = checks.same_length(x=x, y=y)
    weights = checks.weights_or_ones(weights, rows)
    run_codes = checks.run_codes(runs, rows)
    used = weights > 0
    size_codes = checks.group_sizes(x)
    sizes = len(np.unique(size_codes[used]))
    notes = checks.require_sizes(sizes, 3 - len(fix or ()), "sizes" if shape == "saturating" else "losses")
    centre = float((weights * raw).sum() / weights.sum())
    centred, log_y = raw - centre, np.log(y)
    span, low = max(float(np.ptp(centred[used])), 1e-12), float(y[used].min())
    starts = []
    for share in (0.02, 0.3, 0.7, 0.95):
        floor = share * low
        if shape == "saturating":
            inner = np.log((ceiling - floor) / (y - floor) - 1)  # -(position + slope x)
        else:
            inner = -np.log(y - floor)
        slope, level = np.polyfit(centred, inner, 1, w=np.sqrt(weights))
        for factor in (0.5, 1.0, 2.0):
            starts.append([share, -level, -slope * factor])
        starts.append([share, -level, -np.sign(slope) * 2 / span])
    model, given, space = _model(shape, centred, ceiling, low), {}, None
    lowest, begin = LOWEST, np.array(starts)
    (few,), mean, load = few_rows(centred[None], log_y, weights)
    searched = _model(shape, few, ceiling, low)
    if fix:
        given, space = _given(shape, fix, y, weights, centre, low)
        lowest, begin = space.lowest(LOWEST), space.nearest(begin)
        model, searched = space.model(model), space.model(searched)
    theta, cost, converged = minimize_squares(searched, begin, mean, load, lowest, 300)
    if len(few) < len(centred):
        cost = cost + 0.5 * float((weights * log_y**2).sum() - (load * mean**2).sum())
    cost = np.where(np.isfinite(theta).all(1), cost, np.inf)
    best = int(np.argmin(cost))
    # starts that reach one minimum differ by rounding, and not all of them to the last test: take one that passed it
    passed = np.flatnonzero(converged & (cost <= cost[best] * (1 + AGREE) + 1e-20 * weights.sum()))
    if len(passed):
        best = int(passed[np.argmin(cost[passed])])
    agreeing = int((cost <= cost[best] * (1 + 1e-7) + 1e-20 * weights.sum()).sum())
    excess, firmness = relative_excess(model, theta[best][None], log_y, weights, lowest)
    if not converged[best] and excess[0] > AGREE:
        raise CannotFit(
            "not_converged", "no start reached a minimum; the rows hardly bend, so use a power law", float(excess[0])
        )
    fitted = theta[best]
    if space is not None:
        notes += (pinned.note_of(given),)
        theta = space.whole(theta)
    if theta[best, 0] == 0 and "floor" not in given:
        words = "the floor is 0, its bound: the rows show no floor, so it has no lower limit"
        notes += (Note("at_bound", words, 0.0),)
    falls = theta[best, 2] < 0
    if abs(theta[best, 2]) * span < 1e-9:
        raise CannotFit("loss_rises", "y does not change: there is no curve to fit", float(theta[best, 2]))
    if shape == "saturating" and not falls:
        raise CannotFit("loss_rises", f"y rises with x (slope {theta[best, 2]:.3g}); the form falls", theta[best, 2])
    if shape == "given loss" and falls:
        raise CannotFit(
            "loss_rises", f"FID falls as loss rises (rate {theta[best, 2]:.3g}): loss says nothing here", theta[best, 2]
        )
    estimator = SmoothEstimator(shape, centred, centre, ceiling, low, fitted, log_y, weights)
    if space is not None:
        estimator = PinnedSmooth(shape, centred, centre, ceiling, low, fitted, log_y, weights, space, tuple(given))
    prediction, jacobian = model(fitted[None])
    gradient = np.abs(jacobian[0].T @ (weights * (log_y - prediction[0]))).max() / weights.sum()
    names = {name: float(value[0]) for name, value in estimator.natural(fitted[None]).items()} | given
    notes += outliers.outlier_note(estimator.residual, len(fitted), weights)
    form = {
        "saturating": f"floor + ({ceiling:g} - floor)/(1 + (beta x)^-alpha)",
        "given loss": "floor + scale exp(rate loss)",
    }
    return Law(
        kind=replace({"saturating": SATURATING, "given loss": GIVEN_LOSS}[shape], floor_fitted="floor" not in given),
        form=form[shape],
        coefficients=names,
        objective=float(cost[best]),
        objective_definition="half the sum of weight x squared residual of log y",
        notes=notes,
        rows_used=int(used.sum()),
        sizes=sizes,
        certificate=Certificate(
            float(gradient), float(excess[0]), float(firmness[0]), len(starts), agreeing, "Levenberg-Marquardt"
        ),
        inputs=("x",) if shape == "saturating" else ("loss",),
        ranges=((float(x[used].min()), float(x[used].max())),),
        estimator=estimator,
        run_codes=run_codes,
        size_codes=size_codes,
        conventions=dict(conventions or {}),
    )


def _given(
    shape: str, fix: Mapping[str, float], y: np.ndarray, weights: np.ndarray, centre: float, unit: float
) -> tuple[dict[str, float], Subspace]:
    """What is given, and the coordinates of (floor, position, slope) that are left."""
    equations = {"floor": lambda value: (pinned.axis(0, 3), value / unit)}
    if shape == "saturating":
        equations |= {
            "alpha": lambda value: (pinned.axis(2, 3), value),
            "beta": lambda value: (pinned.axis(1, 3) - pinned.axis(2, 3, centre + np.log(value)), 0.0),
        }
    else:
        equations |= {
            "rate": lambda value: (pinned.axis(2, 3), value),
            "scale": lambda value: (pinned.axis(1, 3) - pinned.axis(2, 3, centre), np.log(value)),
        }
    pins = pinned.Pins(equations, {"alpha": -1.0} if shape == "saturating" else {})
    given = pins.checked(fix, "the saturating form" if shape == "saturating" else "FID given loss")
    if "floor" in given:
        pinned.below_all("floor", given["floor"], y, weights)
    return given, subspace([equations[name](value) for name, value in given.items()], 3)


def _model(shape: str, x: np.ndarray, ceiling: float, unit: float) -> Model:
    def saturating(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        floor = np.minimum(theta[:, :1] * unit, 0.999999 * ceiling)
        share = 1 / (1 + np.exp(-np.clip(theta[:, 1:2] + theta[:, 2:3] * x, -500, 500)))
        y = floor + (ceiling - floor) * share
        slope = (ceiling - floor) * share * (1 - share) / y
        return np.log(y), np.stack([unit * (1 - share) / y, slope, slope * x], 2)

    def given_loss(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        term = np.exp(np.clip(theta[:, 1:2] + theta[:, 2:3] * x, -500, 500))
        y = theta[:, :1] * unit + term
        return np.log(y), np.stack([unit / y, term / y, term * x / y], 2)

    return saturating if shape == "saturating" else given_loss
