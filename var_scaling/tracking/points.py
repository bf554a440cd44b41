"""What the mirror reads from disk, as points, files and states. Pure: no MLflow, and nothing is written.

Dimension: a point is (name, value, timestamp in ms, step = images seen).
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from var_scaling.runs.journal import attempt_journals, durable_images
from var_scaling.runs.record import read_record
from var_scaling.runs.store import AskScheduler

Point = tuple[str, float, int, int]


def publishable(folder: Path, rows: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    """For each phase, up to how many images nothing can be rolled back."""
    limits = durable_images(folder)
    for budget, row in rows.items():
        limits[f"anneal_{budget}"] = budget
        limits["trunk"] = max(limits.get("trunk", 0), int(row.get("branch_images", 0)))
    return limits


def line_points(line: Mapping[str, Any]) -> Iterator[Point]:
    """A journal line's numbers; on the trunk only the loss is `train/`, so that every trial's curve is one chart."""
    phase, at, step = str(line["phase"]), int(line["time"] * 1000), int(line["images"])
    for name, value in line.items():
        if name in ("phase", "time", "images") or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        short = name.removeprefix("train/")
        if phase != "trunk":
            name = f"{phase}/{short}"
        elif name != "train/loss":
            name = f"trunk/{short}"
        yield name, float(value), at, step


def row_points(row: Mapping[str, Any], at: int, step: int) -> Iterator[Point]:
    names = {
        "loss_all_scales": "val/loss",
        "loss_last_scale": "val/loss_last_scale",
        "error_all_scales": "val/error",
        "error_last_scale": "val/error_last_scale",
    }
    for name, value in row.items():
        kind, _, scale = name.partition("_scale_")
        if name in names:
            yield names[name], float(value), at, step
        elif kind in ("loss", "error") and scale.isdecimal():
            yield f"scale/{kind}_{int(scale):02d}", float(value), at, step


def evaluation_points(evaluation: Mapping[str, Any], at: int, step: int) -> Iterator[Point]:
    label = str(evaluation.get("label", evaluation.get("kind", "evaluation")))
    names = {"fid_corrected": f"fid/{label}", "fid": f"fid/{label}_raw", "tokenizer_rfid": f"fid/{label}_floor"}
    names |= {n: f"quality/{n}_{label}" for n in ("kid", "inception_score", "precision", "recall")}
    for name, target in names.items():
        if isinstance(evaluation.get(name), int | float):
            yield target, float(evaluation[name]), at, step


def trial_files(folder: Path, budgets: list[int]) -> dict[Path, str]:
    files = {folder / "config.yaml": "config"} if (folder / "config.yaml").exists() else {}
    for budget in budgets:
        for path in sorted((folder / "budgets" / str(budget)).glob("samples*.png")):
            files[path] = f"samples/{budget:012d}"  # sorted by name is sorted by size
    return files


def look(folder: Path) -> Any:
    """Sizes of everything that the mirror reads of a trial: unchanged means nothing new."""
    paths = [*attempt_journals(folder), *folder.glob("budgets/*/*"), *folder.glob("budgets/*/evaluations/*.json")]
    paths += folder.glob("attempts/*/end.json")
    found = []
    for path in sorted(paths):
        try:
            found.append((str(path), path.stat().st_size, path.stat().st_mtime_ns))
        except OSError:
            continue
    return found


def launched(launch: Mapping[str, Any], trial: Mapping[str, Any]) -> bool:
    return any(str(job).endswith(f"trials/{trial['folder']}") for job in launch.get("jobs", ()))


def launch_time(launch: Mapping[str, Any]) -> int:
    launched = launch.get("launched")
    if isinstance(launched, str):
        return int(datetime.datetime.fromisoformat(launched).timestamp() * 1000)
    return int(float(launched or time.time()) * 1000)


def finished(runs: Path, trial: Mapping[str, Any]) -> bool:
    budgets = runs / "trials" / trial["folder"] / "budgets"
    return all((budgets / str(b["images"]) / "row.json").exists() for b in trial["budgets"])


def status(folder: Path, ask: AskScheduler | None = None) -> str:
    """MLflow's word for an unfinished trial: by how its last attempt ended, or by whether its holder lives."""
    record = read_record(folder.parent.parent, f"trials/{folder.name}", ask_scheduler=ask)
    if record.state in ("running", "unknown"):  # unknown is not dead
        return "RUNNING"
    return "FAILED" if record.state == "failed" else "KILLED"  # killed: it goes on at the next launch


def sweep_status(
    runs: Path, trials: Sequence[Mapping[str, Any]], live: bool = False, ask: AskScheduler | None = None
) -> str:
    """MLflow's word for a sweep: it runs while a launcher is at work (`live`) or any trial is, and ends as they do."""
    words = {status(runs / "trials" / t["folder"], ask) for t in trials if not finished(runs, t)}
    if words and live:
        return "RUNNING"
    return next((word for word in ("RUNNING", "FAILED", "KILLED") if word in words), "FINISHED")


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
