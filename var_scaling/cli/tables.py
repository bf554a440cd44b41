"""What tables of the commands have in common: colours of states, a layout for 80 columns, cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from var_scaling.cli.run import count

STYLES = {
    "finished": "green",
    "failed": "red",
    "running": "cyan",
    "unknown": "yellow",
    "interrupted": "yellow",
    "stopped": "yellow",
    "new": "default",
}


def new_table(title: str, *columns: str, left: tuple[str, ...] = ()) -> Table:
    """A table that fits 80 columns: no rules, numbers to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        wraps = name in left and name != "trial"
        table.add_column(name, justify="left" if name in left else "right", no_wrap=not wraps)
    return table


@dataclass(frozen=True)
class Column:
    """A column of a table that is to fit.

    Attributes:
        name: its heading.
        right: whether it holds numbers.
        worth: where a table is too wide, the columns worth least are left out first; never those worth 9.
    """

    name: str
    right: bool = False
    worth: int = 9


def fitting_table(
    title: str, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int
) -> tuple[Table, list[str]]:
    """A table of whole cells: columns are left out until it fits, and no number is ever broken.

    Args:
        title: above it; may be empty.
        columns: of each its worth.
        rows: as many cells each; a cell may hold lines.
        width: in letters. Where what is worth most does not fit either, the first column is folded.

    Returns:
        The table and the headings that were left out. Columns that are empty in every row are left out without a word.
    """
    held = [k for k in range(len(columns)) if any(str(row[k]) for row in rows)]
    left_out: list[str] = []
    while not fits([columns[k] for k in held], [[row[k] for k in held] for row in rows], width):
        spare = [k for k in held if columns[k].worth < 9]
        if not spare:
            break
        least = min(spare, key=lambda k: (columns[k].worth, -k))
        held.remove(least)
        left_out.append(columns[least].name)
    table = Table(
        title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold"
    )
    for place, k in enumerate(held):
        justify = "right" if columns[k].right else "left"
        table.add_column(columns[k].name, justify=justify, no_wrap=place > 0, overflow="fold")
    for row in rows:
        table.add_row(*(row[k] for k in held))
    return table, left_out


def fits(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int) -> bool:
    """Whether all columns have room for whole cells."""
    wide = [max(map(_width, (columns[k].name, *(str(row[k]) for row in rows)))) for k in range(len(columns))]
    return sum(wide) + 2 * (len(wide) - 1) <= width


def _width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def cell(setting: Any) -> str:
    """A setting as a cell: a count of thousands in short, a section by its own name where it has one."""
    if isinstance(setting, int) and not isinstance(setting, bool) and setting >= 1_000:
        return count(setting)
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def told(value: Any) -> str:
    """A setting in as many digits as somebody wrote: 0.011999999999999999 is what a computer makes of 0.012."""
    if isinstance(value, float):
        return f"{value:.12g}"
    return f"[{', '.join(map(told, value))}]" if isinstance(value, list | tuple) else str(value)


def short_name(folder: str) -> str:
    """`trials/var-d2-s0-c515309d2bc2` -> `d2-s0-c515309d`: long enough for the commands that take a trial."""
    return Path(folder).name.partition("-")[2][:-4]


def live(draw: Callable[[], Table], console: Console) -> Live:
    """A table that is drawn again and again."""
    return Live(get_renderable=draw, console=console, refresh_per_second=1)
