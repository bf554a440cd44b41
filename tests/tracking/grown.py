"""A finished sweep on disk that is larger than what a page shows unasked: 24 trials of two families, 48 rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from PIL import Image

from var_scaling.runs.journal import Journal

FAMILIES, DEPTHS, SEEDS, BUDGETS = ("var", "raster"), (2, 3, 4, 5, 6, 7), (0, 1), (20_480, 61_440)
FID = "classifier-train-2000-g1.5"


def grow(runs: Path, name: str = "ladder") -> list[dict[str, Any]]:
    """Write it; returns its rows, each with its FID."""
    listed, rows = [], []
    for family in FAMILIES:
        for depth in DEPTHS:
            for seed in SEEDS:
                trial = f"{family[0]}{depth:02d}{seed:02d}abcdef"
                folder = f"{family}-d{depth}-s{seed}-{trial}"
                rows += _trial(runs / "trials" / folder, trial, family, depth, seed)
                budgets = [{"asked": images, "images": images} for images in BUDGETS]
                listed.append({"trial": trial, "folder": folder, "budgets": budgets, "evaluations": ["fid-1.json"]})
    sweep = runs / "sweeps" / name
    jobs = [f"trials/{entry['folder']}" for entry in listed]
    _json(sweep / "study.json", {"name": name, "description": "two families", "trials": listed})
    launch = {"launched": "2026-01-02T03:04:05.000006+00:00", "launcher": "local", "jobs": jobs}
    _json(sweep / "launches" / "000" / "launch.json", launch)
    return rows


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _trial(folder: Path, trial: str, family: str, depth: int, seed: int) -> list[dict[str, Any]]:
    worse = 0.4 * FAMILIES.index(family) + 0.01 * seed
    params, per_image = 3_500 * depth**3, 2_100_000 * depth**3
    data = {"name": "fashion-mnist-mini", "unique_images": 20_000}
    identity = {"kind": "trial", "seed": seed, "data": data, "model": {"family": family, "depth": depth}}
    _json(folder / "identity.json", identity)
    journal = Journal(folder / "attempts" / "000" / "journal.jsonl")
    for images in range(2_048, BUDGETS[-1] * 4 // 5 + 1, 2_048):
        loss = _loss(params, images) + worse + 0.3
        journal.write(phase="trunk", images=images, time=1.7e9 + images, **{"train/loss": loss})
    journal.write(event="checkpoint", phase="trunk", images=images)
    rows = []
    for images in BUDGETS:
        loss = _loss(params, images) + worse
        row = {
            "trial": trial,
            "family": family,
            "depth": depth,
            "seed": seed,
            "params_total": params,
            "images_seen": images,
            "branch_images": images * 4 // 5,
            "train_flops_per_image": per_image,
            "train_flops": images * per_image,
            "loss_all_scales": loss,
            "error_all_scales": 0.5 + loss / 10,
            "finished": 1.7e9 + 1e5 + images,
        }
        fid = {"label": FID, "fid": loss * 2, "fid_corrected": loss * 1.5 - 2, "finished": row["finished"] + 9}
        fid |= {"fid_low": fid["fid_corrected"] - 0.2, "fid_high": fid["fid_corrected"] + 0.2, "tokenizer_rfid": 2.1}
        place = folder / "budgets" / str(images)
        _json(place / "row.json", row)
        _json(place / "evaluations" / "fid-1.json", fid)
        Image.new("L", (80, 40), 30 * depth).save(place / "samples.png")
        rows.append({**row, "fid": fid["fid_corrected"]})
    return rows


def _loss(params: int, images: int) -> float:
    return 2.9 + 55 / params**0.35 + 2.2e3 / images**0.8 + 0.001 * math.sin(params)
