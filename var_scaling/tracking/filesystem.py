"""Refuses an sqlite tracker on a network file system: its locks do not hold there, and the file is corrupted."""

from __future__ import annotations

import os
import re
from pathlib import Path

from var_scaling.errors import EnvironmentProblem

MOUNTS = Path("/proc/self/mountinfo")

# File systems whose files another machine may change. A fuse without a name of its own may be anything.
NETWORK = re.compile(
    r"(nfs\d?|lustre|gpfs|mmfs|beegfs|ceph|cifs|smb\w*|glusterfs|afs|pvfs2|orangefs|panfs|wekafs|9p|fuse|fuse\..*)"
)


def check_store(uri: str, mounts: Path | None = None) -> None:
    """Refuse a tracking URI that names an sqlite file on a network file system.

    Args:
        uri: as MLflow takes it; relative paths are of the working folder.
        mounts: a table in the form of /proc/self/mountinfo.

    Raises:
        EnvironmentProblem: with the file system's kind and mount point, and the way out.
    """
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///")).resolve()
    point, kind = mount_of(path, mounts or MOUNTS)
    if NETWORK.fullmatch(kind):
        raise EnvironmentProblem(
            f"the tracker is an sqlite file, {path}, on a network file system ({kind}, mounted at {point}), where its "
            "locks do not hold and it would be corrupted; set MLFLOW_TRACKING_URI to a server (http://...) or to a "
            "file on a local disk (sqlite:////local/mlflow.db), or launch with --no-mlflow and `sync` from elsewhere"
        )


def mount_of(path: Path, mounts: Path) -> tuple[str, str]:
    """Mount point and type of the file system that a path lies on; ("", "") where nobody can say."""
    found = ("", "")
    try:
        lines = os.fsdecode(mounts.read_bytes()).splitlines()
    except OSError:  # no Linux
        return found
    for line in lines:
        fields, _, rest = line.partition(" - ")
        if len(fields.split()) < 5 or not rest:
            continue
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields.split()[4])  # blanks are written \040
        # Of two mounts on one point the later covers the earlier.
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, rest.split()[0])
    return found
