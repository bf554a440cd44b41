"""What the mirror reads from disk, as points, files and states. Pure: no MLflow, and nothing is written.

Dimension: a point is (name, value, timestamp in ms, step = images seen).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from var_scaling.config import yaml
from var_scaling.errors import RequestProblem
from var_scaling.planning import flops
from var_scaling.planning.trial import read_trial
from var_scaling.runs import layout, store
from var_scaling.runs.holders import AskScheduler
from var_scaling.runs.journal import attempt_journals, durable_images
from var_scaling.runs.record import read_record
from var_scaling.tracking.rows import loss_names, of_family

Point = tuple[str, float, int, int]
COMPUTE, LOG10_COMPUTE = "compute/train_flops", "compute/log10_train_flops"  # the page has no log axis of a metric


def publishable(folder: Path, rows: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    """For each phase, up to how many images nothing can be rolled back."""
    limits = durable_images(folder)
    for budget, row in rows.items():
        limits[f"anneal_{budget}"] = budget
        limits["trunk"] = max(limits.get("trunk", 0), int(row.get("branch_images", 0)))
    return limits


def line_points(line: Mapping[str, Any], family: str) -> Iterator[Point]:
    """A journal line's numbers; on the trunk only the loss is `train/`, so that every trial's curve is one chart."""
    phase, at, step = str(line["phase"]), int(line["time"] * 1000), int(line["images"])
    for name, value in line.items():
        if name in ("phase", "time", "images") or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        short = name.removeprefix("train/")
        if short == "loss":
            short = of_family(short, family)
        if phase != "trunk":
            name = f"{phase}/{short}"
        elif name == "train/loss":
            name = f"train/{short}"
        else:
            name = f"trunk/{short}"
        yield name, float(value), at, step


def compute_points(images: int, flops_per_image: int) -> Iterator[Point]:
    """FLOPs spent at a step and their logarithm, as metrics: axes for curves.

    Its time says nothing, and is the same whoever passes there: the trunk, or a budget's branch.
    """
    spent = images * flops_per_image
    if spent:
        yield COMPUTE, float(spent), images, images
        yield LOG10_COMPUTE, math.log10(spent), images, images


def tokenizer_points(line: Mapping[str, Any]) -> Iterator[Point]:
    """A line of a tokenizer's journal; `codebook/` keeps its name."""
    at, step = int(line["time"] * 1000), int(line["images"])
    for name, value in line.items():
        if "/" in name and isinstance(value, int | float):
            yield name.replace("train/", "tokenizer/", 1), float(value), at, step


def flops_per_image(folder: Path, rows: Mapping[int, Mapping[str, Any]]) -> int | None:
    """Training FLOPs of one image, dense, of a trial's model: a row's, else by arithmetic from its config."""
    for row in rows.values():
        if "train_flops_per_image" in row:
            return int(row["train_flops_per_image"])
    try:
        return flops.train_flops_per_image(read_trial(yaml.load(layout.config(folder))[0]).model)
    except (RequestProblem, ValueError):  # none there, or one of another version of this code
        return None


def row_points(row: Mapping[str, Any], at: int, step: int) -> Iterator[Point]:
    """What a row says of the validation set, as one point of the trial's curves."""
    family = str(row.get("family", "var"))
    names = loss_names(row)
    for name, value in row.items():
        kind, _, scale = name.partition("_scale_")
        if name in names:
            yield of_family(f"val/{names[name]}", family), float(value), at, step
        elif kind in ("loss", "error") and scale.isdecimal():
            yield of_family(f"scale/{kind}_{int(scale):02d}", family), float(value), at, step


def evaluation_points(evaluation: Mapping[str, Any], at: int, step: int) -> Iterator[Point]:
    label = str(evaluation.get("label", evaluation.get("kind", "evaluation")))
    names = {"fid_corrected": f"fid/{label}", "fid": f"fid/{label}_raw", "tokenizer_rfid": f"fid/{label}_floor"}
    names |= {n: f"quality/{n}_{label}" for n in ("kid", "inception_score", "precision", "recall")}
    for name, target in names.items():
        if isinstance(evaluation.get(name), int | float):
            yield target, float(evaluation[name]), at, step


def params_of(identity: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, str]:
    """What a person looks for among a trial's settings, and the grid's axes; all of them are in its config.yaml."""
    data, model, train = (identity.get(part) or {} for part in ("data", "model", "train"))
    tokenizer = identity.get("tokenizer") or {}
    found = {
        "family": model.get("family"),
        "depth": model.get("depth"),
        "seed": identity.get("seed"),
        "data": data.get("name"),
        "unique_images": data.get("unique_images"),
        "tokenizer": tokenizer.get("preset") if isinstance(tokenizer, Mapping) else tokenizer,
        "batch_size": train.get("batch_size"),
        "learning_rate": train.get("learning_rate"),
        "schedule": train.get("schedule"),
        "precision": train.get("precision"),
        **axes,
    }
    return {name: str(value)[:500] for name, value in found.items() if value is not None}


def tokenizer_params(identity: Mapping[str, Any]) -> dict[str, str]:
    """Of a tokenizer's own run."""
    tokenizer = identity.get("tokenizer") or {}
    train = tokenizer.get("train") or {}
    found = {name: tokenizer.get(name) for name in ("preset", "vocab_size", "latent_dim", "patch_nums", "resolution")}
    found |= {name: train.get(name) for name in ("images", "batch_size", "learning_rate", "seed")}
    return {name: str(value)[:500] for name, value in found.items() if value is not None}


def tokenizer_report(report: Mapping[str, Any], at: int, step: int) -> Iterator[Point]:
    """PSNR, use of the codebook and every rFID of a finished tokenizer, from its own report or its reconstruction's."""
    features = str(report.get("features", ""))
    for name, value in report.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if name.startswith("rfid_"):
            yield f"validation/rFID_{name.removeprefix('rfid_')}_{features}", float(value), at, step
        elif name in ("psnr", "usage", "perplexity"):
            yield f"validation/{name}", float(value), at, step


def data_set(identity: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Name, digest and description of the images that a trial sees."""
    data = dict(identity.get("data") or {})
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]
    return str(data.get("name", "images")), digest, data


def sample_grids(folder: Path, budgets: Sequence[int]) -> dict[int, Path]:
    """Pictures of each budget's model, by images seen."""
    paths = {budget: layout.samples(layout.budget(folder, budget)) for budget in budgets}
    return {budget: path for budget, path in paths.items() if path.exists()}


def look(folder: Path) -> Any:
    """Sizes of everything that the mirror reads of a trial: unchanged means nothing new."""
    paths = [*attempt_journals(folder), *layout.what_grows(folder)]
    found = []
    for path in sorted(paths):
        try:
            found.append((str(path), path.stat().st_size, path.stat().st_mtime_ns))
        except OSError:
            continue
    return found


def launched(launch: Mapping[str, Any], work: str) -> bool:
    """Whether a launch started a work, named by its folder below the runs folder."""
    return any(str(job).endswith(work) for job in launch.get("jobs", ()))


def reconstructions_of(runs: Path, tokenizer: Path) -> list[Path]:
    """Results of stages that measured a tokenizer."""
    name = layout.name_of(tokenizer)
    measured = [
        stage for stage in layout.stages(runs, "reconstruction") if name in (store.read_json(layout.needs(stage)) or ())
    ]
    return [result for stage in measured if (result := layout.result(stage)).is_dir()]


def launch_time(launch: Mapping[str, Any]) -> int:
    launched = launch.get("launched")
    if isinstance(launched, str):
        return int(datetime.datetime.fromisoformat(launched).timestamp() * 1000)
    return int(float(launched or time.time()) * 1000)


def finished(runs: Path, trial: Mapping[str, Any]) -> bool:
    folder = layout.trial(runs, trial["folder"])
    return all(layout.row(folder, b["images"]).exists() for b in trial["budgets"])


def status(folder: Path, ask: AskScheduler | None = None) -> str:
    """MLflow's word for an unfinished trial or stage: by how its last attempt ended, or by whether its holder lives."""
    record = read_record(layout.runs_of(folder), layout.name_of(folder), ask_scheduler=ask)
    if record.state in ("running", "unknown"):  # unknown is not dead
        return "RUNNING"
    return "FAILED" if record.state == "failed" else "KILLED"  # killed: it goes on at the next launch


def sweep_status(
    runs: Path, trials: Sequence[Mapping[str, Any]], live: bool = False, ask: AskScheduler | None = None
) -> str:
    """MLflow's word for a sweep: it runs while a launcher is at work (`live`) or any trial is, and ends as they do."""
    words = {status(layout.trial(runs, t["folder"]), ask) for t in trials if not finished(runs, t)}
    if words and live:
        return "RUNNING"
    return next((word for word in ("RUNNING", "FAILED", "KILLED") if word in words), "FINISHED")
