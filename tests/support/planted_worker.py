"""The real worker around a trial whose loss has its least value at a planted learning rate and initial gamma.

<runs>/optimum.json     {"learning_rate": ..., "gamma_init": ...}
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from var_scaling import worker
from var_scaling.config import yaml
from var_scaling.runs import store
from var_scaling.runs.store import Attempt


def do(kind: str, runs: Path, folder: Path, attempt: Attempt) -> None:
    if kind != "trial":
        out = attempt.scratch("result")
        store.write_json(out / "report.json", {"kind": kind})
        store.publish(out, folder / "result")
        return
    config, best = yaml.load(folder / "config.yaml")[0], store.read_json(runs / "optimum.json")
    (asked,) = [store.read_json(path) for path in (folder / "asked").glob("*.json")]
    away = math.log(config["train"]["learning_rate"] / best["learning_rate"]) ** 2
    away += 0.01 * math.log(config["model"]["gamma_init"] / best["gamma_init"]) ** 2
    for budget in asked["budgets"]:
        if (folder / "budgets" / str(budget)).exists():
            continue
        prepared = attempt.scratch(f"budget_{budget}")
        store.write_json(prepared / "row.json", {"images_seen": budget, "loss_all_scales": 3 + away + 100 / budget})
        store.publish(prepared, folder / "budgets" / str(budget))


if __name__ == "__main__":
    sys.exit(worker.main(Path(sys.argv[1]).resolve(), do))
