"""A wish to cancel, from another shell or machine: a file beside the launch that looks for it. Standard library only.

It lies in the launch's own folder, or in the part of it where Ray's driver looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from var_scaling.runs import layout


def wished(launch: Path, work: str) -> bool:
    """Whether somebody wished a work of a launch away."""
    return any(layout.wish(place, work).exists() for place in (launch, layout.ray(launch)))


def leave_wishes(launch: Path, works: Sequence[str]) -> None:
    """Wish works of a launch away.

    Raises:
        OSError: its folder does not take it.
    """
    place = layout.ray(launch) if layout.ray(launch).is_dir() else launch
    layout.wishes(place).mkdir(parents=True, exist_ok=True)
    for work in works:
        layout.wish(place, work).touch()
