"""A pursuit on a real SLURM: nothing stays alive, and cancelled in a round and launched again it decides the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.test_pursuit import STUDY, WORKER, laid, launched, plain
from tests.launch.test_slurm_commands import PROFILE, sweep
from var_scaling.launch.pursuit import read_decisions

SMALL = STUDY.replace("9e12", "1.2e12").replace("at_once: 5", "at_once: 3")


def until(enough: Callable[[], bool], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not enough():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.slow  # a minute of queueing
def test_rounds_follow_one_another_and_a_cancelled_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm_cluster: object
) -> None:
    file, here = laid(tmp_path / "here")
    file.write_text(SMALL)
    assert launched(file, here, monkeypatch).exit_code == 0
    expected = plain(read_decisions(here / "sweeps" / "hunt"))
    assert len(expected) > 2 and expected[-1]["end"] == "spent"

    file, runs = laid(tmp_path / "slurm", seconds=2.0)
    file.write_text(SMALL)
    monkeypatch.setenv("VAR_SCALING_WORKER_COMMAND", "\x1f".join(WORKER))
    on = ("launch", str(file), "--launcher", "slurm", "--profile", PROFILE, "--no-mlflow")
    said = json.loads(sweep(*on, "--json", runs=runs))
    assert said["next_round"], "a job waits behind the round"
    folder = runs / "sweeps" / "hunt"
    assert len(read_decisions(folder)) == 1, "launch ends"

    sweep("cancel", "hunt", "--yes", runs=runs)
    logs = folder / "launches" / "000" / "slurm"
    until(lambda: any("is not trained to its end" in log.read_text() for log in logs.glob("*log*")))
    assert len(read_decisions(folder)) == 1, "a cancelled round is not followed by another"

    (runs / "planted.json").write_text((runs / "planted.json").read_text().replace("2.0", "0.0"))
    sweep(*on, runs=runs)
    until(lambda: bool((found := read_decisions(folder)) and found[-1].end))
    assert plain(read_decisions(folder)) == expected
    assert "over, spent" in sweep("status", "hunt", runs=runs)
