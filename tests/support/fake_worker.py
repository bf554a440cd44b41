"""The real worker around work that costs nothing: steps of a few milliseconds, one number, no torch.

It claims, journals, checkpoints (a JSON file), stops, resumes, publishes and fails as a trial does, so the engine is
tested with real processes and real folders. What it does is set by files in the runs folder:

    step_seconds        how long a step of 1,000 images takes
    checkpoint_steps    steps between two checkpoints (1); a killed worker does what lies between again
    fail_<trial>        text of the failure of a trial whose folder begins so; `once:` fails the first attempt only
    stage_seconds       how long a stage takes (0)
    bad_node            name of a SLURM node on which every trial fails

and by variables of its environment, which `tests.support.faults` reads.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from pathlib import Path

from var_scaling import worker
from var_scaling.runs import frozen, store
from var_scaling.runs.store import Attempt

STEP = 1_000
code_hash = functools.cache(frozen.code_hash)  # of what was imported


def next_value(value: int, images: int) -> int:
    """A number that depends on the whole history of steps, as weights do."""
    return (value * 6_364_136_223_846_793_005 + images + 1_442_695_040_888_963_407) % 2**61


def do(kind: str, runs: Path, folder: Path, attempt: Attempt) -> None:
    for path in runs.glob("fail_*"):
        if folder.name.startswith(path.name.removeprefix("fail_")):
            text = path.read_text()
            if not text.startswith("once:") or attempt.number == 0:
                raise RuntimeError(text)
    if kind == "trial" and (runs / "bad_node").exists():
        if (runs / "bad_node").read_text() == os.environ.get("SLURMD_NODENAME"):
            raise OSError(5, "Input/output error")
    if kind != "trial":
        begin = time.monotonic()
        while time.monotonic() < begin + _setting(runs, "stage_seconds", 0.0):
            if attempt.stop_requested():
                raise attempt.stopped()
            time.sleep(0.02)
        out = attempt.scratch("result")
        store.write_json(out / "report.json", {"kind": kind})
        store.publish(out, folder / "result")
        return
    while True:
        asked = _asked(folder)
        todo = [b for b in asked if not (folder / "budgets" / str(b) / "row.json").exists()]
        if not todo:
            return
        _train(runs, folder, attempt, todo[0])


def _asked(folder: Path) -> list[int]:
    requests = [store.read_json(path) for path in (folder / "asked").glob("*.json")]
    return sorted({budget for request in requests if request for budget in request["budgets"]})


def _train(runs: Path, folder: Path, attempt: Attempt, budget: int) -> None:
    state = {"images": 0, "value": 7}
    for number in reversed(store.attempt_numbers(folder)):
        saved = store.read_json(folder / "attempts" / f"{number:03d}" / "checkpoints" / "trunk.pt")
        if saved and saved["images"] <= budget:
            state = saved
            break
    while state["images"] < budget:
        time.sleep(_setting(runs, "step_seconds", 0.002))
        images = state["images"] + STEP
        state = {"images": images, "value": next_value(state["value"], images)}
        attempt.check_owner()
        attempt.journal.write(phase="trunk", images=images, **{"train/loss": state["value"] / 2**61})
        attempt.progress(images, budget, "trunk")
        stop = attempt.stop_requested()
        if stop or images >= budget or images % (STEP * _setting(runs, "checkpoint_steps", 1)) == 0:
            attempt.check_owner()
            (attempt.folder / "checkpoints").mkdir(exist_ok=True)
            store.write_json(attempt.folder / "checkpoints" / "trunk.pt", state)
            attempt.journal.write(event="checkpoint", phase="trunk", images=images)
        if stop:
            raise attempt.stopped()
    attempt.check_owner()
    prepared = attempt.scratch(f"budget_{budget}")
    row = {
        "images_seen": budget,
        "loss_all_scales": state["value"] / 2**61,
        "attempts": attempt.number + 1,
        "code": code_hash(),
        "finished": time.time(),
    }
    store.write_json(prepared / "row.json", row)
    (prepared / "samples.png").touch()
    store.publish(prepared, folder / "budgets" / str(budget))


def _setting(runs: Path, name: str, default: float) -> float:
    try:
        return float((runs / name).read_text())
    except (OSError, ValueError):  # the latter: it is being written just now
        return default


def expected_value(budget: int) -> float:
    """What a trial's row must say, however often the trial was interrupted."""
    value = 7
    for images in range(STEP, budget + STEP, STEP):
        value = next_value(value, images)
    return value / 2**61


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.path.append(str(Path(__file__).parent))  # by itself: another package may be called `tests`
    import faults

    faults.from_environment()
    sys.exit(worker.main(Path(sys.argv[1]).resolve(), do))
