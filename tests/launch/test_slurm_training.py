"""Real trainings on a real SLURM: killed, their node lost, preempted, and equal to the bit to undisturbed ones."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import commands, mirrored
from tests.support.commands import until
from tests.support.storm import PROFILE
from tests.support.tiny import STUDY, Tiny, log, rows
from var_scaling.launch.status import TrialStatus, read_status
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective

pytestmark = pytest.mark.xdist_group("own-slurm")
LONGER = STUDY.replace("images: [200, 400]", "images: [200, 2_000]")


def effective(folder: Path) -> list[dict[str, object]]:
    """The journal as it counts, without times and rates."""
    left_out = ("time", "train/images_per_second", "train/mfu")
    return [{k: v for k, v in line.items() if k not in left_out} for line in read_effective(folder)]


@pytest.mark.timeout(400)
def test_trainings_on_slurm_equal_undisturbed_ones_to_the_bit(
    tiny_stages: Tiny, tmp_path: Path, own_cluster: Any, mlflow_store: str
) -> None:
    undisturbed = tiny_stages.copy(tmp_path / "undisturbed").run(text=LONGER)
    tiny = tiny_stages.copy(tmp_path / "runs")
    runs, study, profile = tiny.runs, tmp_path / "tiny.yaml", tmp_path / "low.yaml"
    study.write_text(LONGER)
    profile.write_text(PROFILE.read_text().replace("partition: batch", "partition: low"))
    launch = ("launch", study, "--launcher", "slurm", "--profile", profile, "--yes")

    def trial() -> TrialStatus:
        return read_status(runs, "tiny").trials[0]

    def at_work(attempt: int) -> TrialStatus:
        """The trial, once that attempt has trained something."""
        folder = runs / trial().folder

        def trains() -> TrialStatus | None:
            now = trial()
            path = folder / "attempts" / f"{attempt:03d}" / "journal.jsonl"
            assert now.state not in ("failed", "finished"), (now.record, log(folder))
            return now if now.state == "running" and path.exists() and "train/loss" in path.read_text() else None

        found: TrialStatus = until(trains, f"attempt {attempt} trains", 120)
        return found

    real = {"worker": (), "OMP_NUM_THREADS": "1"}
    commands.run(*launch, runs=runs, **real)
    holder = at_work(0).record.holder
    assert holder
    os.kill(holder.pid, signal.SIGKILL)
    until(lambda: not read_status(runs, "tiny").busy, "SLURM has seen the end of it")
    commands.run(*launch, runs=runs, **real)
    at_work(1)
    node = own_cluster.call("squeue", "-h", "-t", "R", "-o", "%N").stdout.strip()
    update = ("scontrol", "update", f"nodename={node}")
    assert own_cluster.call(*update, "state=down", "reason=test").returncode == 0
    at_work(2)
    assert own_cluster.call(*update, "state=resume").returncode == 0
    rival = ("sbatch", "-p", "high", "-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    assert own_cluster.call(*rival).returncode == 0
    until(lambda: trial().state == "finished" and not read_status(runs, "tiny").busy, "it is trained", 150)
    folder = runs / trial().folder
    ends = [store.read_json(folder / "attempts" / f"{n:03d}" / "end.json") for n in store.attempt_numbers(folder)]
    causes = [end["cause"] if end else "killed" for end in ends]
    # On a loaded machine the three seconds to SIGKILL may pass before the next step.
    assert causes[0] == "killed" and {*causes[1:3]} <= {"preempted", "killed"} and causes[3:] == ["finished"], causes
    assert rows(folder) == rows(undisturbed)
    assert effective(folder) == effective(undisturbed)
    commands.sync(runs, "tiny", MLFLOW_TRACKING_URI=mlflow_store)
    assert mirrored.check(runs, "tiny", mlflow_store) > 100
