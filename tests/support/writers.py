"""Trials that write at the same time, each in a process of its own as a worker is, beside one mirror.

python -m tests.support.writers JOURNAL LINES PAUSE        # one writer
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.tracker import Sweep, run_count, stored_points
from var_scaling.runs.journal import Journal, read_effective

ROOT = Path(__file__).parents[2]
STEP = 100
DURABLE_EVERY = 10  # lines


def write(path: Path, lines: int, pause: float) -> None:
    """A trunk: lines, and a checkpoint after some of them and after the last."""
    journal = Journal(path)
    for line in range(1, lines + 1):
        fields = {f"train/{name}": line / 7 + k for k, name in enumerate(("loss", "learning_rate", "gradient_norm"))}
        journal.write(phase="trunk", images=line * STEP, **fields)
        if line % DURABLE_EVERY == 0 or line == lines:
            journal.sync()
            journal.write(event="checkpoint", phase="trunk", images=line * STEP)
        time.sleep(pause)


@dataclass(frozen=True)
class Outcome:
    points: int  # in all journals
    lost: int
    wrong: int
    runs: int  # in the store
    write_seconds: float
    late_seconds: float  # after the last writer's end, until the mirror was done


def mirrored(sweep: Sweep, uri: str, database: Path, lines: int, pause: float, env: dict[str, str]) -> Outcome:
    """Write all trials of a sweep at once with one mirror beside them, and compare the store with the journals."""
    command = [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(sweep.runs), sweep.name]
    env = {**env, "MLFLOW_TRACKING_URI": uri}
    mirror = subprocess.Popen([*command, "--follow"], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    begin = time.monotonic()
    writers = []
    for trial in sweep.trials:
        path = sweep.trial(trial) / "attempts" / "000" / "journal.jsonl"
        writer = [sys.executable, "-m", "tests.support.writers", str(path), str(lines), str(pause)]
        writers.append(subprocess.Popen(writer, cwd=ROOT, env=env))
    assert [writer.wait() for writer in writers] == [0] * len(writers)
    written = time.monotonic()
    mirror.send_signal(signal.SIGTERM)
    _, words = mirror.communicate(timeout=300)
    if mirror.returncode:  # told to stop in the middle of a bad moment: `sync` does the rest
        subprocess.run([*command, "--once"], cwd=ROOT, env=env, check=True)
    done = time.monotonic()
    points = lost = wrong = 0
    for trial in sweep.trials:
        stored = stored_points(database, trial)
        for line in read_effective(sweep.trial(trial)):
            for name in ("loss", "learning_rate", "gradient_norm"):
                points += 1
                key = ("train/loss_var" if name == "loss" else f"trunk/{name}", line["images"])
                lost += key not in stored
                wrong += key in stored and stored[key] != (line[f"train/{name}"], int(line["time"] * 1000))
    return Outcome(points, lost, wrong, run_count(database), written - begin, done - written)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
