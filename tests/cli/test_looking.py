"""What the commands that look say: logs that grow, trials at equal progress, what was asked and what was used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import engine
from tests.support.programs import run
from var_scaling.cli.tables import told
from var_scaling.launch.slurm.resources import Resources
from var_scaling.launch.slurm.usage import parse_usage
from var_scaling.runs import store
from var_scaling.runs.journal import read_effective


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_logs_follow_a_growing_file_through_attempts(fake_study: Path, runs: Path) -> None:
    engine.start(fake_study, runs)
    (folder,) = (runs / "trials").glob("var-d2-s0-*")
    first = store.take(folder)
    log = first.folder / "log.txt"
    log.write_text("before\n")
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "logs", "d2-s0", "-f", "--runs", str(runs)]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert follower.stdout
    assert follower.stdout.readline() == "before\n"
    with open(log, "a") as file:
        file.write("added\n")
    assert follower.stdout.readline() == "added\n", "while the attempt goes on"
    assert follower.poll() is None
    first.end("preempted")
    second = store.take(folder)
    (second.folder / "log.txt").write_text("again\n")
    assert follower.stdout.readline() == "again\n"
    second.end("stopped", message="cancelled")
    rest = follower.communicate(timeout=60)[0]
    assert rest == "-- ended: stopped: cancelled\n"
    assert follower.returncode == 0


def test_status_says_the_step_and_the_loss_of_what_runs(fake_study: Path, runs: Path) -> None:
    engine.start(fake_study, runs)
    (folder,) = (runs / "trials").glob("var-d2-s0-*")
    attempt = store.take(folder)
    batch = json.loads((folder / "identity.json").read_text())["train"]["batch_size"]
    lines = [{"phase": "trunk", "images": n * batch, "time": 0.0, "train/loss": 4 - n / 100} for n in (10, 20)]
    (attempt.folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (attempt.folder / "progress.json").write_text(json.dumps({"done": 5, "total": 10, "what": "trunk"}))
    said = run("sweep", "status", "fake", "--runs", str(runs)).stdout
    assert "trunk 50%, step 20, loss 3.8000, 0 of 2 budgets" in " ".join(said.split())
    attempt.end("stopped", message="")
    assert "step 20" not in run("sweep", "status", "fake", "--runs", str(runs)).stdout


def test_numbers_are_told_as_they_were_written() -> None:
    assert told(0.011999999999999999) == "0.012"
    assert told([0.9, 0.95]) == "[0.9, 0.95]"
    assert told(2_000_000) == "2000000" and told(True) == "True" and told("wsd") == "wsd"
    assert told(0.018) != told(0.0180001), "what differs is told apart"


def test_trials_are_compared_at_equal_progress(fake_study: Path, runs: Path) -> None:
    runs.mkdir()
    (runs / "fail_var-d3-s1").write_text("a planted bug")
    status = engine.run(fake_study, runs)
    assert [t.state for t in status.trials].count("finished") == 3, "the premise: one trial is not that far"
    done = run("sweep", "status", "fake", "--at", "4500", "--runs", str(runs), "--json")
    trials = {t["trial"]: t["at"] for t in json.loads(done.stdout)["trials"]}
    assert len(trials) == 4
    for name, at in trials.items():
        lines = {line["images"]: line["train/loss"] for line in read_effective(runs / "trials" / name)}
        assert at == ({"images": 4000, "train_loss": lines[4000]} if lines else None)
    early = json.loads(run("sweep", "status", "fake", "--at", "500", "--runs", str(runs), "--json").stdout)["trials"]
    assert sorted((t["at"] or {}).get("images", 0) for t in early) == [0, 1000, 1000, 1000], "the first line there is"
    table = run("sweep", "status", "fake", "--at", "4500", "--runs", str(runs)).stdout
    assert table.count("4,000") == 3 and "not that far" in table
    assert table.rindex("4,000") < table.index("not that far"), "those that are not that far come last"


def test_what_was_asked_and_what_was_used() -> None:
    small, large = Resources(1, 0, 1, 2, 10), Resources(1, 1, 8, 64, 60)
    text = (
        "7_0|100||2026-11-24T10:00:00\n7_0.batch|100|1000K|2026-11-24T10:00:00\n7_0.0|99|1048576K|2026-11-24T10:00:00\n"
        "7_1|300||2026-11-24T10:00:00\n7_1.0|300|512M|2026-11-24T10:00:00\n7_[2-9]|0||Unknown\n7_2|0||None\n"
        "8_0|1800||2026-11-24T10:00:00\n9_0|5||2026-11-24T10:00:00\nnonsense\n"
    )
    used = parse_usage(text, {"7": small, "8": large})
    assert [(u.resources, u.tasks, u.seconds, u.memory_bytes) for u in used] == [
        (small, 2, 300.0, 2**30),
        (large, 1, 1800.0, 0),
    ]
    assert used[0].asked_bytes == 2 * 2**30
