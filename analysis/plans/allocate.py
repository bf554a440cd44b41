"""How to spend a compute budget: the best depth and how many images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.errors import BadRequest, Note
from analysis.plans.candidates import params_column
from analysis.plans.predict import BETWEEN, PROPORTIONAL, Prediction, fresh_record, inputs_of, least_data, predict_run
from analysis.rows.conventions import unit_notes
from analysis.rows.counting import amount_name
from analysis.study.record import LEVEL, LawRecord, StudyLaws


@dataclass(frozen=True)
class Allocation:
    """The best depth for a compute budget.

    Attributes:
        flops: the budget.
        depth: best depth, an integer with a recipe; None where the candidates are sizes without depths.
        images: what the budget buys at that depth.
        prediction: its loss with intervals.
        table: every candidate: depth (if known), params, images, loss, low, high (of the law), chance (share of the
            resamples in which that candidate is best), learning_rate (if known).
        continuous: the best size between candidates, with its interval: params, low, high; 0 and inf where the
            candidates do not bound it.
        notes: those of the prediction, sizes in thousands or billions, and a best candidate at the edge.
    """

    flops: float
    depth: int | None
    images: float
    prediction: Prediction
    table: pd.DataFrame = field(repr=False)
    continuous: tuple[float, float, float]
    notes: tuple[Note, ...]


def allocate(study: StudyLaws, candidates: pd.DataFrame, flops: float, target: str | None = None) -> Allocation:
    """Best depth and images for a budget of training FLOPs.

    Args:
        study: holds a joint law of `target`, or one of repeated data.
        candidates: models with their exact cost; columns the study's N, train_flops_per_image and, if any, depth.
        flops: training FLOPs to spend.
        target: column; None takes the study's first.

    Raises:
        CannotFit: no joint law.
        ValueError: a budget that is not positive, or too small for one image.
    """
    if not np.isfinite(flops) or flops <= 0:
        raise BadRequest(f"the budget is {flops:g} FLOPs; give a positive number")
    target = target or study.columns.targets[0]
    record = fresh_record(study, target)
    law = record.law
    params = candidates[params_column(study.columns, candidates)].to_numpy(float)
    price = candidates["train_flops_per_image"].to_numpy(float)
    images = flops / price
    inputs = inputs_of(record, params, images)
    loss = law.predict(*inputs)
    low, high = law.mean_interval(*inputs, level=LEVEL)
    drawn = law.estimator.predict(law.draws().theta, inputs)
    chance = np.bincount(drawn.argmin(1), minlength=len(params)) / len(drawn)
    table = pd.DataFrame(
        {
            "params": params,
            "images": images,
            "loss": loss,
            "low": low,
            "high": high,
            "chance": chance,
        }
    )
    if "depth" in candidates:
        table.insert(0, "depth", candidates["depth"].to_numpy())
    if "learning_rate" in candidates:
        table["learning_rate"] = candidates["learning_rate"].to_numpy()
    best = int(loss.argmin())
    depth = int(table["depth"][best]) if "depth" in table else None
    if images[best] < least_data(study):
        bought = f"{images[best]:.2g} {amount_name(study.columns.data)}"
        raise BadRequest(
            f"{flops:g} FLOPs pay for {bought} of the best candidate; one costs {flops / images[best]:.3g}: give more"
        )
    prediction = predict_run(study, target, float(params[best]), float(images[best]))
    notes = prediction.notes + unit_notes(study.rows, study.columns)
    continuous = _best_size(record, params, price, flops)
    if np.isclose(continuous[0], [params.min(), params.max()], rtol=1e-9).any():
        notes += (_edge_note(table, best),)
    return Allocation(
        flops,
        depth,
        float(images[best]),
        prediction,
        table,
        continuous,
        notes,
    )


def _edge_note(table: pd.DataFrame, best: int) -> Note:
    first = best < len(table) / 2
    if "depth" in table:
        number, more = float(table["depth"][best]), "depths"
        words = f"the best depth, {number:g}, is the {'shallowest' if first else 'deepest'} candidate"
    else:
        number, more = float(table["params"][best]), "sizes"
        words = f"the best size, {number:.3g}, is the {'smallest' if first else 'largest'} candidate"
    return Note("edge_minimum", f"{words}: the true best may lie beyond; give more {more}", number)


def _best_size(record: LawRecord, params: np.ndarray, price: np.ndarray, flops: float) -> tuple[float, float, float]:
    """The law's own best size between the candidates, with its interval.

    Where an image costs in proportion to the size (6 N, say) sizes between the candidates are candidates, too: sizes a
    factor 4 apart would leave a parabola that misses the best one by more than its interval.
    """
    cost, sizes = price / params, params
    if len(params) > 1 and cost.max() <= PROPORTIONAL * cost.min():
        sizes = np.geomspace(params.min(), params.max(), BETWEEN)
        price = sizes * float(np.median(cost))
    inputs, law = inputs_of(record, sizes, flops / price), record.law
    return _continuous(sizes, law.predict(*inputs), law.estimator.predict(law.draws().theta, inputs))


def _continuous(params: np.ndarray, loss: np.ndarray, drawn: np.ndarray) -> tuple[float, float, float]:
    """Vertex of the parabola through the three lowest neighbours, for the fit and each resample."""
    x = np.log(params)

    def vertex(values: np.ndarray) -> np.ndarray:
        at = np.clip(values.argmin(-1), 1, len(params) - 2)
        y = np.take_along_axis(values, np.stack([at - 1, at, at + 1], -1), -1)
        a, b, c = x[at - 1], x[at], x[at + 1]
        top = (b - a) ** 2 * (y[..., 1] - y[..., 2]) - (b - c) ** 2 * (y[..., 1] - y[..., 0])
        bottom = (b - a) * (y[..., 1] - y[..., 2]) - (b - c) * (y[..., 1] - y[..., 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            best = b - 0.5 * top / bottom
        return np.clip(np.where(np.isfinite(best), best, b), x[0], x[-1])

    if len(params) < 3:
        return float(params[loss.argmin()]), 0.0, np.inf
    low, high = np.quantile(vertex(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = low if low > x[0] else -np.inf, high if high < x[-1] else np.inf  # at the edge it is no limit
    best, low, high = np.exp([vertex(loss[None])[0], low, high])
    return float(best), float(low), float(high)
