"""Launches whose workers can be caught at work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support import commands
from var_scaling.runs import holders, store


def claims(runs: Path, what: str = "trials/*") -> Iterator[tuple[Path, holders.Holder]]:
    """Attempts that have not ended, with who makes them."""
    for path in sorted(runs.glob(f"{what}/attempts/[0-9]*")):
        holder = store.read_holder(path.parents[1], int(path.name))
        if holder and not (path / "end.json").exists():
            yield path, holder


def lasting(study: Path) -> Path:
    """The study with a last budget so far off that a test's commands are done first, on however slow a machine."""
    study.write_text(re.sub(r"[\d_]+\]\}", "90_000]}", study.read_text()))
    return study


def slowly(runs: Path, seconds: float = 0.5) -> Path:
    runs.mkdir(exist_ok=True)
    (runs / "step_seconds").write_text(str(seconds))
    return runs


def launch(study: Path, runs: Path, *more: object):  # noqa: ANN201
    return commands.start("launch", study, "--no-mlflow", "--cores", 2, *more, runs=runs)


def a_live_claim(runs: Path) -> tuple[Path, holders.Holder]:
    return commands.until(
        lambda: next((c for c in claims(runs) if holders.life(c[1]) == "alive"), None), "a trial runs"
    )
