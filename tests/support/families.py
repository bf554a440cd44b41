"""Rows of several families with planted curves of FID, as a CSV and as run folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

DEPTHS, SEEDS = (2, 3, 4, 5), (0, 1)
BUDGETS = {"var": (10_240, 30_720, 92_160), "dit": (30_720, 92_160, 276_480)}
LOSSES = {"var": "loss_all_scales", "dit": "loss_noise_mse"}
CROSSING = 1e12  # training FLOPs at which var and dit have a FID of 3
EXPONENTS = {"var": -0.12, "dit": -0.4}


def flops_an_image(family: str, depth: int) -> float:
    return {"var": 1.0e6, "dit": 0.35e6}[family] * depth**3


def planted_fid(family: str, compute: float) -> float:
    """Equal, and 3, at `CROSSING`."""
    return 3 * (compute / CROSSING) ** EXPONENTS[family]


def planted_rows(fid=planted_fid, noise: float = 0.03, seed: int = 0, seeds=SEEDS) -> pd.DataFrame:
    """One line a row; half of the noise's variance is a trial's own luck."""
    rng = np.random.default_rng(seed)
    lines = []
    for family, budgets in BUDGETS.items():
        for depth in DEPTHS:
            for number in seeds:
                luck = rng.normal() * noise * 0.5**0.5
                for images in budgets:
                    compute = flops_an_image(family, depth) * images
                    value = fid(family, compute) * np.exp(luck + rng.normal() * noise * 0.5**0.5)
                    lines.append(
                        {
                            "family": family,
                            "trial": f"{family}{depth}{number}",
                            "cell": f"{family}{depth}",
                            "seed": number,
                            "depth": depth,
                            "params_total": 5_000 * depth**3,
                            "images_seen": images,
                            "epochs": images / 20_000,
                            "train_flops": compute,
                            "fid": value,
                            "fid_low": value * 0.96,
                            "fid_high": value * 1.04,
                            "tokenizer_rfid": {"var": 1.0, "dit": 0.5}[family],
                            "sample_seconds": depth**3 * {"var": 1e-5, "dit": 2e-4}[family],
                            "sample_flops": depth**3 * {"var": 1e6, "dit": 2e7}[family],
                            LOSSES[family]: {"var": 4.6, "dit": 0.2}[family] * (compute / CROSSING) ** -0.05,
                        }
                    )
    return pd.DataFrame(lines)


def write_runs(root: Path, rows: pd.DataFrame, name: str = "compare", variants: dict[str, str] | None = None) -> Path:
    """The same as a study's run folders; a family's FID has a name of its own, as different samplers give it."""
    entries = []
    for trial, part in rows.groupby("trial", sort=False):
        family = part["family"].iloc[0]
        label = f"classifier-train-2000-g1.5-{family}"
        for line in part.to_dict("records"):
            place = root / "trials" / trial / "budgets" / str(line["images_seen"])
            (place / "evaluations").mkdir(parents=True)
            fid = {key: line.pop(key) for key in list(line) if key.startswith(("fid", "tokenizer_r", "sample_"))}
            evaluation = {"kind": "fid", "label": label, "features": "classifier", "reference": "train"}
            evaluation |= {"fid_corrected": fid.pop("fid"), "samples": 2_000, "data_hash": "ab", **fid}
            (place / "evaluations" / f"fid-{family}.json").write_text(json.dumps(evaluation))
            known = {key: value for key, value in line.items() if value == value}
            (place / "row.json").write_text(json.dumps(known | {"data": "ab", "unique_images": 20_000}))
        budgets = [{"asked": int(images), "images": int(images)} for images in part["images_seen"]]
        axes = {"variant": variants[family]} if variants else {}
        entries.append(
            {"trial": trial, "folder": trial, "axes": axes, "budgets": budgets, "evaluations": [f"fid-{family}.json"]}
        )
    sweep = root / "sweeps" / name
    sweep.mkdir(parents=True)
    evaluations = [{"name": f"fid-{family}.json"} for family in dict.fromkeys(rows["family"])]
    launched = "2026-11-28T08:00:00+00:00"
    (sweep / "study.json").write_text(
        json.dumps({"name": name, "launched": launched, "trials": entries, "evaluations": evaluations})
    )
    return sweep
