"""The compute frontier: the runs that nothing cheaper beats."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import checks
from analysis.table import Columns


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

    Where nothing names the runs each row is one, and `row` says which, as the file's reader counts.
    """
    keys = cell_keys(table, columns)
    frame = table
    if keys:
        frame = table.groupby(keys, sort=False)[[columns.compute, target]].mean()
        names = frame.index.get_level_values(0).to_numpy()
    else:
        names = table.index.to_numpy()
    points = frontier(frame[columns.compute].to_numpy(float), frame[target].to_numpy(float), names)
    found = pd.DataFrame({"x": points["compute"], "y": points["loss"], "run": points["run"]})
    return found if keys else found.assign(row=points["run"] + 1)


def cell_keys(table: pd.DataFrame, columns: Columns) -> list[str]:
    """The columns in which rows agree that differ by their seed alone: the cell and how long it was trained."""
    cell = columns.cell if columns.cell in table else columns.run
    length = columns.budget or columns.data or columns.compute
    return list(dict.fromkeys([cell, length])) if cell and length else []
