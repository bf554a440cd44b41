"""What people do to a launch from their shells: close the terminal, pipe it into `head`, take its name for another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FAKE_STUDY, ROOT
from tests.support import commands, engine
from tests.support.claims import a_live_claim, claims, lasting, launch, slowly
from var_scaling.launch.status import read_status
from var_scaling.runs.journal import read_lines


def test_a_terminal_that_closes_saves_and_stops(fake_study: Path, runs: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may stand below a nohup themselves
    try:
        process = launch(lasting(fake_study), slowly(runs))
    finally:
        signal.signal(signal.SIGHUP, before)
    a_live_claim(runs)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 130
    assert not list(claims(runs)), "no worker is left behind"


def test_nohup_is_honoured(fake_study: Path, runs: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup hands it on
    try:
        process = launch(fake_study, slowly(runs))
    finally:
        signal.signal(signal.SIGHUP, before)
    a_live_claim(runs)
    process.send_signal(signal.SIGHUP)
    slowly(runs, 0.0)
    assert process.wait(120) == 0


def test_a_reader_that_leaves_ends_no_launch(fake_study: Path, runs: Path, fake_work: None) -> None:
    runs.mkdir()
    line = f"{sys.executable} -m var_scaling.cli.sweep launch {fake_study} --runs {runs} --no-mlflow --json"
    done = subprocess.run(["bash", "-c", f"{line} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"], cwd=ROOT, timeout=120)
    assert done.returncode == 0
    engine.check_rows(runs, read_status(runs, "fake"))


@pytest.mark.parametrize("where", [">&-", "2>&-"])
def test_a_closed_stream_ends_no_launch(fake_study: Path, runs: Path, fake_work: None, where: str) -> None:
    runs.mkdir()
    line = f"{sys.executable} -m var_scaling.cli.sweep launch {fake_study} --runs {runs} --no-mlflow --json {where}"
    assert subprocess.run(["bash", "-c", line], cwd=ROOT, timeout=120).returncode == 0
    engine.check_rows(runs, read_status(runs, "fake"))


def test_another_file_takes_no_sweeps_name_unasked(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    assert launch(fake_study, runs).wait(120) == 0
    other = fake_study.with_name("other.yaml")
    other.write_text(FAKE_STUDY.replace("[2, 3]", "[2]").replace("7_000", "4_000"))
    before = engine.tree_hash(runs)
    commands.run("launch", other, "--no-mlflow", runs=runs, expect=2)
    assert "6 of its 8 rows are no longer in the study" in commands.said(runs)
    assert engine.tree_hash(runs) == before
    commands.run("launch", other, "--no-mlflow", "--yes", runs=runs)


def marks(attempt: Path) -> int:
    """Checkpoints that an attempt has made."""
    return sum(line.get("event") == "checkpoint" for line in read_lines(attempt / "journal.jsonl"))


def test_a_stopped_trial_is_priced_by_what_is_left_and_its_log_tells_of_it(fake_study: Path, runs: Path) -> None:
    def images() -> float:
        said = subprocess.run(
            [sys.executable, "-m", "var_scaling.cli.sweep", "plan", str(fake_study), "--json", "--runs", str(runs)],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        return sum(trial["new_images"] for trial in json.loads(said.stdout)["trials"])

    fake_study.write_text(
        FAKE_STUDY.replace("[2, 3]", "[2]").replace("[0, 1]", "[0]").replace("3_000, 7_000", "30_000")
    )
    runs.mkdir()
    before = images()
    process = launch(fake_study, slowly(runs))
    path, holder = a_live_claim(runs)
    commands.until(lambda: marks(path) >= 3, "some checkpoints")
    os.kill(holder.pid, signal.SIGTERM)
    assert process.wait(60) == 1
    saved = marks(path)
    assert images() == before - 1_000 * saved
    commands.run("logs", "var-d2", runs=runs)
    assert f"checkpoint trunk at {saved},000 images" in commands.said(runs)
