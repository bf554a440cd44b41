"""SLURM as tests ask it: jobs on the real one, and one of a single file that lies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import FAKE_WORKER, ROOT
from tests.support import engine
from var_scaling.launch.order import Order
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import Profile, load_profile
from var_scaling.launch.status import TrialStatus, read_status

PROFILE = load_profile(ROOT / "slurm" / "profiles" / "local-test.yaml")
FAKE_SLURM = """#!/bin/sh
# A SLURM of one file: `queue` holds a line a task, `mode` says how sbatch answers.
here=$(dirname "$0")
case $(basename "$0") in
sbatch)
    mode=$(cat "$here/mode" 2>/dev/null)
    echo "$mode" >> "$here/calls"
    case $mode in refuse) echo "sbatch: error: invalid partition specified: nope" >&2; exit 1;; esac
    case $mode in busy) echo good > "$here/mode"; echo "sbatch: error: Socket timed out on send/recv" >&2; exit 1;; esac
    number=$(($(cat "$here/number" 2>/dev/null || echo 100) + 1)); echo $number > "$here/number"
    name=$(sed -n "s/#SBATCH --job-name='\\{0,1\\}\\([^']*\\)'\\{0,1\\}$/\\1/p" "$1")
    last=$(sed -n 's/#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
    for i in $(seq 0 $last); do echo "${number}_$i|PENDING|Priority|$name|" >> "$here/queue"; done
    case $mode in lie) echo good > "$here/mode"; echo "sbatch: error: Socket timed out on send/recv" >&2; exit 1;; esac
    case $mode in second) echo refuse > "$here/mode";; esac
    echo "sbatch: some warning"; echo "Submitted batch job $number";;
squeue) cat "$here/queue" 2>/dev/null;;
scontrol) echo "MaxArraySize            = 4";;
scancel) for job in "$@"; do sed -i "/^${job%%_*}_/d" "$here/queue"; done;;
esac
exit 0
"""


def call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def profile(**changes: object) -> Profile:
    limits = PROFILE.limits.model_copy(update={k: v for k, v in changes.items() if k in ("hours", "least_minutes")})
    rest = {k: v for k, v in changes.items() if k not in ("hours", "least_minutes")}
    return PROFILE.model_copy(update={"limits": limits, **rest})


def submit(study: Path, runs: Path, profile: Profile = PROFILE) -> SlurmLauncher:
    launch = Order(engine.plan(study, runs), study.read_text(), Slurm(profile)).write()
    launcher = SlurmLauncher(runs, profile, "fake", worker=FAKE_WORKER)
    launcher.submit(launch.jobs, launch.folder)
    return launcher


def wait(runs: Path, enough: Callable[[TrialStatus], bool], seconds: float = 60) -> TrialStatus:
    deadline = time.monotonic() + seconds
    while True:
        (trial,) = read_status(runs, "fake").trials
        if enough(trial):
            return trial
        assert time.monotonic() < deadline, (trial.state, trial.record, str(trial.queued))
        time.sleep(0.2)
