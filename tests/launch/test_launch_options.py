"""Options of `var-sweep launch` that every launcher honours: consent, --pilot, and what `retry` must remember."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import engine, programs
from var_scaling.config import yaml
from var_scaling.launch import price
from var_scaling.launch.status import read_status

PROFILE = ROOT / "slurm" / "profiles" / "local-test.yaml"


def sweep(*arguments: str, runs: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "var_scaling.cli.sweep", *arguments, "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done


@pytest.mark.parametrize("launcher", ["local", "ray"])
def test_consent_is_asked_under_every_launcher(launcher: str, fake_study: Path, runs: Path, tmp_path: Path) -> None:
    on = ("launch", str(fake_study), "--launcher", launcher, "--no-mlflow")
    told = sweep(*on, "--max-gpu-hours", "0.000001", runs=runs, code=2).stderr
    assert "machine-h, above --max-gpu-hours" in told
    (tmp_path / "strict.yaml").write_text(PROFILE.read_text().replace("confirm_gpu_hours: 500", "confirm_gpu_hours: 0"))
    told = sweep(*on, "--profile", str(tmp_path / "strict.yaml"), runs=runs, code=2).stderr
    assert "add --yes to allow it" in " ".join(told.split())
    assert not runs.exists(), "nothing was written"
    assert "--launcher slurm" in sweep(*on, "--dry-run", runs=runs, code=2).stderr


def test_yes_allows_what_would_be_asked(fake_study: Path, runs: Path, tmp_path: Path, fake_work: None) -> None:
    (tmp_path / "strict.yaml").write_text(PROFILE.read_text().replace("confirm_gpu_hours: 500", "confirm_gpu_hours: 0"))
    allowed = ("--profile", str(tmp_path / "strict.yaml"), "--yes", "--max-gpu-hours", "100", "--no-mlflow", "--json")
    said = json.loads(sweep("launch", str(fake_study), *allowed, runs=runs).stdout)
    assert {t["state"] for t in said["trials"]} == {"finished"}


def test_more_cores_than_there_are_are_told_of_by_every_command(runs: Path, fake_work: None) -> None:
    said = programs.run("scaling", "tokenizer", "train", "--cores", "999", "--runs", str(runs))
    assert said.returncode == 0 and said.stderr.count("--cores 999, but this process may use") == 1, said


def test_the_price_of_this_machine_is_in_its_own_hours(fake_study: Path, runs: Path) -> None:
    trials = engine.plan(fake_study, runs).trials
    cores, machine = price.price(trials), price.price(trials, cores=4)
    assert (cores.unit, machine.unit) == ("core-h", "machine-h")
    assert machine.hours[1] == pytest.approx(cores.hours[1] / 4)
    assert machine.parallel == 4 and machine.makespan <= cores.makespan


def test_pilot_on_this_machine_says_what_was_measured(fake_study: Path, runs: Path, fake_work: None) -> None:
    done = sweep("launch", str(fake_study), "--pilot", "--no-mlflow", "--json", runs=runs)
    assert {t["state"] for t in json.loads(done.stdout)["trials"]} == {"finished"}
    told = " ".join(done.stderr.split())
    assert told.count("passed its first checkpoint, 1,000 images in") == 2
    assert "predicted" in told and "is held" not in told
    engine.check_rows(runs, read_status(runs, "fake"))


def test_pilot_on_slurm_in_status_and_let_go_by_a_launch_without(
    fake_study: Path, runs: Path, slurm_cluster: object, fake_work: None
) -> None:
    runs.mkdir()
    (runs / "fail_var-d3-s1").write_text("a planted bug")
    on = ("launch", str(fake_study), "--launcher", "slurm", "--profile", str(PROFILE))
    assert "2 trials are held until" in " ".join(sweep(*on, "--pilot", runs=runs).stdout.split())
    deadline = time.monotonic() + 90
    while "failed" not in {t.state for t in read_status(runs, "fake").trials}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    told = " ".join(sweep("status", "fake", runs=runs).stdout.split())
    assert "2 waiting in SLURM: held until the pilots have passed their first checkpoint" in told
    assert "pilot var-d3-s1" in told and "failed (code: RuntimeError: a planted bug)" in told
    assert "the rest is held until the pilots have passed" in told
    sweep(*on, runs=runs, code=1)  # the user has seen enough; one trial is known to be missing
    while read_status(runs, "fake").busy:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert sorted(t.state for t in read_status(runs, "fake").trials) == ["failed", "finished", "finished", "finished"]


def test_retry_plans_with_what_the_launch_was_given(
    fake_study: Path, runs: Path, fake_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overrides and recipe are no part of the sweep file; without them `retry` would look for other trials."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    recipe = {"name": "x", "family": "var", "depth": 2, "batch_size": 250, "learning_rate": 0.011}
    recipe |= {"knobs": {"gamma_init": 0.002}, "at_edge": [], "evidence": []}
    (tmp_path / "x.yaml").write_text(yaml.dump(recipe))
    runs.mkdir()
    (runs / "fail_var-d3-s1").write_text("once: a planted bug")
    given = ("--set", "train.batch_size=250", "--recipe", str(tmp_path / "x.yaml"), "--no-mlflow", "--json")
    sweep("launch", str(fake_study), *given, runs=runs, code=1)
    failed = [t for t in read_status(runs, "fake").trials if t.state == "failed"]
    assert len(failed) == 1, "the premise"
    sweep("retry", "fake", "--json", runs=runs)
    trials = read_status(runs, "fake").trials
    assert {t.state for t in trials} == {"finished"} and failed[0].folder in {t.folder for t in trials}
    assert len(list((runs / "trials").iterdir())) == 4


@pytest.mark.parametrize("launcher", ["local", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))])
def test_cancel_from_another_shell_reaches_what_waits(
    launcher: str, fake_study: Path, runs: Path, fake_work: None, request: pytest.FixtureRequest
) -> None:
    fake_study.write_text(fake_study.read_text().replace("3_000, 7_000", "3_000, 90_000"))
    runs.mkdir()
    (runs / "step_seconds").write_text("0.3")
    where = ["--cores", "1"] if launcher == "local" else ["--address", request.getfixturevalue("ray_address")]
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "launch", str(fake_study), "--launcher", launcher, *where]
    launch = subprocess.Popen(
        [*command, "--runs", str(runs), "--no-mlflow", "--json"], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        while not any(runs.glob("trials/*/attempts/000/checkpoints/*")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        sweep("cancel", "fake", "--yes", runs=runs)
        launch.communicate(timeout=60)
    finally:
        launch.kill()
    states = [t.state for t in read_status(runs, "fake").trials]
    assert launch.returncode == 1, "what was asked for is not there"
    assert "stopped" in states and "new" in states and not {"finished", "running", "failed"} & set(states)
