"""Models to choose from, as a table: depth, params_total, params_blocks, train_flops_per_image, learning_rate.

This package knows no models. Compute is the table's exact count, never 6ND: what a depth costs decides which is best.
"""

from __future__ import annotations

import pandas as pd

from analysis.errors import BadRequest
from analysis.rows import checks
from analysis.rows.budgets import ONE_SIZE
from analysis.rows.columns import Columns


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


def params_column(columns: Columns, candidates: pd.DataFrame) -> str:
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
