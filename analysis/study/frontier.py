"""The compute frontier: the runs that nothing cheaper beats."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.rows import checks
from analysis.rows.columns import Columns
from analysis.rows.names import usual


def frontier(compute, loss, runs=None) -> pd.DataFrame:
    """Rows that no row of equal or smaller compute beats, by rising compute.

    Give finished budgets: points from the middle of a schedule that still decays sit above what their compute could buy
    (var.md 1.4), so a frontier through them bends the exponent. Where only trajectories exist, label it so.

    Args:
        compute: (n,) training FLOPs, any unit.
        loss: (n,) losses or error rates, above 0.
        runs: (n,) name of the run of each row; None numbers the rows.

    Returns:
        Columns row (position in the input), run, compute, loss. Of equal rows the first stays.

    Raises:
        CannotFit: ``not_positive``, ``not_finite``, ``too_few_sizes`` (no rows at all).
    """
    compute, loss = checks.column("compute", compute), checks.column("loss", loss)
    rows = checks.same_length(compute=compute, loss=loss)
    names = np.arange(rows) if runs is None else np.asarray(runs)
    checks.same_length(compute=compute, runs=names)
    order = np.lexsort((np.arange(rows), loss, compute))
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], loss[order][:-1]]))
    kept = order[loss[order] < best_before]
    return pd.DataFrame({"row": kept, "run": names[kept], "compute": compute[kept], "loss": loss[kept]})


def cell_frontier(table: pd.DataFrame, columns: Columns, target: str) -> pd.DataFrame:
    """The frontier of means over seeds, as columns x, y, run: the best single seed would be the luckiest one.

    Where nothing names the runs `row` says which rows made a point, as the file's reader counts; of a study `name` says
    which trials.
    """
    cells = cell_means(table, columns, target)
    means = cells.drop_duplicates("cell")
    points = frontier(means["x"].to_numpy(), means["y"].to_numpy(), means["run"].to_numpy())
    found = pd.DataFrame({"x": points["compute"], "y": points["loss"], "run": points["run"]})
    if "folder" in table:
        folders = table["folder"].groupby(cells["cell"]).agg(lambda names: checks.listed(list(dict.fromkeys(names))))
        found["name"] = [folders[cell] for cell in means["cell"].iloc[points["row"]]]
    if cells["named"].all():
        return found
    rows = (table.index.to_series() + 1).astype(str).groupby(cells["cell"]).agg(list)
    return found.assign(row=[checks.listed(rows[cell]) for cell in means["cell"].iloc[points["row"]]])


def cell_means(table: pd.DataFrame, columns: Columns, target: str) -> pd.DataFrame:
    """Of each row the number of its cell, the run that the cell is called after, and x and y, means over its seeds."""
    keys = _cell_keys(table, columns)
    cell = table.groupby(keys, sort=False).ngroup() if keys else pd.Series(np.arange(len(table)), table.index)
    means = table[[columns.compute, target]].astype(float).groupby(cell).transform("mean")
    named = bool(keys) and keys[0] in (columns.cell, columns.run)
    run = table[keys[0]] if named else table.index.to_series().groupby(cell).transform("first")
    return pd.DataFrame({"cell": cell, "run": run, "x": means[columns.compute], "y": means[target], "named": named})


def _cell_keys(table: pd.DataFrame, columns: Columns) -> list[str]:
    """The columns in which rows agree that differ by their seed alone; none where each row is a cell.

    That is the cell, or the run, and how long it was trained. Without cells, rows of one size, data and compute are
    seeds of one.
    """
    length = columns.budget or columns.data or columns.compute
    if columns.cell in table:
        return list(dict.fromkeys([columns.cell, length])) if length else []
    places = _places(table, columns)
    if places and table.duplicated(places).any():
        return places
    return list(dict.fromkeys([columns.run, length])) if columns.run and length else []


def _places(table: pd.DataFrame, columns: Columns) -> list[str]:
    """The columns that say what was trained and for how long; none where the table does not tell."""
    params, seed = columns.params or usual(table, "params"), usual(table, "seed")
    parts = (params, columns.compute, columns.data, columns.budget, columns.unique, columns.epochs)
    places = list(dict.fromkeys(name for name in parts if name))
    if params is None and (seed is None or table.duplicated([*places, seed]).any()):
        return []  # several sizes at one compute are a valley, not seeds
    return places
