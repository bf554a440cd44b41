"""Which training a run in the tracker belongs to: the runs folder's own name, written once, and the first claim.

A tracker may be shared by two runs folders, and a folder may be emptied and filled again. Points of two trainings in
one run would be curves of neither, so a run is found by what it mirrors, never by a trial's id alone. A copy of a runs
folder is the same folder: it holds the same measurements.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path

from var_scaling.runs import layout, store


def folder_id(runs: Path) -> str:
    """The name of a runs folder, in `folder.json`; the first who asks writes it.

    Raises:
        OSError: it is not there and cannot be written.
    """
    path = layout.own_name(runs)
    if (known := store.read_json(path)) is None:
        prepared = runs / f".folder.{uuid.uuid4().hex}"
        store.write_json(prepared, {"id": uuid.uuid4().hex[:12], "time": time.time()})
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(prepared, path)
        prepared.unlink()
        known = store.read_json(path)
    return str(known["id"])


def origin_of(runs: Path, work: Path) -> str:
    """The name of one training: its runs folder, and the token of the claim that began it where there is one."""
    holder = store.read_holder(work, 0)
    return f"{folder_id(runs)}-{holder.token[:12]}" if holder else folder_id(runs)
