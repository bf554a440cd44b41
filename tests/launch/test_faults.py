"""The file system fails at every place in turn, the disk is full, the clock goes back: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# In every test run: whatever is cheap, and of the dearer cases the two most different faults.
EVERY_N = {
    "worker": (55, ("kill", "fail", "lie", "full")),
    "launch": (50, ("kill", "fail")),
    "freeze": (20, ("kill", "lie")),
    "submit": (45, ("kill",)),
}


def every_n(case: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.every_n", case, how],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["problems"], (found, done.stderr)
    assert found["fired"] > EVERY_N[case][0], "the premise: the fault fired at so many places"


@pytest.mark.parametrize(("case", "how"), [(case, how) for case, (_, hows) in EVERY_N.items() for how in hows])
def test_whichever_change_of_the_disk_goes_wrong_the_next_launch_ends_with_the_same_rows(case: str, how: str) -> None:
    every_n(case, how)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("case", "how"),
    [(c, h) for c, (_, hows) in EVERY_N.items() for h in ("kill", "fail", "lie", "full") if h not in hows],
)
def test_every_other_fault_at_every_place(case: str, how: str) -> None:
    every_n(case, how)
