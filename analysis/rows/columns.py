"""Which column plays which part: of a study's own rows, and of somebody's CSV."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from analysis.errors import BadRequest
from analysis.rows.names import is_fid, is_loss, require, usual

SIX_ND = "6 N D"


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
        losses = tuple(name for name in STUDY_TARGETS if name in rows) or _own_losses(rows)
        targets = losses + fids
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


def _own_losses(rows: pd.DataFrame) -> tuple[str, ...]:
    """The validation losses of another family's rows, its headline first as its rows have them."""
    names = [name for name in rows if is_loss(str(name)) and not str(name).startswith("train_")]
    return tuple(name for name in names if pd.api.types.is_numeric_dtype(rows[name]) and rows[name].notna().all())


def depth_of(rows: pd.DataFrame, params: str | None) -> str | None:
    """The column of depths, where a depth is a size and a larger one a larger size."""
    if params is None or "depth" not in rows or not pd.api.types.is_numeric_dtype(rows["depth"]):
        return None
    pairs = rows[["depth", params]].dropna().drop_duplicates().sort_values("depth")
    one = not pairs.empty and not pairs["depth"].duplicated().any() and pairs[params].is_monotonic_increasing
    return "depth" if one and pairs[params].is_unique else None


def run_names(table: pd.DataFrame, columns: Columns) -> np.ndarray:
    """The run of each row; without a run column each row is its own."""
    return np.arange(len(table)) if columns.run is None else table[columns.run].to_numpy()


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
    counts = [name for name in names if not pd.to_numeric(table[name], errors="coerce").isna().all()]  # no hash of data
    x_is = next((part for part in ("compute", "data") if lone and usual([x], part)), "params")

    def column(part: str, asked: str | None) -> str | None:
        # a column that was not asked for joins only where the caller named none at all
        if asked or x is not None:
            return asked or (x if x_is == part else None)
        return usual(counts, part) or usual(names, part)

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
