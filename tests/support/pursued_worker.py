"""The real worker around trials whose losses follow a planted law; ends with a failure where it is told to.

<runs>/planted.json     {"noise": 0.002, "diverge": ["d3-s1", ...], "seconds": 0.0}
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from var_scaling import worker
from var_scaling.config import yaml
from var_scaling.planning import flops
from var_scaling.planning.trial import trial_type
from var_scaling.runs import store
from var_scaling.runs.store import Attempt

E, A, ALPHA, B, BETA = 2.9, 55.0, 0.35, 2.2e3, 0.8


def law(params: float, images: float) -> float:
    """The planted loss without noise."""
    return E + A / params**ALPHA + B / images**BETA


def do(kind: str, runs: Path, folder: Path, attempt: Attempt) -> None:
    if kind != "trial":
        out = attempt.scratch("result")
        store.write_json(out / "report.json", {"kind": kind})
        store.publish(out, folder / "result")
        return
    raw = yaml.load(folder / "config.yaml")[0]
    config, planted = trial_type(raw).model_validate(raw), store.read_json(runs / "planted.json")
    (asked,) = [store.read_json(path) for path in (folder / "asked").glob("*.json")]
    if any(f"-{name}-" in folder.name for name in planted["diverge"]):
        raise FloatingPointError("the loss is not finite")
    params = flops.params_total(config.model)
    for budget in asked["budgets"]:
        if (folder / "budgets" / str(budget)).exists():
            continue
        time.sleep(planted["seconds"])
        rng = np.random.default_rng([config.model.depth, config.seed, budget])
        row = {"trial": folder.name.rpartition("-")[2], "depth": config.model.depth, "seed": config.seed}
        row |= {"params_total": params, "images_seen": budget}
        row |= {"loss_all_scales": law(params, budget) * float(np.exp(planted["noise"] * rng.normal()))}
        prepared = attempt.scratch(f"budget_{budget}")
        store.write_json(prepared / "row.json", row)
        store.publish(prepared, folder / "budgets" / str(budget))


if __name__ == "__main__":
    sys.exit(worker.main(Path(sys.argv[1]).resolve(), do))
