"""All laws of one table: rows -> checks, fits, refusals, backtests. One frozen value, which tables and figures read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pandas as pd

from analysis import checks, rowchecks
from analysis.backtest import Backtest, hold_out
from analysis.collapse import Collapse
from analysis.compute_frontier import cell_frontier
from analysis.counting import COMPUTE_WORDS, PARAMS_WORDS
from analysis.diagnostics import study_collapse, study_isoflop, study_sensitivity
from analysis.errors import CannotFit, Note
from analysis.isoflop import IsoFlop
from analysis.law import Law
from analysis.parallel import in_parallel
from analysis.parametric import fit_chinchilla, fit_repeated
from analysis.power import fit_power_law
from analysis.rowchecks import FallCheck
from analysis.saturating import fit_fid_given_loss, fit_saturating
from analysis.table import ENOUGH_SIZES, SIX_ND, Columns, is_fid, run_names, usual
from analysis.tied import fit_tied
from analysis.trajectories import Trajectories, study_trajectories

# A study holds dozens of intervals; 95 % limits move by some 4 % of the width between 1,000 and 10,000 resamples.
RESAMPLES = 1000
BACKTEST_RESAMPLES = 300  # one prediction interval each
LEVEL = 0.95
FRONTIER_SIZES = 3  # fewer draw a curve of training, not a frontier over models
LEAST_DELTA = 1e-4  # the law of repeated data has no form of absolute deviations

Fit = Callable[[np.ndarray], Law]  # takes a boolean mask of rows


@dataclass(frozen=True)
class LawRecord:
    """One law that was asked for, or the refusal in its place.

    Attributes:
        target: column that was fitted.
        against: "params", "data" (of a table that knows nothing else), "compute" (the frontier of finished budgets),
            "compute, trajectories" (the frontier of unfinished ones), "params, data", "params, data, epochs" or "loss"
            (FID of one family).
        budget: the budget that its rows share; None where the law spans budgets.
        form: "power", "power + offset", "power + fixed offset ...", "saturating", "chinchilla", "tied exponents",
            "repeated data" or "FID given loss, FAMILY".
        law: the fit, or None.
        refusal: why there is none.
        rows: what was fitted: columns x (and data), y, run (and row, of a CSV that names no runs); one line a row.
        backtests: hidden points, predicted.
        backtest_refusal: why there are none.
    """

    target: str
    against: str
    budget: float | None
    form: str
    law: Law | None
    refusal: CannotFit | None
    rows: pd.DataFrame = field(repr=False)
    backtests: tuple[Backtest, ...] = ()
    backtest_refusal: CannotFit | None = None

    @property
    def name(self) -> str:
        """Stable and unique within a study."""
        budget = "" if self.budget is None else f" at {self.budget:g}"
        return f"{self.target} against {self.against}{budget}, {self.form}"

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        result = {
            "name": self.name,
            "target": self.target,
            "against": self.against,
            "budget": self.budget,
            "form": self.form,
            "refused": self.refusal.as_dict() if self.refusal else None,
            "backtests": [test.as_dict() for test in self.backtests],
            "backtest_refused": self.backtest_refusal.as_dict() if self.backtest_refusal else None,
        }
        if self.law is not None:
            result |= self.law.as_dict(level=LEVEL)
            result["correlation"] = getattr(self.law, "correlation", None)
        return result


@dataclass(frozen=True)
class StudyLaws:
    """Everything that fit-laws found.

    Attributes:
        name: of the study or file.
        source: where the rows came from.
        columns: which column played which part.
        conventions: how N, D, C and the losses were counted, in words.
        records: one a law, in a stable order.
        falls: whether losses fall with size and with budget, as the rows say.
        notes: about the rows as a whole.
        rows: the table that was fitted.
        sensitivity: name -> table of the same fit with something left out or counted differently.
        sensitivity_of: the law that `sensitivity` repeats, in words.
        collapse: normalised training curves, where the rows come from run folders.
        trajectories: trunk curves against compute and their frontier, never mixed with finished budgets.
        isoflop: minima over size at equal compute of the first target, or why there are none.
    """

    name: str
    source: str
    columns: Columns
    conventions: dict[str, str]
    records: tuple[LawRecord, ...]
    falls: tuple[FallCheck, ...]
    notes: tuple[Note, ...]
    rows: pd.DataFrame = field(repr=False)
    sensitivity: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    sensitivity_of: str = ""
    collapse: Collapse | None = field(default=None, repr=False)
    trajectories: Trajectories | None = field(default=None, repr=False)
    isoflop: IsoFlop | CannotFit | None = field(default=None, repr=False)

    def find(
        self,
        target: str | None = None,
        against: str | None = None,
        form: str | None = None,
        budget: float | None = None,
    ) -> list[LawRecord]:
        """Records that match everything given."""
        return [
            record
            for record in self.records
            if (target is None or record.target == target)
            and (against is None or record.against == against)
            and (form is None or record.form == form)
            and (budget is None or record.budget == budget)
        ]

    def other_sentences(self) -> list[str]:
        """The collapse of training curves and the isoFLOP minima, each in a sentence for people."""
        sentences = [self.collapse.sentence] if self.collapse is not None else []
        if isinstance(self.isoflop, IsoFlop):
            for name, law in (("N*", self.isoflop.optimum), ("D*", self.isoflop.data_optimum)):
                low, high = law.interval("exponent", LEVEL)
                sentences.append(
                    f"isoFLOP ({len(self.isoflop.minima)} minima): {name} = {law.coefficient:.3g} C^{law.exponent:.4f} "
                    f"[{low:.3g} to {high:.3g}]"
                )
        return sentences

    @property
    def fitted(self) -> list[LawRecord]:
        """Records that hold a law."""
        return [record for record in self.records if record.law is not None]

    @property
    def refused(self) -> list[LawRecord]:
        """Records that hold a refusal."""
        return [record for record in self.records if record.law is None]

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return {
            "study": self.name,
            "source": self.source,
            "rows": len(self.rows),
            "conventions": self.conventions,
            "columns": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.columns.__dict__.items()
            },
            "notes": [note.as_dict() for note in self.notes],
            "falls": [
                {
                    "target": check.target,
                    "along": check.along,
                    "holds": check.holds,
                    "pairs": check.pairs,
                    "worst": check.worst,
                    "sentence": check.sentence,
                }
                for check in self.falls
            ],
            "laws": [record.as_dict() for record in self.records],
            "sensitivity_of": self.sensitivity_of,
            "sensitivity": {name: table.to_dict("records") for name, table in self.sensitivity.items()},
            "collapse": None if self.collapse is None else self.collapse.as_dict(),
            "isoflop": _isoflop_dict(self.isoflop),
        }


def _isoflop_dict(found: IsoFlop | CannotFit | None) -> dict | None:
    if found is None or isinstance(found, CannotFit):
        return None if found is None else {"refused": found.as_dict()}
    return found.as_dict(LEVEL)


class FitOptions(TypedDict, total=False):
    """What every way to :func:`fit_study` takes.

    Attributes:
        holdout: how many of the largest sizes the backtests hide; 1, and 0 for none.
        holdout_by: whether joint laws hide sizes (the default) or budgets; laws at one budget always hide sizes.
        offsets: fixed offsets to show beside the fitted one.
        delta: Huber's switch point of the law in size and data. The default, inf, is least squares on logs, which uses
            every row of runs of one recipe; 1e-3 is the field's choice for rows read off figures.
        progress: called with the names of the targets as their fits start.
        meanwhile: called in this process while another has begun to fit, for instance to import what draws.
    """

    holdout: int
    holdout_by: Literal["size", "budget"]
    offsets: tuple[float, ...]
    delta: float
    progress: Callable[[str], None] | None
    meanwhile: Callable[[], object] | None


def fit_study(
    rows: pd.DataFrame,
    columns: Columns,
    *,
    name: str = "",
    source: str = "",
    folders: Path | None = None,
    notes: tuple[Note, ...] = (),
    **options: Unpack[FitOptions],
) -> StudyLaws:
    """Fit every law that the table can be asked for.

    For each target: (beta N)^alpha and E + (beta N)^alpha at every budget, the same against compute on the frontier of
    finished budgets, and E + A/N^alpha + B/D^beta over all budgets, each with a backtest on its largest sizes.

    Args:
        rows: one row a (trial, budget); numbers checked (:func:`analysis.table.check_table`, or a study's own rows).
        columns: which column plays which part.
        name: of the study.
        source: where the rows came from.
        folders: where the trials' folders lie, for their training curves; None leaves the collapse out.
        notes: what is already known about the rows, for instance which were left out.
        **options: see :class:`FitOptions`.

    Raises:
        CannotFit: ``too_few_sizes`` where there are no rows at all.
    """
    if rows.empty:
        raise CannotFit(
            "too_few_sizes", "the study has no finished rows yet; launch it, or wait for its first budget", 0
        )
    holdout, delta = options.get("holdout", 1), options.get("delta", np.inf)
    offsets, by_budget = options.get("offsets", ()), int(options.get("holdout_by") == "budget")
    progress, meanwhile = options.get("progress"), options.get("meanwhile")
    own = folders is not None  # a column of somebody's CSV is what they say it is, whatever its name
    conventions = _conventions(columns, own)

    laws: list[Callable[[], list[LawRecord]]] = []
    for target in columns.targets:
        table = rows[rows[target].notna()]
        if table.empty:
            continue
        common = table, columns, target, conventions, holdout
        if columns.x:
            laws.append(partial(_against_size, *common, offsets))
        if columns.compute:
            laws.append(partial(_against_compute, *common, offsets))
        if columns.params and columns.data:
            laws.append(partial(_against_both, *common, delta, by_budget))
        if columns.params and columns.epochs:
            laws.append(partial(_repeated, *common, delta, by_budget))
        if columns.loss and is_fid(target):
            laws.append(partial(_given_loss, table, columns, target, holdout))

    def unfinished() -> tuple[Trajectories | None, list[LawRecord]]:
        trunks = None if folders is None else study_trajectories(rows, columns, folders)
        return trunks, [] if trunks is None else _against_trajectories(trunks, conventions, holdout)

    tasks: list[Callable[[], Any]] = [partial(_with_draws, fit) for fit in laws]
    tasks += [
        lambda: study_sensitivity(rows, columns, delta) if columns.params else ({}, ""),
        lambda: study_isoflop(rows, columns),
        lambda: None if folders is None else study_collapse(rows, columns, folders),
        unfinished,
    ]
    if progress is not None:
        progress(", ".join(columns.targets))
    *found, (sensitivity, sensitivity_of), valleys, curves, (trunks, on_trunks) = in_parallel(tasks, meanwhile)
    notes += (
        rowchecks.left_out_notes(rows)
        + rowchecks.convention_notes(rows, columns)
        + rowchecks.recipe_notes(rows, columns)
        + rowchecks.budget_notes(rows, columns)
        + rowchecks.unused_notes(rows, columns, own)
        + (curves.notes if curves is not None else ())
    )
    return StudyLaws(
        name=name,
        source=source,
        columns=columns,
        conventions=conventions,
        records=tuple(record for records in [*found, on_trunks] for record in records),
        falls=tuple(rowchecks.fall_checks(rows, columns)),
        notes=notes,
        rows=rows,
        sensitivity=sensitivity,
        sensitivity_of=sensitivity_of,
        collapse=curves,
        trajectories=trunks,
        isoflop=valleys,
    )


def _conventions(columns: Columns, own: bool) -> dict[str, str]:
    """How each part was counted, in words: a study's own counts, a CSV's columns by name."""
    words = PARAMS_WORDS | COMPUTE_WORDS | {"images_seen": "D: images seen"} if own else {}
    given = {
        "N": columns.params,
        "D": columns.data,
        "C": columns.compute,
        "U": columns.unique,
        "epochs": columns.epochs,
    }
    if not any(given.values()):
        given["loss"] = columns.loss
    conventions = {}
    for name, column in given.items():
        if column in columns.derived:
            conventions[name] = f"{name}: {column}, derived" + (" from N and D" if column == SIX_ND else "")
        elif column is not None:
            conventions[name] = words.get(column, f"{name}: column {column}")
    if columns.budgets:
        conventions["budget"] = (
            f"laws against N: one at each value of {columns.budget} that {ENOUGH_SIZES} sizes or more share"
        )
    return conventions


def _with_draws(fit: Callable[[], list[LawRecord]]) -> list[LawRecord]:
    """The laws with the resamples that figures and tables will ask for: made here, where several processes work."""
    records = fit()
    for record in records:
        if record.law is not None:
            record.law.draws()
    return records


def _against_size(
    table: pd.DataFrame, columns: Columns, target: str, conventions: dict, holdout: int, offsets: tuple[float, ...]
) -> list[LawRecord]:
    against, words = columns.against, {"x": conventions["N" if columns.params else "D"]}
    forms: list[tuple[str, str | float]] = _forms(offsets)
    ceiling = _ceiling(table[target], target)
    if ceiling is not None:
        forms.append(("saturating", "saturating"))
    if columns.budgets == ():
        refusal, points = _mixed_data(table, columns), _points(table, columns, y=target, x=columns.x)
        return [LawRecord(target, against, None, form, None, refusal, points) for form, _ in forms]
    groups = [(None, table)] if columns.budget is None else list(table.groupby(columns.budget))
    data = {
        None if budget is None else float(budget): _points(group, columns, y=target, x=columns.x)
        for budget, group in groups
        if columns.budgets is None or budget in columns.budgets
    }
    records = []
    for form, offset in forms:
        fits = {budget: _one_variable(rows, offset, words, ceiling) for budget, rows in data.items()}
        # one noise for all budgets: with five depths and three parameters a single budget cannot know its own
        pooled = _pooled_noise(fits, data, 0)
        pooled_test = _pooled_noise(fits, data, holdout) if holdout else None
        for budget, rows in data.items():
            fit = _with_noise(fits[budget], pooled, pooled_test)
            x = rows["x"].to_numpy(float)
            records.append(_record(target, against, budget, form, fit, rows, (x,), holdout))
    order = list(data)
    return sorted(records, key=lambda record: order.index(record.budget))


def _mixed_data(table: pd.DataFrame, columns: Columns) -> CannotFit:
    found, one = table[columns.budget].nunique(), f" at one {columns.unique}" if columns.unique else ""
    return CannotFit(
        "mixed_conventions",
        f"rows of one size differ in data, and few share one of the {found} values of {columns.data} with "
        f"{ENOUGH_SIZES} sizes{one}: a law against N alone would take more data for a better size; name --budget, or "
        "read the joint law",
        found,
    )


def _points(table: pd.DataFrame, columns: Columns, **parts: str | None) -> pd.DataFrame:
    """What a fit takes, by part, with `run`; where nothing names the runs also `row`, as the file's reader counts."""
    points = pd.DataFrame({part: table[name].to_numpy(float) for part, name in parts.items()})
    points["run"] = run_names(table, columns)
    if columns.run is None:
        points["row"] = table.index.to_numpy() + 1
    return points


def _one_variable(rows: pd.DataFrame, offset: str | float, words: dict, ceiling: float | None = None) -> Fit:
    """The fit of any subset of the rows, made once: the pooled noise and the law itself ask for the same."""
    x, y, runs = rows["x"].to_numpy(float), rows["y"].to_numpy(float), rows["run"].to_numpy()
    known: dict[bytes, Law | CannotFit] = {}

    def fit(mask: np.ndarray) -> Law:
        law: Law
        key = mask.tobytes()
        if key not in known:
            try:
                if offset == "saturating":
                    law = fit_saturating(x[mask], y[mask], ceiling, runs[mask], conventions=words)
                else:
                    law = fit_power_law(x[mask], y[mask], offset, runs[mask], conventions=words)
                known[key] = replace(law, resamples=RESAMPLES)
            except CannotFit as refusal:
                known[key] = refusal
        found = known[key]
        if isinstance(found, CannotFit):
            raise found
        return found

    return fit


def _with_noise(fit: Fit, every: tuple[float, int] | None, some: tuple[float, int] | None) -> Fit:
    """The same fits with the noise of all budgets; `some` where rows are hidden."""
    return lambda mask: replace(fit(mask), pooled=every if mask.all() else some)


def _pooled_noise(fits: dict, data: dict[float | None, pd.DataFrame], hidden: int) -> tuple[float, int] | None:
    """Standard deviation and degrees of freedom over the laws of all budgets, the `hidden` largest sizes left out."""
    total, freedom = 0.0, 0
    for budget, rows in data.items():
        codes = checks.group_sizes(rows["x"].to_numpy(float))
        try:
            law = fits[budget](codes <= codes.max() - hidden)
        except CannotFit:
            continue
        total += law.noise_sd**2 * law.freedom
        freedom += law.freedom
    return (float(np.sqrt(total / freedom)), freedom) if freedom else None


def _against_compute(
    table: pd.DataFrame, columns: Columns, target: str, conventions: dict, holdout: int, offsets: tuple[float, ...]
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
        _record(target, "compute", None, form, _one_variable(data, offset, words), data, (x,), holdout)
        for form, offset in _forms(offsets)
    ]


def _ceiling(values: pd.Series, target: str) -> float | None:
    """What an untrained model scores on an error rate, in shares or per cent; None where a column is no error rate."""
    if not re.search(r"error|(?<![a-z])err(?![a-z])", target.lower()):
        return None
    largest = float(values.max())
    return None if largest > 100 else 100.0 if largest > 1 else 1.0


def _given_loss(table: pd.DataFrame, columns: Columns, target: str, holdout: int) -> list[LawRecord]:
    """FID given loss, one family at a time: equal loss is not equal quality across families."""
    loss, family = columns.loss, usual(table, "family")
    families = table[family] if family else pd.Series("all rows", index=table.index)
    records = []
    for family, part in table[table[loss].notna()].groupby(families):
        data = _points(part, columns, y=target, x=loss)
        x, y, runs = (data[name].to_numpy() for name in ("x", "y", "run"))

        def fit(mask: np.ndarray, x=x, y=y, runs=runs) -> Law:
            law = fit_fid_given_loss(x[mask], y[mask], runs[mask], conventions={"loss": loss})
            return replace(law, resamples=RESAMPLES)

        # hidden: the lowest losses, which is where the curve will be asked
        records.append(_record(target, "loss", None, f"FID given loss, {family}", fit, data, (x,), holdout, 1 / x))
    return records


def _against_trajectories(trunks: Trajectories, conventions: dict, holdout: int) -> list[LawRecord]:
    """The frontier of training curves that have not annealed, apart from every law of finished budgets."""
    words = {"x": conventions["C"] + "; unfinished: training loss on the trunk, before any anneal"}
    x = trunks.frontier["x"].to_numpy(float)
    return [
        _record(
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


def _against_both(
    table: pd.DataFrame, columns: Columns, target: str, conventions: dict, holdout: int, delta: float, key: int
) -> list[LawRecord]:
    data = _points(table, columns, y=target, x=columns.params, data=columns.data)
    inputs = (data["x"].to_numpy(), data["data"].to_numpy())
    y, runs = data["y"].to_numpy(), data["run"].to_numpy()
    words = {"params": conventions["N"], "data": conventions["D"]}

    def chinchilla(mask: np.ndarray) -> Law:
        law = fit_chinchilla(inputs[0][mask], inputs[1][mask], y[mask], delta, runs[mask], conventions=words)
        return replace(law, resamples=RESAMPLES)

    def tied(mask: np.ndarray) -> Law:
        law = fit_tied(inputs[0][mask], inputs[1][mask], y[mask], runs[mask], conventions=words)
        return replace(law, resamples=RESAMPLES)

    return [
        _record(target, "params, data", None, "chinchilla", chinchilla, data, inputs, holdout, inputs[key]),
        _record(target, "params, data", None, "tied exponents", tied, data, inputs, holdout, inputs[key]),
    ]


def _repeated(
    table: pd.DataFrame, columns: Columns, target: str, conventions: dict, holdout: int, delta: float, key: int
) -> list[LawRecord]:
    """The joint law in which repeated data wear out."""
    parts = {"x": columns.params, "data": columns.data, "unique": columns.unique, "epochs": columns.epochs}
    data = _points(table, columns, y=target, **parts)
    inputs = tuple(data[part].to_numpy() for part in ("x", "unique", "epochs"))
    y, runs = data["y"].to_numpy(), data["run"].to_numpy()
    words = {"params": conventions["N"], "unique_data": conventions["U"], "epochs": conventions["epochs"]}

    def fit(mask: np.ndarray) -> Law:
        law = fit_repeated(
            *(values[mask] for values in inputs),
            y[mask],
            runs[mask],
            delta=delta or LEAST_DELTA,
            conventions=words,
        )
        return replace(law, resamples=RESAMPLES)

    hidden = data[("x", "data")[key]].to_numpy()
    return [_record(target, "params, data, epochs", None, "repeated data", fit, data, inputs, holdout, hidden)]


def _forms(offsets: tuple[float, ...]) -> list[tuple[str, str | float]]:
    return [("power", "none"), ("power + offset", "fit")] + [
        (f"power + fixed offset {value:g}", value) for value in offsets
    ]


def _named(data: pd.DataFrame, rows: np.ndarray | tuple[int, ...]) -> str:
    """Rows of a fit as runs, or as a CSV's rows counted from 1 as all else about it."""
    if "row" in data:
        names = [f"row {row}" for row in data["row"].iloc[list(rows)]]
    else:
        names = [f"run {run} (x = {x:.4g})" for run, x in data[["run", "x"]].iloc[list(rows)].itertuples(index=False)]
    return checks.listed(names)


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


def _record(
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
    fit, everything = _with_names(fit, data), np.ones(len(data), bool)
    try:
        law, refusal = fit(everything), None
        # an interval that cannot be had refuses the law here, not on the figure
        law.interval(next(iter(law.coefficients)), LEVEL)
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
