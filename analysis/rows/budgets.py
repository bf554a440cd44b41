"""Which rows were trained alike: what counts as one size, one amount of data, one compute, and who shares it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.rows import checks
from analysis.rows.columns import Columns

ONE_SIZE = 0.01  # sizes within 1 % are one: some tables are read off figures
ONE_AMOUNT = 0.001  # data within 0.1 % are one budget: whole batches were trained
ONE_COMPUTE = 0.05  # compute within 5 % is one budget, as isoFLOP studies hit what they planned
SHARED_RANGE = 1.5  # sizes this far apart that saw one compute saw unlike data: no ladder has such rows
ENOUGH_SIZES, MOST_BUDGETS = 4, 12  # what a law at one D needs; how many such laws a reader reads


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
