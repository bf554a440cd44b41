"""`var-sweep` on a real SLURM, from several shells: launch ends, status reads only, cancel, retry, doctor, tune."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.support import engine
from tests.support.claims import lasting
from var_scaling.launch.status import read_status

PROFILE = str(ROOT / "slurm" / "profiles" / "local-test.yaml")


def sweep(*arguments: str, runs: Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "var_scaling.cli.sweep", *arguments, "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def settle(runs: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while read_status(runs, "fake").busy:
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_launch_ends_and_the_rest_is_done_from_other_shells(
    fake_study: Path, runs: Path, slurm_cluster: object, fake_work: None
) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("1")
    (runs / "fail_var-d3-s1").write_text("once: a planted bug")
    on = ("--launcher", "slurm", "--profile", PROFILE)
    said = json.loads(sweep("launch", str(lasting(fake_study)), *on, "--json", runs=runs))
    assert read_status(runs, "fake").busy, "launch ends once all is queued"
    assert sum(array["tasks"] for array in said["arrays"]) == 6
    deadline = time.monotonic() + 60
    while not any(t.record.done for t in read_status(runs, "fake").trials):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    text = json.loads(sweep("status", "fake", "--json", runs=runs))
    assert any(t["queue"] for t in text["trials"])
    assert "would be stopped" in sweep("cancel", "fake", runs=runs)
    assert "asked" in sweep("cancel", "fake", "--yes", runs=runs)
    settle(runs)
    before = engine.tree_hash(runs)
    sweep("status", "fake", runs=runs)
    sweep("watch", "fake", runs=runs)
    sweep("plan", str(fake_study), "--profile", PROFILE, runs=runs)
    sweep("launch", str(fake_study), *on, "--dry-run", runs=runs)
    assert engine.tree_hash(runs) == before, "looking changes nothing"
    (runs / "step_seconds").write_text("0.002")
    sweep("launch", str(fake_study), *on, runs=runs, code=1)  # for one has failed
    settle(runs)
    sweep("retry", "fake", runs=runs)  # on SLURM again, with the profile of the launch
    settle(runs)
    engine.check_rows(runs, read_status(runs, "fake"))
    usage = json.loads(sweep("status", "fake", "--usage", "--json", runs=runs))["usage"]
    assert sum(used["ran"] for used in usage) >= 6
    assert any(0 < used["longest_seconds"] < used["asked_seconds"] == 600 for used in usage), usage


def test_consent(fake_study: Path, runs: Path, slurm_cluster: object, fake_work: None, tmp_path: Path) -> None:
    profile = tmp_path / "strict.yaml"
    profile.write_text(Path(PROFILE).read_text().replace("confirm_gpu_hours: 500", "confirm_gpu_hours: 0"))
    on = ("launch", str(fake_study), "--launcher", "slurm")
    sweep(*on, "--profile", str(profile), runs=runs, code=2)
    sweep(*on, "--profile", PROFILE, "--max-gpu-hours", "0.000001", runs=runs, code=2)
    assert not runs.exists(), "nothing was written"


def test_doctor_names_what_is_wrong(runs: Path, slurm_cluster: object, tmp_path: Path) -> None:
    sweep("doctor", "--profile", PROFILE, "--no-job", runs=runs)
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\npartition: nope\nlimits: {hours: 99}\n")
    assert "batch, high, low" in sweep("doctor", "--profile", str(bad), runs=runs, code=3)
