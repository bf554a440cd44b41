"""The journal: one JSON object a line, append-only, and the truth about a run.

A line is a measurement ({"phase": "trunk", "images": 1280, "time": ..., "train/loss": ...}) or a mark
({"event": "checkpoint", "phase": "trunk", "images": 1280}). Each attempt writes its own file; read across attempts, the
last attempt's line for a (phase, images) counts, because a resumed run goes over the same ground again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from var_scaling.runs import layout

Line = dict[str, Any]


class Journal:
    """The writer. A line is handed to the system at once, so a killed process loses none; `sync` is for power cuts.

    `on_mark` is called after each mark: something of the run has become durable. `tell` hears every line.

    `durable` says up to how many images each phase's lines are safe in earlier attempts. Where a run has to go over
    such ground again (its newest checkpoint was damaged, a smaller budget was asked for) the lines are there already,
    perhaps published, and are not written again.
    """

    def __init__(
        self,
        path: Path,
        on_mark: Callable[[], None] = lambda: None,
        durable: Mapping[str, int] | None = None,
        tell: Callable[[Line], None] = lambda line: None,
    ) -> None:
        self.path, self.on_mark, self.durable, self.tell = path, on_mark, durable or {}, tell
        path.parent.mkdir(parents=True, exist_ok=True)
        # After a torn line a new one would be lost with it.
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._file = open(path, "a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def write(self, **fields: Any) -> None:
        """Append one line; `time` is now unless given. NaN and infinities are kept as JavaScript spells them."""
        if "event" not in fields and fields.get("images", 0) <= self.durable.get(str(fields.get("phase")), -1):
            return
        self._file.write(json.dumps({**fields, "time": fields.get("time", time.time())}) + "\n")
        self._file.flush()
        self.tell(fields)
        if "event" in fields:
            self.on_mark()

    def sync(self) -> None:
        """Return once every line is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> Iterator[Line]:
    """Whole lines of one journal; a torn one is dropped, a missing file has none."""
    try:
        content = path.read_bytes()
    except OSError:
        return
    for raw in content.split(b"\n")[:-1]:  # what follows the last line break was not finished
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def attempt_journals(trial_folder: Path) -> list[Path]:
    """The journals of all attempts, in order."""
    return layout.journals(trial_folder)


def read_effective(trial_folder: Path) -> list[Line]:
    """The run as it counts: for each (phase, images) the last attempt's line, in the order of phases and images.

    Marks (lines with `event`) are not measurements and are left out. Phases come in the order of their first line, with
    the trunk first.
    """
    measured: dict[tuple[str, int], Line] = {}
    for path in attempt_journals(trial_folder):
        for line in read_lines(path):
            if "event" not in line and "phase" in line and isinstance(line.get("images"), int):
                measured[str(line["phase"]), line["images"]] = line
    order: dict[str, int] = {"trunk": 0}
    for phase, _ in measured:
        order.setdefault(phase, len(order))
    return [measured[key] for key in sorted(measured, key=lambda k: (order[k[0]], k[1]))]


def durable_images(trial_folder: Path) -> dict[str, int]:
    """For each phase the images seen up to which nothing can be rolled back any more: its last durable checkpoint."""
    durable: dict[str, int] = {}
    for path in attempt_journals(trial_folder):
        for line in read_lines(path):
            if line.get("event") == "checkpoint" and isinstance(line.get("images"), int):
                phase = str(line.get("phase"))
                durable[phase] = max(durable.get(phase, 0), line["images"])
    return durable
