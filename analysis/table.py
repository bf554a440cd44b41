"""Columns of a user's table as numbers, with a sentence and row numbers for everything that cannot be used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import combinations, product
from typing import Literal

import numpy as np
import pandas as pd

from analysis import checks
from analysis.checks import name_rows
from analysis.errors import BadRequest, CannotFit, Note

# A hole this wide between two neighbouring sizes is a change of unit, not of size: no ladder skips five decades.
UNIT_GAP = 1e5
# A narrower hole is one where a rescaled side fills it and the losses then lie far better on one curve.
HOLE, FAR_BETTER, RESCALES = 30.0, 10.0, (1e3, 1e6, 1e9, 1e-3, 1e-6, 1e-9)
COMPUTE_GAP, SHARE_GAP = 100.0, 1e4  # in C / (6 N D) and in D / N, which range less than sizes do
EXPONENTS = np.geomspace(0.05, 1, 8)
SIX_ND = "6 N D"
ONE_SIZE = 0.01  # sizes within 1 % are one: some tables are read off figures
ONE_AMOUNT = 0.001  # data within 0.1 % are one budget: whole batches were trained
ONE_COMPUTE = 0.05  # compute within 5 % is one budget, as isoFLOP studies hit what they planned
SHARED_RANGE = 1.5  # sizes this far apart that saw one compute saw unlike data: no ladder has such rows
ENOUGH_SIZES, MOST_BUDGETS = 4, 12  # what a law at one D needs; how many such laws a reader reads


@dataclass(frozen=True)
class Columns:
    """Which column plays which part; None where the table has none.

    Attributes:
        params: model size N.
        data: tokens or images seen D.
        compute: training FLOPs C.
        targets: losses, error rates or FIDs, one law each.
        run: the run that a row came from.
        budget: rows of one budget are compared with one another.
        cell: a run without its seed; seeds of one cell are averaged before the frontier is taken.
        budgets: the values of `budget` that get laws against N; None: each of them.
        unique: unique tokens or images U.
        epochs: passes over them, D = U x epochs; None where no law of repeated data is to be had.
        loss: what FIDs are a function of.
        depth: by which people call the sizes, where each has a depth of its own; None where widths differ, too.
        derived: columns that no file holds, made of others.
    """

    params: str | None = None
    data: str | None = None
    compute: str | None = None
    targets: tuple[str, ...] = ()
    run: str | None = None
    budget: str | None = None
    cell: str | None = None
    budgets: tuple[float, ...] | None = None
    unique: str | None = None
    epochs: str | None = None
    loss: str | None = None
    depth: str | None = None
    derived: tuple[str, ...] = ()

    @property
    def against(self) -> Literal["params", "data"]:
        """What laws of a size are against: N, or D where nothing else is known."""
        return "data" if self.params is None and self.compute is None and self.data else "params"

    @property
    def x(self) -> str | None:
        """The column of :attr:`against`."""
        return self.data if self.against == "data" else self.params


STUDY_TARGETS = ("loss_all_scales", "loss_last_scale", "error_all_scales", "error_last_scale")


def study_columns(
    rows: pd.DataFrame,
    params: str = "params_total",
    compute: str = "train_flops",
    targets: tuple[str, ...] | None = None,
) -> Columns:
    """The parts that the columns of a study's rows play."""
    if targets is None:
        fids = tuple(
            name for name in rows if name.startswith("fid_corrected_") and pd.api.types.is_numeric_dtype(rows[name])
        )
        targets = tuple(name for name in STUDY_TARGETS if name in rows) + fids
    for name in (params, compute, *targets):
        require(rows, name)
    # with one number of unique images D' is a function of D alone: only the bend of B/D^beta would tell R
    repeats = {"unique_images", "epochs"} <= set(rows)
    repeats = repeats and rows["epochs"].max() > 1 and rows["unique_images"].nunique() > 1
    return Columns(
        params,
        "images_seen",
        compute,
        targets,
        "trial",
        "images_asked" if "images_asked" in rows else "images_seen",
        "cell" if "cell" in rows else None,
        unique="unique_images" if repeats else None,
        epochs="epochs" if repeats else None,
        loss=next((name for name in targets if is_loss(name)), None),
        depth=depth_of(rows, params),
    )


def depth_of(rows: pd.DataFrame, params: str | None) -> str | None:
    """The column of depths, where a depth is a size and a larger one a larger size."""
    if params is None or "depth" not in rows or not pd.api.types.is_numeric_dtype(rows["depth"]):
        return None
    pairs = rows[["depth", params]].dropna().drop_duplicates().sort_values("depth")
    one = not pairs.empty and not pairs["depth"].duplicated().any() and pairs[params].is_monotonic_increasing
    return "depth" if one and pairs[params].is_unique else None


def is_loss(name: str) -> bool:
    """Whether a column is named like a loss: val_loss, Loss, ce, nll_c4."""
    return re.search(r"(loss|(?<![a-z])(ce|nll|cross.?entropy))(?![a-z])", name.lower()) is not None


def is_fid(name: str) -> bool:
    """Whether a column is named like a FID: FID50k, rfid, fid_corrected_inception; not confidence."""
    return re.search(r"fid(?![a-z])", name.lower()) is not None


def run_names(table: pd.DataFrame, columns: Columns) -> np.ndarray:
    """The run of each row; without a run column each row is its own."""
    return np.arange(len(table)) if columns.run is None else table[columns.run].to_numpy()


# Compared without capitals, spaces and signs ("Training Tokens" is trainingtokens), except single letters: n may count.
GUESSES = {
    "params": ("params", "params_total", "n_params", "num_params", "parameters", "parameter_count", "model_size", "N")
    + ("size", "x"),
    "data": ("data", "n_tokens", "num_tokens", "tokens", "training_tokens", "train_tokens", "tokens_seen")
    + ("images_seen", "images", "samples_seen", "seen_samples", "examples_seen", "seen_examples", "seen_tokens")
    + ("num_images", "n_images", "D"),
    "compute": ("compute", "train_flops", "train_flop", "training_flops", "training_flop", "flops", "flop")
    + ("compute_budget", "flops_budget", "flop_budget", "total_flops", "C"),
    "targets": ("loss", "loss_all_scales", "val_loss", "validation_loss", "eval_loss", "test_loss", "L", "y"),
    "run": ("run", "trial", "run_name", "run_id", "trial_name", "trial_id", "experiment_name", "experiment_id")
    + ("exp_name", "exp_id", "experiment", "job_id", "group"),
    "unique": ("unique_tokens", "unique_images", "unique_data", "U"),
    "epochs": ("epochs", "epoch", "n_epochs", "num_epochs"),
    "family": ("family", "model_family"),
    "seed": ("seed", "random_seed"),
    "steps": ("step", "steps", "train_step", "training_steps", "global_step", "iteration", "iterations"),
}


def plain_name(name: str) -> str:
    """A column's name as guesses compare it."""
    return name if len(name) == 1 else "".join(letter for letter in name.lower() if letter.isalnum())


def usual(names: Iterable[object], part: str) -> str | None:
    """The column among `names` that is usually called as `part` is; None where there is none."""
    known = {plain_name(str(name)): str(name) for name in reversed(list(names))}
    return next((known[plain_name(name)] for name in GUESSES[part] if plain_name(name) in known), None)


def csv_columns(
    table: pd.DataFrame,
    x: str | None = None,
    y: tuple[str, ...] = (),
    data: str | None = None,
    compute: str | None = None,
    group: str | None = None,
    budget: str | None = None,
    epochs: str | None = None,
) -> Columns:
    """The parts that the columns of somebody's CSV play: as asked for, else by their usual names.

    A lone `x` that is called like compute, data or (beside FIDs) a loss is that.

    Raises:
        ValueError: a column that was asked for, or that every fit needs, is not there.
    """
    names = list(table.columns)
    for name in (x, *y, data, compute, group, budget, epochs):
        if name is not None:
            require(table, name)
    run = group or usual(names, "run")
    if x is not None and is_loss(x) and any(map(is_fid, y or names)):
        return _given_loss(x, y or tuple(filter(is_fid, names))[:1], run)
    targets = tuple(dict.fromkeys(y)) or (_only_loss(names),)
    lone = x is not None and data is None and compute is None
    x_is = next((part for part in ("compute", "data") if lone and usual([x], part)), "params")

    def column(part: str, asked: str | None) -> str | None:
        # a column that was not asked for joins only where the caller named none at all
        return asked or (usual(names, part) if x is None else x if x_is == part else None)

    columns = Columns(
        column("params", None),
        column("data", data),
        column("compute", compute),
        targets,
        run,
        budget,
        loss=next((name for name in targets if is_loss(name)), None),
    )
    columns = replace(columns, depth=depth_of(table, columns.params))
    if x is None and columns.params is None and columns.compute is None:
        raise BadRequest(f"no size column among {', '.join(names)}; name it with --x")
    _one_part_each(columns, group, budget, epochs)
    return _with_epochs(table, columns, epochs, guess=x is None)


def _only_loss(names: list[str]) -> str:
    """The column that is usually called as losses are, else the only one whose name reads like a loss."""
    known = usual(names, "targets")
    if known is not None:
        return known
    alike = [name for name in names if is_loss(str(name))]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise BadRequest(f"{len(alike)} columns read like losses ({', '.join(alike)}); name one, or several, with --y")
    raise BadRequest(f"no loss column among {', '.join(names)}; name it with --y")


def _one_part_each(columns: Columns, group: str | None, budget: str | None, epochs: str | None) -> None:
    """Raise where one column is two of size, data, compute, epochs and loss, or a loss names runs or budgets."""
    parts = {"size": columns.params, "data": columns.data, "compute": columns.compute, "epochs": epochs}
    for target in columns.targets:
        parts["loss"] = target
        for (part, name), (other, also) in combinations((parts | {"run": group, "budget": budget}).items(), 2):
            if name is not None and name == also and ("loss" in (part, other) or {part, other} <= set(parts)):
                raise BadRequest(f"column {name!r} cannot be {part} and {other} at once; name another for one of them")


def _given_loss(loss: str, targets: tuple[str, ...], run: str | None) -> Columns:
    others = [name for name in targets if not is_fid(name)]
    if others:
        raise BadRequest(f"--x {loss} is a loss, of which only FIDs are fitted; fit {', '.join(others)} apart")
    return Columns(targets=targets, run=run, loss=loss)


def _with_epochs(table: pd.DataFrame, columns: Columns, epochs: str | None, guess: bool) -> Columns:
    """With the parts of the law of repeated data, where it was asked for or the usual columns show repeats."""
    data, unique = columns.data, usual(table, "unique") if guess else None
    if epochs is not None:
        if data is not None and usual([data], "unique"):
            data, unique = None, data
        if columns.params is None or (data is None and unique is None):
            raise BadRequest(f"--epochs {epochs} needs sizes and the data that repeat; name them with --x and --data")
        return replace(columns, data=data, unique=unique, epochs=epochs)
    if not guess or columns.params is None:
        return columns
    epochs = usual(table, "epochs")
    if epochs and (data or unique):
        passes = _numeric(table, epochs)
    elif data and unique:
        passes = _numeric(table, data) / _numeric(table, unique)
    else:
        return columns
    return replace(columns, unique=unique, epochs=epochs) if passes.max() > 1 else columns


def _numeric(table: pd.DataFrame, name: str) -> pd.Series:
    return pd.to_numeric(table[name], errors="coerce")


def derive(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, Columns]:
    """With what follows from the columns given: one of D = U x epochs where the others are known, and C = 6 N D."""
    made: dict[str, pd.Series] = {}

    def make(name: str, values: pd.Series) -> str:
        made[name] = values
        return name

    data, unique, epochs, compute = columns.data, columns.unique, columns.epochs, columns.compute
    if unique and epochs and not data:
        data = make(f"{unique} x {epochs}", table[unique] * table[epochs])
    elif unique and data and not epochs:
        epochs = make(f"{data} / {unique}", table[data] / table[unique])
    elif epochs and data and not unique:
        unique = make(f"{data} / {epochs}", table[data] / table[epochs])
    if columns.params and data and not compute and not usual(table, "compute"):
        compute = make(SIX_ND, 6 * table[columns.params] * (made[data] if data in made else table[data]))
    derived = replace(columns, data=data, unique=unique, epochs=epochs, compute=compute, derived=tuple(made))
    return table.assign(**made), derived


def budgets_of_data(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, Columns]:
    """Where rows of one size differ in D, or in how much of it is unique: each D that enough sizes share is a budget.

    None is, unless half of the rows lie at such a D. Where each size has one D (one recipe, or one D for all) nothing
    changes: such rows are one ladder. Compute spent at several sizes makes them none either, even where no two computes
    share a size. Without a column of data no compute is a budget: of the sizes that share it the larger saw fewer data,
    so that losses against N have a valley, not a law.
    """
    if columns.budget is not None or columns.params is None:
        return table, columns
    sizes = checks.bins(table[columns.params].to_numpy(), ONE_SIZE)
    amounts = [name for name in (columns.data, columns.unique) if name] or [columns.compute]
    if amounts == [None]:
        return table, columns
    isoflop = columns.compute is not None and shared_computes(table[columns.params], table[columns.compute]) > 1
    if not isoflop and not _moves(table[amounts], sizes):
        return table, columns
    if columns.data is None:
        return table, replace(columns, budget=columns.compute, budgets=())
    codes = checks.bins(table[columns.data].to_numpy(), ONE_AMOUNT)
    shared = table[columns.data].groupby(codes).transform("median")
    if np.median(np.diff(np.log(np.unique(shared)))) <= 10 * ONE_AMOUNT:  # points all over the plane meet by chance,
        shared = table[columns.data]  # checkpoints of one schedule at equal D
    name = columns.data
    if not np.array_equal(shared, table[columns.data]):
        name = f"{columns.data} (within {ONE_AMOUNT:.1%})"
        table = table.assign(**{name: shared})
    found = pd.Series(sizes, table.index).groupby(shared).agg(["nunique", "size"])
    if columns.unique:  # equal D, some of it repeated, is not equal data
        found = found[table[columns.unique].groupby(shared).nunique() == 1]
    found = found[found["nunique"] >= ENOUGH_SIZES]
    if found["size"].sum() < len(table) / 2:
        found = found.iloc[:0]
    return table, replace(columns, budget=name, budgets=_most_populated(found["size"]))


def most_unique(rows: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Of rows at one D those with most unique data: as many data, some of them seen again, are worth less."""
    if columns.unique is None or columns.budget is None:
        return rows
    codes = checks.bins(rows[columns.unique].to_numpy(float), ONE_AMOUNT)
    return rows[codes == codes.max()]


def shared_computes(params: pd.Series, compute: pd.Series) -> int:
    """How many computes were each spent at several sizes far apart; 0 where less than half of the rows lie there."""
    sizes = pd.Series(checks.bins(params.to_numpy(float), ONE_SIZE), params.index)
    at_one = checks.bins(compute.to_numpy(float), ONE_COMPUTE)
    spread = params.groupby(at_one).max() / params.groupby(at_one).min()
    found = sizes.groupby(at_one).agg(["nunique", "size"])[spread >= SHARED_RANGE]
    found = found[found["nunique"] >= ENOUGH_SIZES]
    return len(found) if found["size"].sum() >= len(params) / 2 else 0


def _moves(amounts: pd.DataFrame, sizes: np.ndarray) -> bool:
    """Whether some amount differs at one size by more than it may within a size's width: C grows like N D, D like N."""
    of_size = amounts.groupby(sizes)
    return bool((of_size.max() / of_size.min()).to_numpy().max() >= (1 + ONE_SIZE) ** 2)


def _most_populated(rows: pd.Series) -> tuple[float, ...]:
    """At most as many budgets as are read, those with most rows; of equally populated ones an even choice."""
    least = rows.nlargest(MOST_BUDGETS).min()
    more, equal = rows.index[rows > least], rows.index[rows == least].sort_values()
    equal = equal[checks.spread(len(equal), MOST_BUDGETS - len(more))]
    return tuple(sorted(float(amount) for amount in more.append(equal)))


def require(table: pd.DataFrame, name: str) -> None:
    """Raise a ValueError with the nearest name where the table lacks a column."""
    if name in table:
        return
    near = get_close_matches(name, [str(column) for column in table.columns], 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise BadRequest(f"no column {name!r}; the table has {', '.join(map(str, table.columns))}{hint}")


def without_missing(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """The table without the rows that hold no target, and a note for each target on the rows that its laws lack.

    Where some targets of a row are empty and others are not, the row stays and its empty ones are NaN.

    Raises:
        CannotFit: ``not_finite`` where a target is empty in every row.
    """
    table, notes = table.copy(), []
    targets = list(columns.targets)
    for name in targets:
        values = pd.to_numeric(table[name], errors="coerce")
        empty = table[name].isna() | np.isinf(values)
        if empty.all():
            raise CannotFit("not_finite", f"column {name!r} is empty or infinite in every row", len(table))
        rows = table.index[empty]
        if len(rows):
            words = f"{name} is empty or infinite in {name_rows(rows, 1)}: not in its laws"
            notes.append(Note("rows_left_out", words, len(rows), tuple(int(row) for row in rows)))
            table[name] = table[name].mask(empty)
    return table[table[targets].notna().any(axis=1)], tuple(notes)


def check_table(
    table: pd.DataFrame, columns: Columns, keep_duplicates: bool = False, gaps: bool = False
) -> pd.DataFrame:
    """The table with every used column as numbers.

    Rows are counted from 1, the header not included, as a spreadsheet's reader would.

    Args:
        table: as read; its index says which row of the file each is, from 0.
        columns: which are used.
        keep_duplicates: equal rows stay.
        gaps: targets may be empty; see :func:`without_missing`.

    Raises:
        CannotFit: ``not_finite``, ``not_positive``, ``mixed_conventions`` (a unit changes within a column).
        ValueError: text in a number column, or rows given twice.
    """
    table = table.copy()
    amounts = [name for name in (columns.params, columns.data, columns.compute, columns.unique) if name]
    numeric = [*amounts, *(name for name in (columns.epochs, columns.loss) if name), *columns.targets]
    for name in dict.fromkeys(numeric):
        table[name] = numbers(table, name, gaps and name in columns.targets)
    for name in dict.fromkeys(amounts):
        _one_unit(table[name])
    _units_agree(table, columns)
    if columns.budget:
        numbers(table, columns.budget)
    if columns.run:
        _all_named(table[columns.run])
    used = [name for name in dict.fromkeys([*numeric, columns.run, columns.budget, usual(table, "seed")]) if name]
    twice = table.index[table.duplicated(used)]
    if len(twice) and not keep_duplicates:
        raise BadRequest(
            f"{name_rows(twice, 1)}: a repeat of an earlier row in every column used ({', '.join(used)}); drop it, "
            "name the runs with --group, or keep them with --keep-duplicates, which counts each as a run of its own"
        )
    return table


def numbers(table: pd.DataFrame, name: str, gaps: bool = False) -> pd.Series:
    """One column as finite floats above zero, or with `gaps` NaN; see :func:`check_table`."""
    raw = table[name]
    values = pd.to_numeric(raw, errors="coerce")
    text = table.index[values.isna() & raw.notna()]
    if len(text):
        raise BadRequest(
            f"column {name!r} holds text in {name_rows(text, 1)} (first: {str(raw[text[0]])!r}); give numbers only"
        )
    empty = table.index[~np.isfinite(values)]
    if len(empty) and not gaps:
        raise CannotFit(
            "not_finite",
            f"column {name!r} is empty or infinite in {name_rows(empty, 1)}; fill those rows or drop them (empty "
            "losses of a CSV: --drop-missing)",
            len(empty),
            tuple(empty),
        )
    low = table.index[values <= 0]
    if len(low):
        raise CannotFit(
            "not_positive",
            f"column {name!r} is {values[low[0]]:g} in {name_rows(low, 1)}; a power law is defined above zero only",
            float(values[low[0]]),
            tuple(low),
        )
    return values.astype(float)


def _all_named(runs: pd.Series) -> None:
    empty = runs.index[runs.isna()]
    if len(empty):
        raise CannotFit(
            "not_finite",
            f"column {runs.name!r} names no run in {name_rows(empty, 1)}; every row needs one",
            len(empty),
            tuple(empty),
        )


@dataclass(frozen=True)
class _Hole:
    """Between two neighbouring values of a column; `rows` are those of the side that has fewer."""

    factor: float
    before: float
    after: float
    rows: pd.Index

    def refusal(self, name: str, why: str) -> CannotFit:
        return CannotFit(
            "mixed_conventions",
            f"{name} jumps by a factor {self.factor:.2g} between {self.before:g} and {self.after:g}: "
            f"{name_rows(self.rows, 1)} look like another unit ({why}); give one unit",
            self.factor,
            tuple(int(row) for row in self.rows),
        )


def _holes(values: pd.Series, least: float) -> list[_Hole]:
    """Those of a factor `least` or more, widest first."""
    values = values.sort_values()
    steps = values.to_numpy()[1:] / values.to_numpy()[:-1]
    found = []
    for at in np.flatnonzero(steps >= least):
        small, large = values.index[: at + 1].sort_values(), values.index[at + 1 :].sort_values()
        fewer = small if len(small) <= len(large) else large
        found.append(_Hole(float(steps[at]), float(values.iloc[at]), float(values.iloc[at + 1]), fewer))
    return sorted(found, key=lambda hole: -hole.factor)


def _one_unit(column: pd.Series) -> None:
    for hole in _holes(column, UNIT_GAP):
        raise hole.refusal(f"column {column.name!r}", "billions beside units?")


def _units_agree(table: pd.DataFrame, columns: Columns) -> None:
    """Raise where size, data, compute and the loss say that one of them changes its unit."""
    inputs = {name: table[name] for name in (columns.params, columns.data) if name}
    if columns.data is None and columns.unique and columns.epochs:
        inputs[f"{columns.unique} x {columns.epochs}"] = table[columns.unique] * table[columns.epochs]
    if columns.params and len(inputs) == 2:
        (params, sizes), (data, amounts) = inputs.items()
        if columns.compute:
            for hole in _holes(table[columns.compute] / (6 * sizes * amounts), COMPUTE_GAP):
                raise hole.refusal(f"{columns.compute} / (6 {params} {data})", "one of the three columns is")
        for hole in _holes(amounts / sizes, SHARE_GAP):
            raise hole.refusal(f"{data} / {params}", "one of the two columns is")
    elif columns.compute and not inputs:
        inputs[columns.compute] = table[columns.compute]
    for name, values in inputs.items() if columns.targets else ():
        holes = _holes(values, HOLE)
        for hole, scale in product(holes, RESCALES):
            other = values.where(~values.index.isin(hole.rows), values * scale)
            if len(_holes(other, HOLE)) >= len(holes):
                continue
            loss, others = table[columns.targets[0]], inputs | {name: other}
            if FAR_BETTER * _misfit(loss, *others.values()) < _misfit(loss, *inputs.values()):
                raise hole.refusal(f"column {name!r}", f"times {scale:g} they lie on the curve of the others")


def _misfit(loss: pd.Series, *inputs: pd.Series) -> float:
    """Squared relative residuals of E + A / N^alpha (+ B / D^beta) at the best of a few exponents; 0 for few rows."""
    from scipy.optimize import nnls

    used = loss.notna()
    varying = [values[used] / values[used].min() for values in inputs if values[used].nunique() > 1]
    if used.sum() < 2 * (1 + 2 * len(varying)):
        return 0.0
    level = 1 / loss[used].to_numpy()
    terms = [[values.to_numpy() ** -power * level for power in EXPONENTS] for values in varying]
    ones = np.ones(len(level))
    return min(float(nnls(np.stack([level, *chosen], 1), ones)[1]) ** 2 for chosen in product(*terms))
