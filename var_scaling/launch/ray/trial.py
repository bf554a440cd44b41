"""What runs inside a Ray Tune trial: the ordinary worker as a child process. Standard library only, and Ray.

A trial's process imports nothing else of ours, since each costs seconds of a core before its first work, and carries
nothing but a work's name and the path of the folder in which everything else is written.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from var_scaling.exits import EXIT_HELD
from var_scaling.runs import layout
from var_scaling.runs.slurm_task import TASK

HELD_SECONDS = 2.0
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1


def run_work(config: dict[str, Any]) -> dict[str, Any]:
    """The trainable. It raises only where the worker was killed, which Tune answers by starting it again."""
    folder, work = Path(config["folder"]), str(config["work"])
    jobs = json.loads(layout.ray_jobs(folder).read_text(encoding="utf-8"))
    state, cancel = layout.ray_state(folder, work), layout.wish(folder, work)
    if state.exists():  # Tune starts it again, so its first process is gone, on whatever node that was
        jobs["env"]["VAR_SCALING_TAKE_OVER"] = "1"
    state.write_text("running", encoding="utf-8")
    while (code := run_child(folder, jobs, work, int(config["cpu"]))) == EXIT_HELD and not cancel.exists():
        time.sleep(HELD_SECONDS)  # another launch runs it
    if code < 0 and code != -signal.SIGTERM:
        raise RuntimeError(f"the worker of {work} was killed by signal {-code}")
    state.write_text("gone", encoding="utf-8")
    return {"exit": code}


def climb(config: dict[str, Any]) -> None:
    """The trainable of a search: ask for one more budget at a time and report its loss; ASHA may end it at a report."""
    from ray import tune

    folder, work = Path(config["folder"]), str(config["work"])
    jobs = json.loads(layout.ray_jobs(folder).read_text(encoding="utf-8"))
    trial, rungs = Path(jobs["runs"]) / work, jobs["rungs"]
    for number, images in enumerate(rungs, 1):
        row = layout.row(trial, images)
        if not row.exists():
            path = layout.asked(trial, jobs["study"])
            wanted = {**json.loads(path.read_text(encoding="utf-8")), "budgets": rungs[:number]}
            path.with_suffix(".new").write_text(json.dumps(wanted), encoding="utf-8")
            os.replace(path.with_suffix(".new"), path)
            run_child(folder, jobs, work, int(config["cpu"]))
        if not row.exists():  # diverged or failed: its folder says why; the worst loss ends it
            tune.report({"rung": 2 ** (len(rungs) - 1), "loss": float("inf")})
            return
        tune.report(
            {"rung": 2 ** (number - 1), "loss": float(json.loads(row.read_text(encoding="utf-8"))[jobs["metric"]])}
        )


def run_child(folder: Path, jobs: dict[str, Any], work: str, threads: int) -> int:
    """Run the worker once, in a process group of its own; a wish to cancel becomes TERM."""
    cancel = layout.wish(folder, work)
    if cancel.exists():
        return 0
    env = {
        **os.environ,
        **jobs["env"],
        "VAR_SCALING_RAY": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    env.pop(TASK, None)  # one job holds many works: it is none of theirs
    with open(layout.ray_early_log(folder, work), "ab") as log:
        child = subprocess.Popen(
            [*jobs["worker"], f"{jobs['runs']}/{work}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            preexec_fn=_die_with_parent,
        )
    asked = False
    while child.poll() is None:
        if not asked and cancel.exists():
            asked = True
            child.send_signal(signal.SIGTERM)
        time.sleep(POLL_SECONDS)
    return child.returncode


def _die_with_parent() -> None:
    """In the child: a group of its own, and TERM (save and stop) when the process that started it is gone."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
