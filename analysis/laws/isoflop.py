"""IsoFLOP minima: at each compute budget the size with the lowest loss, and the law N*(C) through them.

Interpolation (Akima) is the default: parabolas through whole curves are biased, by up to 0.1 in the exponent on real
data (laws.md, finding 7). A minimum at the edge of the sampled sizes is no minimum: it is dropped with a note.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from analysis.engine.estimators import LineEstimator
from analysis.errors import CannotFit, Note
from analysis.laws.backtest import Backtest, hold_out
from analysis.laws.law import Certificate, Law
from analysis.rows import checks
from analysis.rows.budgets import ONE_COMPUTE

SAME_SIZE = 0.02  # sizes closer than this are one: an interpolant through both would swing between them
RESOLUTION = 25  # points a gap in which Akima minima are looked for, as published (Porian et al. 2024)


@dataclass(frozen=True, eq=False)
class TrendEstimator(LineEstimator):
    """A straight line in logs whose numbers are called coefficient and exponent."""

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Coefficient and exponent of coefficient x^exponent."""
        with np.errstate(over="ignore"):
            return {"coefficient": np.exp(theta[:, 0] - theta[:, 1] * self.centre), "exponent": theta[:, 1]}


@dataclass(frozen=True)
class Trend(Law):
    """N* = coefficient C^exponent; rises or falls, no offset."""

    @property
    def coefficient(self) -> float:
        """At C = 1, in the units given."""
        return self.coefficients["coefficient"]

    @property
    def exponent(self) -> float:
        """D log N* / d log C."""
        return self.coefficients["exponent"]


@dataclass(frozen=True)
class IsoFlop:
    """Minima of loss over size at each budget, and the law through them.

    Attributes:
        minima: one line a budget that has one: compute, params, loss, data (if known), rows.
        dropped: one line a budget that has none: compute, rows, code, sentence.
        optimum: N* = coefficient C^exponent.
        data_optimum: D* = coefficient C^exponent, from D = C/(6 N) where the rows do not say.
        method: "akima" or "parabola".
        points: lowest-loss points of each budget that were used; None: all.
        held_out: the best size of the largest budget, as the law through the others predicts it; None of three minima.
        notes: edge minima, upward parabolas, few budgets.
        rows: the rows as used: compute, params, loss, budget (0, 1, ...).
        curves: the interpolants: compute, params, loss.
    """

    minima: pd.DataFrame
    dropped: pd.DataFrame
    optimum: Trend
    data_optimum: Trend
    method: str
    points: int | None
    held_out: Backtest | None
    notes: tuple[Note, ...]
    rows: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)

    def as_dict(self, level: float = 0.95) -> dict:
        """Plain types, for laws.json."""
        return {
            "method": self.method,
            "minima": self.minima.to_dict("records"),
            "dropped": self.dropped.to_dict("records"),
            "optimum": self.optimum.as_dict(level=level),
            "data_optimum": self.data_optimum.as_dict(level=level),
            "held_out": None if self.held_out is None else self.held_out.as_dict(),
            "notes": [note.as_dict() for note in self.notes],
        }


def fit_isoflop(
    compute,
    params,
    loss,
    method: Literal["akima", "parabola"] = "akima",
    points: int | None = 7,
    *,
    data=None,
    resolution: int | None = RESOLUTION,
) -> IsoFlop:
    """Find the best size at each compute budget and fit N* = coefficient C^exponent.

    Log loss is interpolated over log size; several runs of one size and budget are averaged.

    Args:
        compute: (n,) training FLOPs; values within 5 % of the lowest are one budget.
        params: (n,) parameters.
        loss: (n,) losses, above 0.
        method: "akima" (interpolates all points) or "parabola" (least squares through the `points` lowest losses).
        points: for parabolas: how many of the lowest losses; None takes all. Akima interpolates all of them.
        data: (n,) tokens or images; None takes compute / (6 params).
        resolution: for Akima: points a gap at which the minimum is looked for; None finds the exact one, which moves
            exponents by about 0.0005.

    Raises:
        CannotFit: ``edge_minimum`` or ``opens_down`` where no budget has a minimum inside its sizes,
            ``too_few_sizes`` where fewer than three budgets have one, ``not_positive``, ``not_finite``.
        ValueError: an unknown method, fewer than three points asked for, or inputs of different lengths.
    """
    if method not in ("akima", "parabola"):
        raise ValueError(f"method is {method!r}; it is 'akima' or 'parabola'")
    if points is not None and points < 3:
        raise ValueError(f"points is {points}; a parabola needs at least 3")
    compute, params = checks.column("compute", compute), checks.column("params", params)
    loss = checks.column("loss", loss)
    checks.same_length(compute=compute, params=params, loss=loss)
    known = None if data is None else checks.column("data", data)
    budgets = checks.bins(compute, ONE_COMPUTE)
    rows = pd.DataFrame({"compute": compute, "params": params, "loss": loss, "budget": budgets})
    rows["data"] = compute / (6 * params) if known is None else known
    found, dropped, curves = [], [], []
    for _, group in rows.groupby("budget"):
        flops = float(np.exp(np.log(group["compute"]).mean()))
        near = checks.group_sizes(group["params"].to_numpy(), SAME_SIZE)
        logs = np.log(group[["params", "loss", "data"]])
        mean = np.exp(logs.groupby(near).mean()) if near.max() + 1 < group["params"].nunique() else None
        if mean is None:
            mean = group.groupby("params", as_index=False)[["loss", "data"]].mean()
        try:
            log_size, log_loss, curve = _minimum(mean, method, points, resolution, flops)
        except CannotFit as refusal:
            dropped.append({"compute": flops, "rows": len(group), "code": refusal.code, "sentence": refusal.sentence})
            continue
        log_data = np.interp(log_size, np.log(mean["params"]), np.log(mean["data"]))
        if known is None:
            log_data = np.log(flops / 6) - log_size
        found.append(
            {
                "compute": flops,
                "params": np.exp(log_size),
                "loss": np.exp(log_loss),
                "data": np.exp(log_data),
                "rows": len(group),
            }
        )
        curves.append(curve.assign(compute=flops))
    lost = pd.DataFrame(dropped, columns=["compute", "rows", "code", "sentence"])
    notes = tuple(
        Note(code, f"{len(part)} of {budgets.max() + 1} budgets dropped: {part['sentence'].iloc[0]}", len(part))
        for code, part in lost.groupby("code")
    )
    if not found:
        worst = lost["code"].mode().iloc[0]
        raise CannotFit(worst, f"no budget has a minimum inside its sizes; {lost['sentence'].iloc[0]}", len(lost))
    minima = pd.DataFrame(found)
    if len(minima) < 3:
        raise CannotFit(
            "too_few_sizes",
            f"{len(minima)} budgets have a minimum inside their sizes; N* = coefficient C^exponent needs three",
            len(minima),
        )
    notes += checks.require_sizes(len(minima), 2, "budgets with a minimum")
    return IsoFlop(
        minima,
        lost,
        _trend(minima["compute"].to_numpy(), minima["params"].to_numpy(), "N*"),
        _trend(minima["compute"].to_numpy(), minima["data"].to_numpy(), "D*"),
        method,
        points if method == "parabola" else None,
        _held_out(minima),
        notes,
        rows,
        pd.concat(curves, ignore_index=True),
    )


def _minimum(
    mean: pd.DataFrame, method: str, points: int | None, resolution: int | None, flops: float
) -> tuple[float, float, pd.DataFrame]:
    """Log size and log loss of the minimum of one budget, and the curve that was searched."""
    x, y = np.log(mean["params"].to_numpy()), np.log(mean["loss"].to_numpy())
    if len(x) < 4:
        raise CannotFit("too_few_sizes", f"{len(x)} sizes at C = {flops:.3g}; a minimum needs four", len(x))
    fine = np.linspace(x[0], x[-1], 200)
    if method == "parabola":
        chosen = np.argsort(y, kind="stable")[: points or len(y)]
        centre = x[chosen].mean()
        bend, tilt, level = np.polyfit(x[chosen] - centre, y[chosen], 2)
        curve = pd.DataFrame({"params": np.exp(fine), "loss": np.exp(np.polyval([bend, tilt, level], fine - centre))})
        if bend <= 0:
            raise CannotFit(
                "opens_down",
                f"the parabola at C = {flops:.3g} opens downwards (curvature {bend:.3g}): its stationary point is a "
                "maximum; widen the sizes",
                bend,
            )
        best = centre - tilt / (2 * bend)
        if not x[0] < best < x[-1]:
            side = "larger" if best >= x[-1] else "smaller"
            raise CannotFit(
                "edge_minimum",
                f"the minimum at C = {flops:.3g} lies at N = {np.exp(best):.3g}, outside the sampled "
                f"{np.exp(x[0]):.3g} to {np.exp(x[-1]):.3g}; add {side} models",
                float(np.exp(best)),
            )
        return float(best), float(level - tilt**2 / (4 * bend)), curve
    from scipy.interpolate import Akima1DInterpolator

    spline = Akima1DInterpolator(x, y)
    curve = pd.DataFrame({"params": np.exp(fine), "loss": np.exp(spline(fine))})
    if resolution is None:
        inner = spline.derivative().roots(extrapolate=False)
        candidates = np.concatenate([x, inner[np.isfinite(inner)]])
    else:
        candidates = np.linspace(x[0], x[-1], resolution * (len(x) - 1))
    values = spline(candidates)
    best = float(candidates[values.argmin()])
    if best in (x[0], x[-1]):
        side = "larger" if best == x[-1] else "smaller"
        raise CannotFit(
            "edge_minimum",
            f"the lowest loss at C = {flops:.3g} is at the {side[:-2]}est size sampled, N = {np.exp(best):.3g}; "
            f"add {side} models",
            float(np.exp(best)),
        )
    return best, float(values.min()), curve


def _held_out(minima: pd.DataFrame) -> Backtest | None:
    if len(minima) < 4:
        return None
    compute, best = (minima[name].to_numpy() for name in ("compute", "params"))
    (test,), _ = hold_out(lambda keep: _trend(compute[keep], best[keep], "N*"), compute, (compute,), best, 1)
    return test


def _trend(compute: np.ndarray, optimum: np.ndarray, name: str) -> Trend:
    log_x = np.log(compute)
    centre = float(log_x.mean())
    estimator = TrendEstimator(log_x - centre, centre, 0.0, np.log(optimum), np.ones(len(compute)))
    names = {key: float(value[0]) for key, value in estimator.natural(estimator.theta[None]).items()}
    codes = np.arange(len(compute))
    return Trend(
        form=f"{name} = coefficient C^exponent",
        coefficients=names,
        objective=0.5 * float((estimator.residual**2).sum()),
        objective_definition=f"half the sum of squared residuals of log {name}",
        notes=(),
        rows_used=len(compute),
        sizes=len(compute),
        certificate=Certificate(0.0, 0.0, 1.0, 1, 1, "closed form"),
        inputs=("compute",),
        ranges=((float(compute.min()), float(compute.max())),),
        estimator=estimator,
        run_codes=codes,
        size_codes=codes,
    )
