"""The laws of one column of a table against size, compute or loss: fits, refusals, backtests, as records."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.errors import CannotFit
from analysis.laws.backtest import hold_out
from analysis.laws.law import Law
from analysis.laws.power import OFFSET, PLAIN, fit_power_law, fixed_offset
from analysis.laws.saturating import GIVEN_LOSS, SATURATING, fit_fid_given_loss, fit_saturating
from analysis.rows import checks
from analysis.rows.budgets import ENOUGH_SIZES, most_unique
from analysis.rows.columns import Columns, run_names
from analysis.rows.names import usual
from analysis.study.fixing import Fixed
from analysis.study.frontier import cell_frontier
from analysis.study.record import LEVEL, LawRecord
from analysis.study.trajectories import Trajectories

# A study holds dozens of intervals; 95 % limits move by some 4 % of the width between 1,000 and 10,000 resamples.
RESAMPLES = 1000
BACKTEST_RESAMPLES = 300  # one prediction interval each
FRONTIER_SIZES = 3  # fewer draw a curve of training, not a frontier over models

NOTHING = Fixed()  # is given

Fit = Callable[[np.ndarray], Law]  # takes a boolean mask of rows


def against_size(
    table: pd.DataFrame,
    columns: Columns,
    target: str,
    conventions: dict,
    holdout: int,
    offsets: tuple[float, ...],
    fixed: Fixed = NOTHING,
) -> list[LawRecord]:
    """A power law, the same with an offset, and for error rates the saturating form, at every budget."""
    against, words = columns.against, {"x": conventions["N" if columns.params else "D"]}
    forms: list[tuple[str, str | float]] = _forms(offsets)
    ceiling = _ceiling(table[target], target)
    if ceiling is not None:
        forms.append((SATURATING.name, SATURATING.name))
    if columns.budgets == ():
        refusal, points = _mixed_data(table, columns), points_of(table, columns, y=target, x=columns.x)
        return [LawRecord(target, against, None, form, None, refusal, points) for form, _ in forms]
    groups = [(None, table)] if columns.budget is None else list(table.groupby(columns.budget))
    data = {
        None if budget is None else float(budget): points_of(
            most_unique(group, columns), columns, y=target, x=columns.x
        )
        for budget, group in groups
        if columns.budgets is None or budget in columns.budgets
    }
    records = []
    for form, offset in forms:
        fits = {budget: _one_variable(rows, offset, words, ceiling, fixed) for budget, rows in data.items()}
        # one noise of new runs for all budgets: with five depths and three parameters a single one cannot know its own
        pooled = _pooled_noise(fits, data, 0)
        pooled_test = _pooled_noise(fits, data, holdout) if holdout else None
        for budget, rows in data.items():
            fit = _with_noise(fits[budget], pooled, pooled_test)
            x = rows["x"].to_numpy(float)
            records.append(record_of(target, against, budget, form, fit, rows, (x,), holdout))
    order = list(data)
    return sorted(records, key=lambda record: order.index(record.budget))


def _mixed_data(table: pd.DataFrame, columns: Columns) -> CannotFit:
    if columns.data is None:
        found = table[columns.compute].nunique()
        return CannotFit(
            "mixed_conventions",
            f"rows of like size differ in {columns.compute} ({found} values): a law against N alone would take more "
            "training for a better size; name --data or --budget, or read the law in C and the isoFLOP minima",
            found,
        )
    found, one = table[columns.budget].nunique(), f" at one {columns.unique}" if columns.unique else ""
    return CannotFit(
        "mixed_conventions",
        f"rows of like size differ in data, and few share one of the {found} values of {columns.data} with "
        f"{ENOUGH_SIZES} sizes{one}: a law against N alone would take more data for a better size; name --budget, or "
        "read the joint law",
        found,
    )


def points_of(table: pd.DataFrame, columns: Columns, **parts: str | None) -> pd.DataFrame:
    """What a fit takes, by part, with `run`; where nothing names the runs also `row`, as the file's reader counts.

    A study's runs are called by their folders, which say depth and seed beside the trial.
    """
    points = pd.DataFrame({part: table[name].to_numpy(float) for part, name in parts.items()})
    points["run"] = run_names(table, columns)
    if columns.run is None:
        points["row"] = table.index.to_numpy() + 1
    elif "folder" in table:
        points["name"] = table["folder"].to_numpy()
    return points


def _one_variable(
    rows: pd.DataFrame, offset: str | float, words: dict, ceiling: float | None = None, fixed: Fixed = NOTHING
) -> Fit:
    """The fit of any subset of the rows, made once: the pooled noise and the law itself ask for the same."""
    x, y, runs = rows["x"].to_numpy(float), rows["y"].to_numpy(float), rows["run"].to_numpy()
    known: dict[bytes, Law | CannotFit] = {}

    def fit(mask: np.ndarray) -> Law:
        law: Law
        key = mask.tobytes()
        if key not in known:
            try:
                if offset == SATURATING.name:
                    fix = fixed.of(SATURATING)
                    law = fit_saturating(x[mask], y[mask], ceiling, runs[mask], conventions=words, fix=fix)
                else:
                    fix = {"none": fixed.of(PLAIN), "fit": fixed.of(OFFSET)}.get(offset)
                    law = fit_power_law(x[mask], y[mask], offset, runs[mask], conventions=words, fix=fix)
                known[key] = replace(law, resamples=RESAMPLES)
            except CannotFit as refusal:
                known[key] = refusal
        found = known[key]
        if isinstance(found, CannotFit):
            raise found
        return found

    return fit


def _with_noise(fit: Fit, every: tuple[float, float] | None, some: tuple[float, float] | None) -> Fit:
    """The same fits with the noise of all budgets; `some` where rows are hidden."""
    return lambda mask: replace(fit(mask), pooled=every if mask.all() else some)


def _pooled_noise(fits: dict, data: dict[float | None, pd.DataFrame], hidden: int) -> tuple[float, float] | None:
    """Standard deviation and degrees of freedom over the laws of all budgets, the `hidden` largest sizes left out.

    Checkpoints of one run share its luck, so that twelve budgets of five runs may know no more than one: with a
    correlation r between the residuals of a run at two budgets, B budgets of f degrees of freedom have
    B f / (1 + (B - 1) r^2), which is Satterthwaite's.
    """
    residuals, freedoms, total = [], [], 0.0
    for budget, rows in data.items():
        codes = checks.group_sizes(rows["x"].to_numpy(float))
        mask = codes <= codes.max() - hidden
        try:
            law = fits[budget](mask)
        except CannotFit:
            continue
        if law.freedom:
            total += law.noise_sd**2 * law.freedom
            freedoms.append(law.freedom)
            residuals.append(pd.Series(law.residuals).groupby(rows["run"].to_numpy()[mask]).sum())
    if not total:
        return None
    freedom = np.array(freedoms, float)
    table = pd.concat(residuals, axis=1).fillna(0.0).to_numpy()
    shared = np.sqrt(np.outer(freedom, freedom)) * (1 - np.eye(len(freedom)))
    products = (table.T @ table) * (1 - np.eye(len(freedom)))
    alike = float(products.sum() / (total / freedom.sum() * shared.sum())) if len(freedom) > 1 else 0.0
    both = np.minimum.outer(freedom, freedom) * (1 - np.eye(len(freedom)))
    known = freedom.sum() ** 2 / (freedom.sum() + np.clip(alike, 0.0, 1.0) ** 2 * both.sum())
    return float(np.sqrt(total / freedom.sum())), float(known)


def against_compute(
    table: pd.DataFrame,
    columns: Columns,
    target: str,
    conventions: dict,
    holdout: int,
    offsets: tuple[float, ...],
    fixed: Fixed = NOTHING,
) -> list[LawRecord]:
    """The frontier of cell means: the best single seed would be the luckiest one."""
    data = cell_frontier(table, columns, target)
    words, x = {"x": conventions["C"]}, data["x"].to_numpy(float)
    sizes = int(checks.group_sizes(table[columns.params].to_numpy(float)).max()) + 1 if columns.params else None
    if sizes is not None and sizes < FRONTIER_SIZES:
        curve = f"the frontier of {sizes} size{'' if sizes == 1 else 's'} is their learning curve: no law in compute"
        refusal = CannotFit("too_few_sizes", f"{curve}; train {FRONTIER_SIZES} sizes or more", sizes)
        return [LawRecord(target, "compute", None, form, None, refusal, data) for form, _ in _forms(offsets)]
    return [
        record_of(target, "compute", None, form, _one_variable(data, offset, words, fixed=fixed), data, (x,), holdout)
        for form, offset in _forms(offsets)
    ]


def _ceiling(values: pd.Series, target: str) -> float | None:
    """What an untrained model scores on an error rate, in shares or per cent; None where a column is no error rate."""
    if not re.search(r"error|(?<![a-z])err(?![a-z])", target.lower()):
        return None
    largest = float(values.max())
    return None if largest > 100 else 100.0 if largest > 1 else 1.0


def given_loss(
    table: pd.DataFrame, columns: Columns, target: str, holdout: int, fixed: Fixed = NOTHING
) -> list[LawRecord]:
    """FID given loss, one family at a time: equal loss is not equal quality across families."""
    loss, family = columns.loss, usual(table, "family")
    families = table[family] if family else pd.Series("all rows", index=table.index)
    records = []
    for family, part in table[table[loss].notna()].groupby(families):
        data = points_of(part, columns, y=target, x=loss)
        x, y, runs = (data[name].to_numpy() for name in ("x", "y", "run"))

        def fit(mask: np.ndarray, x=x, y=y, runs=runs) -> Law:
            given = fixed.of(GIVEN_LOSS)
            law = fit_fid_given_loss(x[mask], y[mask], runs[mask], conventions={"loss": loss}, fix=given)
            return replace(law, resamples=RESAMPLES)

        # hidden: the lowest losses, which is where the curve will be asked
        records.append(record_of(target, "loss", None, f"{GIVEN_LOSS.name}, {family}", fit, data, (x,), holdout, 1 / x))
    return records


def against_trajectories(trunks: Trajectories, conventions: dict, holdout: int) -> list[LawRecord]:
    """The frontier of training curves that have not annealed, apart from every law of finished budgets."""
    words = {"x": conventions["C"] + "; unfinished: training loss on the trunk, before any anneal"}
    x = trunks.frontier["x"].to_numpy(float)
    return [
        record_of(
            "train_loss",
            "compute, trajectories",
            None,
            form,
            _one_variable(trunks.frontier, offset, words),
            trunks.frontier,
            (x,),
            holdout,
        )
        for form, offset in _forms(())
    ]


def _forms(offsets: tuple[float, ...]) -> list[tuple[str, str | float]]:
    return [(PLAIN.name, "none"), (OFFSET.name, "fit")] + [(fixed_offset(value).name, value) for value in offsets]


def _named(data: pd.DataFrame, rows: np.ndarray | tuple[int, ...]) -> str:
    """Rows of a fit as runs, or as a CSV's rows counted from 1 as all else about it."""
    if "row" in data:
        names = [f"row {row}" for row in data["row"].iloc[list(rows)]]
    else:
        called = data.get("name", "run " + data["run"].astype(str)).iloc[list(rows)]
        names = [f"{name} (x = {x:.4g})" for name, x in zip(called, data["x"].iloc[list(rows)], strict=True)]
    return checks.listed(names)


def _with_ceiling(fit: Fit, data: pd.DataFrame, target: str) -> Fit:
    """The same fits, whose predictions of an error rate end where an untrained model is."""
    ceiling = _ceiling(data["y"], target)
    return fit if ceiling is None else lambda mask: replace(fit(mask), ceiling=ceiling)


def _with_names(fit: Fit, data: pd.DataFrame) -> Fit:
    """The same fits, whose note `outliers` and whose refusals name rows as :func:`_named` does, not as positions."""

    def named(mask: np.ndarray) -> Law:
        places = np.flatnonzero(mask)
        try:
            law = fit(mask)
        except CannotFit as refusal:
            rows = tuple(int(places[row]) for row in refusal.rows)
            words = refusal.sentence
            if rows:
                words = words.replace(checks.name_rows(refusal.rows), _named(data, rows))
            raise CannotFit(refusal.code, words, refusal.number, rows) from refusal
        notes = []
        for note in law.notes:
            if note.code == "outliers":
                words = note.sentence.split(": ", 1)[1]
                note = replace(note, sentence=f"{_named(data, places[list(note.rows)])}: {words}")
            notes.append(note)
        return replace(law, notes=tuple(notes))

    return named


def record_of(
    target: str,
    against: str,
    budget: float | None,
    form: str,
    fit: Fit,
    data: pd.DataFrame,
    inputs: tuple[np.ndarray, ...],
    holdout: int,
    key: np.ndarray | None = None,
) -> LawRecord:
    """One law with its backtest, which hides the largest values of `key` (None: of the first input)."""
    fit, everything = _with_names(_with_ceiling(fit, data, target), data), np.ones(len(data), bool)
    try:
        law, refusal = fit(everything), None
        # an interval that cannot be had refuses the law here, not on the table or the figure
        for name in law.estimator.natural(law.estimator.theta[None]):
            law.interval(name, LEVEL)
    except CannotFit as error:
        return LawRecord(target, against, budget, form, None, error, data)
    tests, test_refusal = ([], None)
    if holdout:
        tests, test_refusal = hold_out(
            lambda mask: replace(fit(mask), resamples=BACKTEST_RESAMPLES),
            inputs[0] if key is None else key,
            inputs,
            data["y"].to_numpy(float),
            holdout,
        )
    return LawRecord(target, against, budget, form, law, refusal, data, tuple(tests), test_refusal)
