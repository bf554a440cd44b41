"""What tables of `var-sweep` have in common: colours of states, a layout for 80 columns, cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

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


def cell(setting: Any) -> str:
    """A setting as a cell: a count of thousands in short, a section by its own name where it has one."""
    if isinstance(setting, int) and not isinstance(setting, bool) and setting >= 1_000:
        return count(setting)
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def short_name(folder: str) -> str:
    """`trials/var-d2-s0-c515309d2bc2` -> `d2-s0-c515309d`: long enough for the commands that take a trial."""
    return Path(folder).name.partition("-")[2][:-4]


def live(draw: Callable[[], Table], console: Console) -> Live:
    """A table that is drawn again and again."""
    return Live(get_renderable=draw, console=console, refresh_per_second=1)
