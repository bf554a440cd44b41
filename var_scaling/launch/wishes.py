"""A wish to cancel, from another shell or machine: a file beside the launch that looks for it. Standard library only.

<launch>/cancel/<work>        of a local launch
<launch>/ray/cancel/<work>    of one on Ray, whose driver looks there
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def file_name(work: str) -> str:
    """A work's folder as one file name."""
    return work.replace("/", "__")


def wished(launch: Path, work: str) -> bool:
    """Whether somebody wished a work of a launch away."""
    return any((launch / place / "cancel" / file_name(work)).exists() for place in ("", "ray"))


def leave_wishes(launch: Path, works: Sequence[str]) -> None:
    """Wish works of a launch away.

    Raises:
        OSError: its folder does not take it.
    """
    folder = launch / "ray" / "cancel" if (launch / "ray").is_dir() else launch / "cancel"
    folder.mkdir(parents=True, exist_ok=True)
    for work in works:
        (folder / file_name(work)).touch()
