"""`var-sweep plan` and `status` on 1,000 trials.

    python -m benchmarks.plan_status

Whole processes, as a user waits for them: plan with nothing on disk, plan and status with 1,000 finished trials. Prints
the least of several runs, wall and CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from var_scaling.launch.local import Local
from var_scaling.launch.order import Order
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import load_study
from var_scaling.runs import store

STUDY = """
name: big
base:
  data: {name: fashion-mnist-mini}
  model: {head_dim: 16}
grid:
  model.depth: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
  seed: [SEEDS]
budgets: {images: [20_480, 61_440]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study, runs = Path(folder, "big.yaml"), Path(folder, "runs")
        study.write_text(STUDY.replace("SEEDS", ", ".join(map(str, range(options.trials // 10)))), encoding="utf-8")
        report("plan, nothing there", options.runs, "plan", str(study), "--runs", str(runs))
        planned = make_plan(*load_study(study), runs)
        Order(planned, study.read_text(encoding="utf-8"), Local()).write()
        for trial in planned.trials:
            for _, images in trial.budgets:
                row = {"images_seen": images, "loss_all_scales": 3.0, "train_flops_visible": 1e9, "seconds": 1.0}
                (runs / trial.work.folder / "budgets" / str(images)).mkdir(parents=True)
                store.write_json(runs / trial.work.folder / "budgets" / str(images) / "row.json", row)
        report("plan, all finished", options.runs, "plan", str(study), "--runs", str(runs))
        report("status, all finished", options.runs, "status", "big", "--runs", str(runs))


def report(what: str, runs: int, *command: str) -> None:
    walls, cpus = [], []
    for _ in range(runs):
        begin, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-m", "var_scaling.cli.sweep", *command], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        walls.append(time.perf_counter() - begin)
        cpus.append(after.children_user + after.children_system - before.children_user - before.children_system)
    print(f"{what:<24} wall {min(walls):.2f} s   CPU {min(cpus):.2f} s   (least of {runs})")


if __name__ == "__main__":
    main()
