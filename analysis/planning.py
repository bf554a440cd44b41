"""Plans from laws: what a depth will reach, how to spend a budget, whether a loss is normal, which trial to add.

Candidate depths come as a table (depth, params_total, params_blocks, train_flops_per_image, learning_rate): this
package knows no models. Compute is the table's exact count, never 6ND: what a depth costs decides which depth is best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis import checks
from analysis.comparison import best_form, held_out_score
from analysis.counting import amount_name
from analysis.errors import BadRequest, CannotFit, Note
from analysis.law import FARTHEST
from analysis.record import LEVEL, LawRecord, StudyLaws
from analysis.rowchecks import repeat_notes, unit_notes
from analysis.table import ONE_SIZE, Columns, run_names, usual

# Peak dense 16-bit rates of the makers' data sheets; what a training reaches of them is an assumption until rows say.
DEVICE_FLOPS = {"h200": 989e12, "h100": 989e12, "a100": 312e12, "v100": 125e12, "rtx4090": 165e12}
ASSUMED_SHARE = 0.35
PROPORTIONAL, BETWEEN = 1.01, 400  # what 6 N may vary by; sizes tried where cost is known between candidates
REPEATED = "params, data, epochs"
SAME_BUDGET = 0.02  # in logs
NO_NOISE = 1e-12  # relative; of an exact law, and of a quantity that its form fixes
COUNTS = 1000  # a table whose data are all above this counts single images or tokens, not millions of them


@dataclass(frozen=True)
class Prediction:
    """What a law says about one run.

    Attributes:
        target: column.
        law: name of the law that was asked.
        value: predicted.
        law_low: of the interval of the law itself.
        law_high: see `law_low`.
        low: of the interval for one new run.
        high: see `low`.
        notes: extrapolation, the law's own, and data seen again.
    """

    target: str
    law: str
    value: float
    law_low: float
    law_high: float
    low: float
    high: float
    notes: tuple[Note, ...]

    def as_dict(self) -> dict:
        """Plain types."""
        return self.__dict__ | {"notes": [note.as_dict() for note in self.notes]}


def joint_record(study: StudyLaws, target: str) -> LawRecord:
    """The law in size and data that predicted the held-out sizes best; else Chinchilla's, else the tied one.

    Raises:
        CannotFit: the first refusal, where no joint law could be fitted.
    """
    records = study.find(target, "params, data")
    fitted = [record for record in records if record.law is not None]
    if not fitted:
        if records:
            refusal = records[-1].refusal
            raise CannotFit(refusal.code, f"no law of {target} in size and data: {refusal.sentence}", refusal.number)
        raise CannotFit("too_few_sizes", f"no law of {target} in size and data: the rows name no data column", 0)
    return best_form(fitted)


def fresh_record(study: StudyLaws, target: str) -> LawRecord:
    """The law that plans stand on: where it was fitted that of repeated data, asked for data seen once.

    The laws in N and D alone count data seen again as new ones, and so promise too little of new ones.

    Raises:
        CannotFit: as :func:`joint_record`.
    """
    fitted = [record for record in study.find(target, REPEATED) if record.law is not None]
    return fitted[0] if fitted else joint_record(study, target)


def _inputs(record: LawRecord, params: np.ndarray | float, images: np.ndarray | float) -> tuple:
    """What the law of :func:`fresh_record` takes."""
    return (params, images, np.ones_like(images)) if record.against == REPEATED else (params, images)


def _repeat_notes(study: StudyLaws, record: LawRecord) -> tuple[Note, ...]:
    """How the answer of a law takes data seen again, of which the rows have some."""
    notes = repeat_notes(study.rows, study.columns)
    if record.against != REPEATED:
        return notes
    words = "the answer is for data seen once: a run that sees as many by repeating fewer lies higher"
    return tuple(replace(note, sentence=words) for note in notes)


def predict_run(study: StudyLaws, target: str, params: float, images: float | None = None) -> Prediction:
    """One target at one size and number of images.

    Where data were repeated the law of repeated data answers for data seen once. Else the joint law does, or the law at
    that very budget, if there is one: whichever was nearer to its largest model, hidden.

    Args:
        study: what fit_study returned.
        target: column.
        params: size, as the study counts it.
        images: data seen; None where the rows know of no data, and their law against size answers.

    Raises:
        CannotFit: no law can answer.
        ValueError: a size or a number of images that no run can have.
    """
    _possible(study, params, images)
    record = _answering(study, target, images)
    inputs = (params,) if record.against == "params" else _inputs(record, params, images)
    law = record.law
    low, high = law.mean_interval(*inputs, level=LEVEL)
    run_low, run_high = law.prediction_interval(*inputs, level=LEVEL)
    return Prediction(
        target,
        record.name + (", data seen once" if record.against == REPEATED else ""),
        float(law.predict(*inputs)[0]),
        float(low[0]),
        float(high[0]),
        float(run_low[0]),
        float(run_high[0]),
        law.extrapolation_notes(*inputs)
        + law.notes
        + _repeat_notes(study, record)
        + _epoch_notes(study, record, images),
    )


def _answering(study: StudyLaws, target: str, images: float | None) -> LawRecord:
    """The law that is asked: of that very budget and of all, which has predicted its largest model better.

    A joint law bends to all budgets at once; at one of them that budget's own law may know better. The law of repeated
    data is asked wherever there is one, since no other tells new data from old.

    Raises:
        CannotFit: neither could be fitted.
    """
    at = [record for record in study.find(target, "params") if _same(study, record.budget, images)]
    own = best_form(at)
    try:
        joint = fresh_record(study, target)
    except CannotFit:
        if own is None and at and images is None:
            raise at[-1].refusal from None
        if own is None:
            raise
        return own
    if own is None or joint.against == REPEATED:
        return joint
    there = tuple(test for test in joint.backtests if abs(np.log(test.inputs[1] / images)) < SAME_BUDGET)
    if not own.backtests or not there:
        return joint
    return min((joint, own), key=lambda each: held_out_score(replace(each, backtests=there) if each is joint else each))


def _same(study: StudyLaws, budget: float | None, images: float | None) -> bool:
    """Whether laws at `budget` are of runs that saw so many: budgets may be counted in anything."""
    if budget is None or images is None or study.columns.data is None:
        return budget is images
    seen = study.rows.loc[study.rows[study.columns.budget] == budget, study.columns.data]
    return not seen.empty and bool((np.abs(np.log(seen / images)) < SAME_BUDGET).all())


def _epoch_notes(study: StudyLaws, record: LawRecord, images: float | None) -> tuple[Note, ...]:
    """`mixed_conventions`: an answer for more passes over the data than any row has made."""
    unique, rows = usual(study.rows, "unique"), study.rows
    if images is None or unique is None or not pd.api.types.is_numeric_dtype(rows[unique]):
        return ()
    known, seen = float(rows[unique].max()), study.columns.data
    epochs, made = images / known, float((rows[seen] / rows[unique]).max())
    if epochs <= max(1.0, made) * (1 + ONE_SIZE):
        return ()
    what = amount_name(seen)
    words = f"{images:,.0f} {what} are {epochs:.3g} epochs of the {known:,.0f} there are, and the rows make {made:.3g} "
    if record.against == REPEATED:
        words += "at most: the answer is for as many new ones"
    else:
        words += "at most: the law counts data seen again as new ones, so expect less of so long a run, or add data"
    return (Note("mixed_conventions", words, epochs),)


def _possible(study: StudyLaws, params: float, images: float | None) -> None:
    """Raise a ValueError where no run can have that size and data."""
    if not np.isfinite(params) or params <= 0:
        raise BadRequest(f"the size is {params:g} parameters; give a positive number")
    if images is None:
        return
    name = study.columns.data
    if not np.isfinite(images) or images < _least(study) or images <= 0:
        wanted = "at least 1" if _least(study) else "a positive number"
        raise BadRequest(f"the data are {images:g} {amount_name(name) if name else 'images'}; give {wanted}")


def _least(study: StudyLaws) -> float:
    """The least data that a run can see: one, unless the column may count millions."""
    name = study.columns.data
    return 1.0 if name is None or study.rows[name].min() > COUNTS else 0.0


def candidate(candidates: pd.DataFrame, depth: int) -> pd.Series:
    """The candidate of one depth.

    Raises:
        ValueError: not in the table, or the table knows sizes only.
    """
    if "depth" not in candidates:
        raise BadRequest("no column of depths names the sizes of these rows: give the parameters, --size")
    found = candidates[candidates["depth"] == depth]
    if found.empty:
        low, high = candidates["depth"].min(), candidates["depth"].max()
        raise BadRequest(f"depth {depth} is no candidate; there are depths {low:g} to {high:g}")
    if len(found) > 1:
        each = "; ".join(f"{line.cell}: {line.params_total:,.0f} parameters" for line in found.itertuples())
        raise BadRequest(f"depth {depth} is {len(found)} models of this study ({each}): give the parameters, --size")
    return found.iloc[0]


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
    params = candidates[_params_column(study.columns, candidates)].to_numpy(float)
    price = candidates["train_flops_per_image"].to_numpy(float)
    images = flops / price
    inputs = _inputs(record, params, images)
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
    if images[best] < _least(study):
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
    inputs, law = _inputs(record, sizes, flops / price), record.law
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


def device_rate(rows: pd.DataFrame, device: str | None) -> tuple[float, str] | None:
    """FLOPs a second of a device and where that number comes from: measured rows first, a data sheet second.

    Args:
        rows: a study's rows (train_flops, seconds, device).
        device: a name; None takes the device that most rows ran on.

    Raises:
        ValueError: a device that neither the rows nor the table know.
    """
    measured = (
        rows.dropna(subset=["seconds", "train_flops", "device"])
        if {"seconds", "train_flops", "device"} <= set(rows)
        else rows.iloc[:0]
    )
    if device is None and measured.empty:
        return None
    if device is None:
        device = str(measured["device"].mode().iloc[0])
    same = measured  # where nothing was timed the column may not be there
    if not measured.empty:
        same = measured[measured["device"].astype(str).str.lower().str.contains(device.lower(), regex=False)]
    if not same.empty:
        # large rows: small ones spend their time on overhead
        large = same.nlargest(max(1, len(same) // 4), "train_flops")
        rate = float(large["train_flops"].sum() / large["seconds"].sum())
        return rate, f"measured on {device} in this study's {len(large)} largest rows"
    key = device.lower().replace("-", "").replace(" ", "")
    if key not in DEVICE_FLOPS:
        raise BadRequest(
            f"no rate for device {device!r}: no row ran on it and it is not among {', '.join(DEVICE_FLOPS)}"
        )
    rate = DEVICE_FLOPS[key] * ASSUMED_SHARE
    return rate, f"{DEVICE_FLOPS[key]:.3g} FLOP/s by data sheet, {ASSUMED_SHARE:.0%} of it assumed"


@dataclass(frozen=True)
class Expectation:
    """Whether a loss is normal.

    Attributes:
        prediction: the law's answer for that size and number of images.
        measured: the loss asked about, or None.
        verdict: "normal", "higher than expected", "lower than expected", or "" without a measurement.
        deviation: measured minus predicted in standard deviations of a new run, or None.
    """

    prediction: Prediction
    measured: float | None
    verdict: str
    deviation: float | None


def expect(
    study: StudyLaws, target: str, params: float, images: float | None = None, measured: float | None = None
) -> Expectation:
    """The law's expectation of a run, and a verdict on a measured value; arguments as :func:`predict_run`.

    Raises:
        CannotFit: no law can answer.
        ValueError: a measured value that is not positive.
    """
    prediction = predict_run(study, target, params, images)
    if measured is None:
        return Expectation(prediction, None, "", None)
    if not np.isfinite(measured) or measured <= 0:
        raise BadRequest(f"the measured value is {measured}; give a positive number")
    limit = prediction.high if measured > prediction.value else prediction.low  # of its own side: they may differ
    with np.errstate(divide="ignore"):
        spread = abs(np.log(limit / prediction.value)) / 1.959964
    deviation = float(np.log(measured / prediction.value) / spread) if spread > 0 else float("inf")
    verdict = "normal"
    if measured > prediction.high:
        verdict = "higher than expected"
    elif measured < prediction.low:
        verdict = "lower than expected"
    return Expectation(prediction, measured, verdict, deviation)


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
        _possible(study, *at)
    target = target or study.columns.targets[0]
    if quantity == "loss" and at is None:
        raise BadRequest("the quantity loss needs the size and images where it is wanted")
    record = _telling(study, target, quantity)
    law, fit = record.law, record.law.estimator
    trials = [np.sort(np.asarray(images, float))] if len(images) else _trials(study)
    params = candidates[_params_column(study.columns, candidates)].to_numpy(float)
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


def _trials(study: StudyLaws) -> list[np.ndarray]:
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


def _params_column(columns: Columns, candidates: pd.DataFrame) -> str:
    if columns.params in candidates:
        return columns.params
    raise BadRequest(
        f"the candidates have no column {columns.params!r}, the N of the law; they have {', '.join(candidates)}"
    )


def candidates_of_rows(rows: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Candidates from the rows, where nobody gave a table: the sizes that were trained, at their own cost.

    Sizes within 1 % are one. Where no column of depths tells the sizes apart the candidates have none.

    Raises:
        ValueError: no column of sizes, or no word on what an image costs.
    """
    if columns.params is None:
        raise BadRequest("the rows name no column of sizes, so there are no candidates")
    sizes = checks.bins(rows[columns.params].to_numpy(float), ONE_SIZE)
    names = [columns.depth, columns.params, "train_flops_per_image", "learning_rate"]
    names = [name for name in names if name and name in rows]
    table = rows[names].groupby(sizes).first()
    if "train_flops_per_image" not in table:
        if columns.compute is None or columns.data is None:
            raise BadRequest("what an image costs is unknown: give candidates, or rows with compute and data columns")
        table["train_flops_per_image"] = (rows[columns.compute] / rows[columns.data]).groupby(sizes).median()
    return table


__all__ = [
    "FARTHEST",
    "Allocation",
    "Design",
    "Expectation",
    "Prediction",
    "allocate",
    "candidate",
    "candidates_of_rows",
    "design",
    "device_rate",
    "expect",
    "fresh_record",
    "joint_record",
    "predict_run",
]
