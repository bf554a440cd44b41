"""Tables with one column a size or a budget, as people keep them in spreadsheets, as one row a run."""

from __future__ import annotations

import re

import pandas as pd

from analysis.errors import BadRequest, Note
from analysis.rows.names import is_loss, usual

NUMBER = re.compile(r"(\d+(?:[.,_]\d+)*(?:[eE][+-]?\d+)?)\s*([kKmMbBgGtT])?(?![a-zA-Z\d])")
TIMES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
COLUMN = "\0"


def melted(table: pd.DataFrame, what: str, y: str | None = None) -> tuple[pd.DataFrame, str, Note]:
    """One row a (row, column) of a wide table.

    Columns belong together whose names are alike but for a number: "loss 1e9", "loss 3e9", or "1B", "3B", "10B".

    Args:
        table: as read.
        what: what the numbers of those names are: a new column ("tokens", "params").
        y: what the cells are: a new column; where the names hold words, those choose the columns.

    Returns:
        The rows (cells that are empty are runs that nobody made, and leave none), the name of the loss, and a note.

    Raises:
        BadRequest: a column called `what` already; no such columns, or several kinds of them; a cell of text.
    """
    if what in table:
        raise BadRequest(f"--wide {what}: the table has a column {what!r} already; name what its wide columns hold")
    kinds: dict[str, dict[str, float]] = {}
    for name in map(str, table.columns):
        skeleton, value = _read(name)
        if value is not None:
            kinds.setdefault(skeleton, {})[name] = value
    kinds = {skeleton: names for skeleton, names in kinds.items() if len(names) > 1}
    words = {skeleton: _words(skeleton) for skeleton in kinds}
    chosen = [skeleton for skeleton in kinds if y is not None and words[skeleton].lower() == y.lower()]
    chosen = chosen or [skeleton for skeleton in kinds if is_loss(words[skeleton])] or list(kinds)
    if not chosen:
        raise BadRequest(
            f"--wide {what}: no two columns are alike but for a number (loss 1e9, loss 3e9; or 1B, 3B) among "
            f"{', '.join(map(str, table.columns))}"
        )
    if len(chosen) > 1:
        told = "; ".join(", ".join(kinds[skeleton]) for skeleton in chosen)
        raise BadRequest(f"--wide {what}: several kinds of columns hold numbers: {told}; name one kind with --y")
    names = kinds[chosen[0]]
    if len(set(names.values())) < len(names):
        raise BadRequest(f"--wide {what}: two columns are of one amount: {', '.join(names)}")
    loss = y or words[chosen[0]] or "loss"
    rows = table.drop(columns=list(names)).loc[table.index.repeat(len(names))]
    rows[what] = list(names.values()) * len(table)
    cells = table[list(names)].to_numpy(object).ravel()
    rows[loss] = cells
    empty = pd.isna(cells)
    text = ~empty & pd.to_numeric(pd.Series(cells), errors="coerce").isna().to_numpy()
    if text.any():
        row, place = divmod(int(text.argmax()), len(names))
        raise BadRequest(
            f"row {row + 1}, column {list(names)[place]!r} holds {cells[text.argmax()]!r}; give a number, or leave the "
            "cell empty where nothing was run"
        )
    rows = rows[~empty].reset_index(drop=True)
    rows[loss] = rows[loss].infer_objects()
    rows.attrs |= table.attrs
    told = f"{len(names)} columns ({', '.join(names)}) are {what} {', '.join(f'{value:g}' for value in names.values())}"
    holes = f"; empty cells ({int(empty.sum())}) are runs that were not made" if empty.any() else ""
    return rows, loss, Note("rows_left_out", told + holes, float(empty.sum()), quiet=True)


def part_of(what: str) -> str:
    """Which option a new column plays: x of sizes, compute, epochs, else data."""
    named = (("params", "x"), ("compute", "compute"), ("epochs", "epochs"))
    return next((option for part, option in named if usual([what], part)), "data")


def _read(name: str) -> tuple[str, float | None]:
    """A name with its last number taken out, and the number; a name of one word and a digit (layer2) has none."""
    found = list(NUMBER.finditer(name))
    if not found:
        return name, None
    last = found[-1]
    digits = last[1].replace("_", "").replace(",", "")
    value = float(digits) * TIMES.get((last[2] or "").lower(), 1.0)
    return name[: last.start()] + COLUMN + name[last.end() :], value if value > 0 else None


def _words(skeleton: str) -> str:
    """The words before the number, or those behind it, without what joins them."""
    before, behind = (part.strip(" _-@:=()[]/") for part in skeleton.split(COLUMN))
    return before or (behind if is_loss(behind) else "")
