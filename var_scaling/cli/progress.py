"""How far a command is that works in this process: a bar where somebody is looking, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from var_scaling.cli.run import err, span

LINE_SECONDS = 30.0


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields a function of (done, total); what is done in seconds says nothing in a log."""
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began = said = time.monotonic()
    first: int | None = None

    def line(done: int, total: int) -> None:
        nonlocal said, first
        first = done if first is None else first  # what was there before took no time of this run
        now = time.monotonic()
        if now - said >= LINE_SECONDS and first < done < total:
            left = (now - began) * (total - done) / (done - first)
            err.print(f"{what} {done:,} of {total:,}, about {span(left)} left", soft_wrap=True)
            said = now

    yield line
