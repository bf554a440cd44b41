"""`var-sweep` as a process of its own, around fake work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import FAKE_WORKER, ROOT
from var_scaling.runs import holders, store

# The faults that the environment asks for (a clock set back) hold for the command too, not only for its workers.
RUN = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import faults
faults.from_environment()
from var_scaling.cli.sweep import main
main()
"""


def start(*arguments: object, runs: Path, worker: tuple[str, ...] = FAKE_WORKER, **env: str) -> subprocess.Popen[bytes]:
    """Start a command; what it says goes to a file beside the runs folder."""
    if arguments[0] in ("launch", "retry"):
        arguments = (*arguments, "--json")  # its table asks more of a row than fake work writes
    variables = {
        "VAR_SCALING_WORKER_COMMAND": "\x1f".join(worker),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody, unless a test names somebody
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    with open(runs.parent / "commands.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", RUN, *map(str, arguments), "--runs", str(runs)],
            env={**os.environ, **variables, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run(*arguments: object, runs: Path, expect: int = 0, seconds: float = 120, **options: Any) -> None:
    """Run a command to its end."""
    process = start(*arguments, runs=runs, **options)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    assert code == expect, f"{arguments} ended with {code}: {said(runs)}"


def sync(runs: Path, sweep: str, **env: str) -> None:
    """Bring MLflow up to date, once no other mirror is at it: an orphan of a killed launch makes a last round."""
    mirror = runs / "sweeps" / sweep / "mirror"

    def free() -> bool:
        numbers = store.attempt_numbers(mirror)
        holder = store.read_holder(mirror, numbers[-1]) if numbers else None
        ended = not numbers or (mirror / "attempts" / f"{numbers[-1]:03d}" / "end.json").exists()
        return ended or (holder is not None and holders.life(holder) == "dead")

    until(free, "the other mirror has left", 120)
    run("sync", sweep, runs=runs, **env)


def said(runs: Path) -> str:
    """What the commands on this runs folder have said."""
    return (runs.parent / "commands.log").read_text(errors="replace")[-4000:]


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait until something is true; returns it."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return value
