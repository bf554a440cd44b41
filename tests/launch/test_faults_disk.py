"""A full disk: the trial stops with that cause, nothing half-written is read, and the next launch finishes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY
from tests.support import engine, faults
from var_scaling.launch.follow import follow
from var_scaling.launch.status import read_status

MOST = 20 * 2**20


class SmallDisk:
    """A runs folder on a disk of twenty megabytes, most of which the code with its images takes."""

    def __init__(self, runs: Path, fill: Callable[[], None], free: Callable[[], None]) -> None:
        self.runs, self.fill, self.free = runs, fill, free


@pytest.fixture(params=["mounted", "refused"])
def disk(runs: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """A real small disk, or (also where nobody may mount one) workers whose writes are refused."""
    runs.mkdir()
    ballast = runs / "ballast"
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MOST}", "var-scaling-test", str(runs)]
    mounted = request.param == "mounted" and subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:
        monkeypatch.setenv(faults.FULL, str(ballast))

    def fill() -> None:
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while mounted:
                file.write(bytes(4096))

    try:
        yield SmallDisk(runs, fill, ballast.unlink)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(runs)], check=True)


def test_a_full_disk_is_a_cause_and_the_next_launch_finishes(fake_study: Path, disk: SmallDisk) -> None:
    runs = disk.runs
    fake_study.write_text(FAKE_STUDY.replace("3_000, 7_000", "3_000, 30_000"))
    (runs / "step_seconds").write_text("0.05")
    launch, launcher = engine.run_until(
        fake_study, runs, lambda view: sum(r.done >= 4_000 for r in view.records.values()) == 2
    )
    disk.fill()
    follow(launch, launcher, lambda view: None, poll_seconds=0.02)
    status = read_status(runs, "fake")
    failures = {(t.record.cause, (t.record.message or "").partition(":")[0]) for t in status.trials if t.record.cause}
    assert failures == {("disk", "No space left on device")}, "they said so, although no byte was left for it"
    states = [t.state for t in status.trials]
    assert "failed" in states and "new" in states, "the premise: one was at work, another could not begin"
    assert not {"running", "interrupted"} & set(states), "nobody went without a word"
    for path in runs.glob("trials/*/budgets/*/row.json"):
        assert json.loads(path.read_text())["images_seen"] == int(path.parent.name), "what is there is whole"
    disk.free()
    (runs / "step_seconds").write_text("0.002")
    status = engine.run(fake_study, runs)
    assert [t.state for t in status.trials] == ["finished"] * 4, "unasked: nothing was wrong with the trials"
    engine.check_rows(runs, status)
