"""Which trial to add: the one that shrinks a quantity's interval most per FLOP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import BadRequest, CannotFit
from analysis.plans.candidates import params_column
from analysis.plans.predict import NO_NOISE, check_possible, joint_record
from analysis.rows import checks
from analysis.rows.budgets import ONE_SIZE
from analysis.rows.columns import run_names
from analysis.study.record import LawRecord, StudyLaws


@dataclass(frozen=True)
class Design:
    """Which trial to add.

    Attributes:
        quantity: whose interval is to shrink.
        variance: its variance now (local, from the fit's Jacobian).
        table: one line a candidate trial, best first: depth (if known), params, images, flops, shrinks (share of the
            standard error that it takes away), per_flop (relative to the best).
        budgets: that each trial has, where one trunk gives several; else 1.
        law: name of the law whose quantity it is.
    """

    quantity: str
    variance: float
    table: pd.DataFrame
    budgets: int = 1
    law: str = ""


def design(
    study: StudyLaws,
    candidates: pd.DataFrame,
    quantity: str = "alpha",
    target: str | None = None,
    images: Sequence[float] = (),
    most_flops: float | None = None,
    at: tuple[float, float] | None = None,
) -> Design:
    """Rank trials by how much each shrinks the interval of one quantity per FLOP.

    Local optimal design: a row with Jacobian j adds j j'/s^2 to the information, so the variance of a quantity with
    gradient g falls by (g'V j)^2 / (s^2 + j'V j). Where the study's runs have several budgets each (one trunk, several
    rows), so has a new trial, at the price of the largest; its rows are counted as independent, which promises too much
    where they share their luck. Elsewhere a new trial is one row, and each size is tried at each amount of data.

    Args:
        study: holds a joint law of `target`.
        candidates: models with their exact cost.
        quantity: a coefficient or derived number of the law, or "loss" at the point `at`.
        target: column; None takes the study's first.
        images: budgets of the new trial, all of them; empty takes the study's own.
        most_flops: leaves out trials that cost more.
        at: (params, images) where "loss" is wanted.

    Raises:
        CannotFit: no joint law.
        ValueError: an unknown quantity, nothing within `most_flops`, or a point that no run can have.
    """
    if most_flops is not None and not most_flops > 0:
        raise BadRequest(f"a trial may cost {most_flops:g} FLOPs at most; give a positive number")
    if at is not None:
        check_possible(study, *at)
    target = target or study.columns.targets[0]
    if quantity == "loss" and at is None:
        raise BadRequest("the quantity loss needs the size and images where it is wanted")
    record = _telling(study, target, quantity)
    law, fit = record.law, record.law.estimator
    trials = [np.sort(np.asarray(images, float))] if len(images) else trials_of(study)
    params = candidates[params_column(study.columns, candidates)].to_numpy(float)
    price = candidates["train_flops_per_image"].to_numpy(float)

    def value(theta: np.ndarray) -> np.ndarray:
        if quantity == "loss":
            return np.log(fit.predict(theta, tuple(np.array([x]) for x in at)))[:, 0]
        return fit.natural(theta)[quantity]

    gradient = _gradient(value, fit.theta)
    noise = max(law.noise_sd, NO_NOISE) ** 2
    information = (fit.jacobian * fit.weights[:, None]).T @ fit.jacobian / noise
    covariance = np.linalg.pinv(information, rcond=1e-13, hermitian=True)
    variance = float(gradient @ covariance @ gradient)
    lines = []
    for place, size in enumerate(params):
        for budgets in trials:
            flops = float(price[place] * budgets.max())
            if most_flops is not None and flops > most_flops:
                continue
            at_size = np.full(len(budgets), size), budgets
            rows = _gradient(lambda theta, at_size=at_size: fit.to_response(fit.predict(theta, at_size)), fit.theta)
            updated = np.linalg.pinv(information + rows @ rows.T / noise, rcond=1e-13, hermitian=True)
            share = 1 - float(np.sqrt(max(gradient @ updated @ gradient, 0.0) / variance))
            line = {"depth": int(candidates["depth"].iloc[place])} if "depth" in candidates else {}
            lines.append(line | {"params": size, "images": float(budgets.max()), "flops": flops, "shrinks": share})
    if not lines:
        cheapest = price.min() * min(budgets.max() for budgets in trials)
        raise BadRequest(f"no candidate costs at most {most_flops:.3g} FLOPs; the cheapest costs {cheapest:.3g}")
    table = pd.DataFrame(lines)
    per_flop = -np.log1p(-np.clip(table["shrinks"], 0, 1 - 1e-12)) / table["flops"]
    table["per_flop"] = per_flop / per_flop.max() if per_flop.max() > 0 else 0.0
    table = table.sort_values("per_flop", ascending=False, ignore_index=True)
    return Design(quantity, variance, table, max(len(budgets) for budgets in trials), record.name)


def _telling(study: StudyLaws, target: str, quantity: str) -> LawRecord:
    """The joint law whose `quantity` rows can tell: the preferred one, else the other, whose form leaves it free.

    Raises:
        CannotFit: no joint law, or none of which rows determine the quantity.
        BadRequest: a quantity that no law of this kind has.
    """
    preferred = joint_record(study, target)
    others = [record for record in study.find(target, "params, data") if record.law is not None]
    known: dict[str, None] = {}
    fixed = None
    for record in sorted(others, key=lambda record: record is not preferred):
        fit = record.law.estimator
        names = fit.natural(fit.theta[None])
        known |= dict.fromkeys(names)
        if quantity == "loss":
            return record
        if quantity not in names:
            continue
        slopes = _gradient(lambda theta, fit=fit: fit.natural(theta)[quantity], fit.theta)
        if np.abs(slopes).max() > NO_NOISE * abs(float(names[quantity][0])) and np.isfinite(slopes).all():
            return record
        fixed = fixed or (record, float(names[quantity][0]))
    if fixed is None:
        raise BadRequest(f"no quantity {quantity!r}; the law has {', '.join(known)}, and loss with a point")
    record, number = fixed
    raise CannotFit(
        "at_bound",
        f"{quantity} is {number:g} in {record.name}, whatever the rows say: no trial narrows it; ask for another",
        number,
    )


def trials_of(study: StudyLaws) -> list[np.ndarray]:
    """The budgets of each new trial: all that most runs have, where runs have several; else any one of the rows'."""
    data = study.rows[study.columns.data].to_numpy(float)
    codes = checks.bins(data, ONE_SIZE)
    amounts = pd.Series(data).groupby(codes).max().to_numpy()
    sets = pd.Series(codes).groupby(run_names(study.rows, study.columns)).agg(lambda run: tuple(sorted(set(run))))
    usual = max(sets.value_counts().items(), key=lambda pair: (pair[1], len(pair[0])))[0]
    return [amounts[list(usual)]] if len(usual) > 1 else [amounts[[place]] for place in range(len(amounts))]


def _gradient(function, theta: np.ndarray) -> np.ndarray:
    """Central differences: (p,) for a scalar, (p, m) for m values."""
    steps = 1e-5 * np.maximum(np.abs(theta), 1e-2)
    moved = np.concatenate([theta + np.diag(steps), theta - np.diag(steps)])
    values = np.asarray(function(moved))
    p = len(theta)
    return (values[:p] - values[p:]) / (2 * steps.reshape(-1, *([1] * (values.ndim - 1))))
