"""Which runs to make for the loss at one point, and what its interval is expected to become for each sum spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import BadRequest
from analysis.plans.candidates import params_column
from analysis.plans.design import trials_of
from analysis.plans.designer import Designer
from analysis.plans.predict import check_possible
from analysis.study.record import LEVEL, StudyLaws

SHARES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)  # of what all candidates cost together: the sums that are told
PLANNED = 0.1  # the share that the proposed runs are the plan for


@dataclass(frozen=True)
class NextRuns:
    """What to add to a study.

    Attributes:
        trials: one line a run, the most telling for its cost first: depth (if known), params, images, flops.
        planned: the sum that they are the first part of a plan for.
        outlook: one line a sum: spend, cost and runs of what it buys best, half_width of the interval over its value.
        value: the loss at the point, as believed now.
        low: end of its 95 % interval for a new run.
        high: the other end.
        weights: how probable each form is.
    """

    trials: pd.DataFrame
    planned: float
    outlook: pd.DataFrame
    value: float
    low: float
    high: float
    weights: dict[str, float]


def next_runs(
    study: StudyLaws,
    candidates: pd.DataFrame,
    at: tuple[float, float],
    target: str | None = None,
    images: Sequence[float] = (),
    most_flops: float | None = None,
    n: int = 8,
) -> NextRuns:
    """Runs that narrow the loss at a point most for what they cost, from a study's rows (:class:`Designer`).

    A candidate is one size with one amount of data, at its whole price: what a shared trunk would save is left out.

    Args:
        study: with sizes, data and a loss; of repeated data the law of those, asked for data seen once.
        candidates: models with their exact cost.
        at: (params, images) where the loss is wanted.
        target: column; None takes the study's first.
        images: amounts of data of the new runs; empty takes the study's own.
        most_flops: leaves out runs that cost more.
        n: how many runs.

    Raises:
        BadRequest: a study without sizes and data, a point that no run can have, nothing within `most_flops`.
    """
    check_possible(study, *at)
    columns, target = study.columns, target or study.columns.targets[0]
    if columns.params is None or columns.data is None:
        raise BadRequest("the loss at a point needs rows that name their size and their data; they lack one of the two")
    rows = study.rows[study.rows[target].notna()]
    amounts = np.asarray(images, float) if len(images) else np.unique(np.concatenate(trials_of(study)))
    sizes = candidates.reset_index(drop=True)
    new = sizes.loc[sizes.index.repeat(len(amounts))].reset_index(drop=True)
    new["params"], new["images"] = new[params_column(columns, candidates)].to_numpy(float), np.tile(amounts, len(sizes))
    new["flops"] = new["images"] * new["train_flops_per_image"]
    if most_flops is not None:
        cheapest = new["flops"].min()
        new = new[new["flops"] <= most_flops]
        if new.empty:
            raise BadRequest(f"no candidate costs at most {most_flops:.3g} FLOPs; the cheapest costs {cheapest:.3g}")
    known = pd.DataFrame({"params": rows[columns.params], "data": rows[columns.data], "cost": 1.0})  # spent already
    open_ = pd.DataFrame({"params": new["params"], "data": new["images"], "cost": new["flops"]})
    wanted = pd.DataFrame({"params": [at[0]], "data": [at[1]]})
    forms: tuple[str, ...] = ("chinchilla", "coupled")
    if columns.unique and columns.epochs:
        forms = ("repeated",)
        known = known.assign(unique=rows[columns.unique], epochs=rows[columns.epochs])
        open_, wanted = (table.assign(unique=table["data"], epochs=1.0) for table in (open_, wanted))
    designer = Designer(pd.concat([known, open_], ignore_index=True), "cost", wanted, forms)
    for label, loss in enumerate(rows[target].to_numpy(float)):
        designer.tell(label, loss)
    total = float(open_["cost"].sum())
    sum_planned = max(PLANNED * total, float(open_["cost"].min()))
    chosen = [label - len(known) for label in designer.plan(sum_planned)[:n]]
    kept = [name for name in ("depth", "params", "images", "flops") if name in new]
    low, high = designer.interval(wanted, LEVEL)
    return NextRuns(
        new.iloc[chosen][kept].reset_index(drop=True),
        sum_planned,
        designer.outlook([share * total for share in SHARES], LEVEL),
        float(designer.predict(wanted)[0]),
        float(low[0]),
        float(high[0]),
        dict(designer.weights),
    )
