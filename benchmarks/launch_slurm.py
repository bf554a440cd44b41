"""Figures of the SLURM launcher on the one-machine cluster (`make slurm-up` first; SLURM_CONF set).

    python benchmarks/launch_slurm.py [trials]      # default 1000

Prints: seconds to plan, write and submit; seconds of `status`, with SLURM's own answer apart; seconds that one trial of
no work takes from claim to end on a node, and the scheduler's drain of all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.conftest import FAKE_STUDY, FAKE_WORKER, ROOT
from tests.support import engine
from var_scaling.launch.order import Order
from var_scaling.launch.slurm.arrays import look_up, read_arrays
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import load_profile
from var_scaling.launch.status import read_status
from var_scaling.runs import store


def clock(what: str, begin: float) -> float:
    now = time.perf_counter()
    print(f"{what:<52} {now - begin:8.2f} s", flush=True)
    return time.perf_counter()


def main(trials: int) -> None:
    base = Path(tempfile.mkdtemp(prefix="launch-bench-"))
    study, runs = base / "fake.yaml", base / "runs"
    runs.mkdir()
    (runs / "step_seconds").write_text("0.001", encoding="utf-8")
    study.write_text(
        FAKE_STUDY.replace("[0, 1]", str(list(range(trials // 2)))).replace("[3_000, 7_000]", "[3_000]"),
        encoding="utf-8",
    )
    profile = load_profile(ROOT / "slurm" / "profiles" / "local-test.yaml")
    print(f"{trials} trials, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    whole = begin = time.perf_counter()
    plan = engine.plan(study, runs)
    begin = clock("plan", begin)
    launch = Order(plan, study.read_text(encoding="utf-8"), Slurm(profile)).write()
    begin = clock("write the folders", begin)
    launcher = SlurmLauncher(runs, profile, "fake", worker=FAKE_WORKER)
    launcher.submit(launch.jobs, launch.folder)
    begin = clock(f"submit {len(launcher.submitted.arrays)} arrays", begin)
    clock("launch, all of it", whole)
    begin = time.perf_counter()
    look_up(read_arrays(runs))
    begin = clock("SLURM's own answer (one squeue)", begin)
    read_status(runs, "fake")
    clock("status, with that answer", begin)
    begin = time.perf_counter()
    while (status := read_status(runs, "fake")).busy and time.perf_counter() - begin < 400:
        time.sleep(5)
    clock("drained", begin)
    done = [t for t in status.trials if t.state == "finished"]
    spans = []
    for trial in done:
        folder = runs / trial.folder / "attempts" / "000"
        claim, end = store.read_json(folder / "claim.json"), store.read_json(folder / "end.json")
        spans.append(end["time"] - claim["time"])
    spans.sort()
    print(f"{len(done)} finished; claim to end, median {spans[len(spans) // 2]:.2f} s, most {spans[-1]:.2f} s")
    jobs = ",".join(str(array.job) for array in launcher.submitted.arrays)
    asked = ["sacct", "-X", "-n", "-P", "-j", jobs, "-o", "State,ElapsedRaw"]
    told = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace", check=True).stdout.split()
    whole_seconds = [int(line.partition("|")[2]) for line in told if line.startswith("COMPLETED|")]
    print(f"SLURM's start to its end, mean of {len(whole_seconds)}: {sum(whole_seconds) / len(whole_seconds):.2f} s")
    begin = time.perf_counter()
    read_status(runs, "fake")
    clock("status of the finished sweep", begin)
    shutil.rmtree(base)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
