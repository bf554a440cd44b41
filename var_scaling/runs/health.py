"""What the workers of one launch tell one another about early failures: a common bug, a bad node.

There is no daemon that could hold a queue. So a worker that fails before any progress leaves a note in its launch's
folder, and every worker reads the notes before it claims anything:

* the same cause and place in three trials: a bug common to all; whoever comes later leaves without an attempt;
* two different trials dead within a minute of their start on one node: the node; later tasks there leave, excluded
  from it.

Neither uses up an attempt of the trials that were turned away, and a new launch begins with a clean slate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from var_scaling.runs import layout, store

EQUAL_FAILURES = 3
DEAD_ON_NODE = 2
EARLY_SECONDS = 60.0


@dataclass(frozen=True)
class Note:
    """One early failure."""

    work: str
    cause: str
    place: str
    message: str
    node: str
    seconds: float  # after its start
    time: float


def note_failure(launch: Path, note: Note) -> None:
    """Leave a note; a disk that is full of failures must not hide the failure itself."""
    path = layout.early_failure(launch, f"{note.work}-{time.time_ns()}")
    try:
        path.parent.mkdir(exist_ok=True)
        store.write_json(path, vars(note))
    except OSError as error:
        print(f"could not leave a note in {path.parent}: {error}", flush=True)


def read_notes(launch: Path) -> list[Note]:
    """The notes of a launch, the oldest first."""
    values = [store.read_json(path) for path in layout.early_failures(launch)]
    return sorted((Note(**value) for value in values if value), key=lambda note: note.time)


def bad_nodes(notes: list[Note]) -> dict[str, list[Note]]:
    """Nodes on which two different trials died at once, with those notes.

    Where the same thing happened on other nodes too it is not the node.
    """
    found: dict[str, list[Note]] = {}
    for note in notes:
        if note.node and note.seconds < EARLY_SECONDS:
            found.setdefault(note.node, []).append(note)
    result = {}
    for node, here in found.items():
        elsewhere = {(n.cause, n.place) for n in notes if n.node != node}
        special = [n for n in here if (n.cause, n.place) not in elsewhere]
        if len({n.work for n in special}) >= DEAD_ON_NODE:
            result[node] = special
    return result


def common_bug(notes: list[Note]) -> Note | None:
    """An example of what ended three trials in the same way, or None. One node's deaths are that node's.

    What looks like a node's fault is a bug common to all only where three nodes have it.
    """
    bad = {id(note) for here in bad_nodes(notes).values() for note in here}
    works: dict[tuple[str, str], set[str]] = {}
    for note in notes:
        if id(note) not in bad:
            key = (note.cause, note.place)
            works.setdefault(key, set()).add(note.node or note.work if note.cause == "node" else note.work)
            if len(works[key]) >= EQUAL_FAILURES:
                return note
    return None


def excused(sweep: Path) -> frozenset[str]:
    """Works whose failure was their node's, over all launches of a sweep: the next launch starts them again."""
    found = set()
    for launch in layout.launches(sweep):
        for here in bad_nodes(read_notes(launch)).values():
            found |= {note.work for note in here}
    return frozenset(found)
