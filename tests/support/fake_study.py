"""Run folders as a launch leaves them, with losses from a planted law: what the laws are tested on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

E, A, ALPHA, B, BETA = 2.9, 55.0, 0.35, 2.2e3, 0.8  # loss = E + A/params^ALPHA + B/images^BETA


def block_parameters(depth: int, head_dim: int = 16) -> int:
    return 18 * depth * (head_dim * depth) ** 2


def planted_loss(params: float, images: float) -> float:
    return E + A / params**ALPHA + B / images**BETA


def write_study(
    root: Path,
    depths: Sequence[int] = (2, 3, 4, 5, 6),
    budgets: Sequence[int] = (20_480, 61_440),
    seeds: Sequence[int] = (0,),
    noise: float = 0.002,
    name: str = "depth",
    failed: Sequence[tuple[int, int]] = (),
    fid: bool = True,
    launched: str = "2026-11-24T08:00:00+00:00",
    random_seed: int = 0,
) -> Path:
    """Write trials and a study under `root`; `failed` names (depth, seed) that diverged. Returns the sweep folder."""
    rng = np.random.default_rng(random_seed)
    entries = []
    for depth in depths:
        for seed in seeds:
            trial = f"{depth:02d}{seed:02d}abcdef"
            folder = f"depth={depth}-seed={seed}-{trial}"
            path = root / "trials" / folder
            (path / "attempts" / "000").mkdir(parents=True)
            (path / "identity.json").write_text("{}")
            asked = [{"asked": b, "images": b} for b in budgets]
            entry = {"trial": trial, "folder": folder, "depth": depth, "seed": seed, "budgets": asked}
            entries.append(entry | {"evaluations": ["fid-e1.json"] if fid else [], "stages": []})
            if (depth, seed) in failed:
                (path / "attempts" / "000" / "end.json").write_text(json.dumps({"cause": "diverged", "step": 7}))
                continue
            blocks = block_parameters(depth)
            total = blocks + 20_000 * depth
            luck = rng.normal() * noise
            lines = []
            for budget in budgets:
                row = _row(trial, depth, seed, budget, blocks, total, luck + 0.3 * noise * rng.normal())
                place = path / "budgets" / str(budget)
                (place / "evaluations").mkdir(parents=True)
                (place / "row.json").write_text(json.dumps(row))
                if fid:
                    (place / "evaluations" / "fid-e1.json").write_text(json.dumps(_fid(row, rng)))
                for images in np.linspace(0.05, 1, 20) * budget:
                    loss = planted_loss(total, images) * (1 + luck) + 0.05 * (1 - images / budget)
                    lines.append({"phase": f"anneal_{budget}", "images": int(images), "time": 0.0, "train/loss": loss})
            (path / "attempts" / "000" / "journal.jsonl").write_text(
                "\n".join(json.dumps(line) for line in lines) + "\n"
            )
            (path / "attempts" / "000" / "end.json").write_text(json.dumps({"cause": "finished"}))
    sweep = root / "sweeps" / name
    sweep.mkdir(parents=True)
    (sweep / "study.json").write_text(
        json.dumps(
            {"name": name, "launched": launched, "trials": entries, "evaluations": [{"kind": "fid", "hash": "e1"}]}
        )
    )
    return sweep


def _row(trial: str, depth: int, seed: int, images: int, blocks: int, total: int, luck: float) -> dict:
    loss = planted_loss(total, images) * np.exp(luck)
    flops = 6 * 30 * (12 * depth * (16 * depth) ** 2 + 20_000 * depth)
    last, error = loss * 0.97 - 0.02 * np.log(images / 20_000), 0.7 + 0.03 * (loss - 2.9)
    last_error = 0.68 + 0.035 * (loss - 2.9)
    scales = range(1, 5)
    return {
        "trial": trial,
        "cell": f"d{depth}",
        "family": "var",
        "depth": depth,
        "width": 16 * depth,
        "head_dim": 16,
        "heads": depth,
        "adaln": "per-block",
        "seed": seed,
        "data_name": "fashion-mnist-mini",
        "images_seen": images,
        "branch_images": int(0.8 * images),
        "unique_images": 20_000,
        "epochs": images / 20_000,
        "views": 1,
        "tokens_per_image": 30,
        "vocab_size": 512,
        "batch_size": 64,
        "recipe": "small-ladder",
        "learning_rate": 0.036 / depth,
        "weight_decay": 0.05,
        "gamma_init": 0.001,
        "drop_path": depth / 240,
        "label_drop": 0.1,
        "schedule": "wsd",
        "precision": "float32",
        "params_total": total,
        "params_blocks": blocks,
        "params_adaln": 10_000 * depth,
        "params_embedding": 2_000 * depth,
        "params_head": 7_000 * depth,
        "params_head_norm": 1_000 * depth,
        "forward_flops_per_image": flops // 3,
        "train_flops_per_image": flops,
        "train_flops": flops * images,
        "train_flops_visible": int(0.8 * flops * images),
        "flops_6nd": 6 * total * 30 * images,
        "forward_macs": flops * images // 6,
        "train_loss": loss + 0.05,
        "loss_all_scales": loss,
        "loss_last_scale": last,
        **{f"loss_scale_{scale}": last - 0.1 * (4 - scale) for scale in scales},
        "error_all_scales": error,
        "error_last_scale": last_error,
        **{f"error_scale_{scale}": last_error - 0.01 * (4 - scale) for scale in scales},
        "seconds": images / 2_000,
        "images_per_second": 2_000.0,
        "numerics": 1,
        "torch": "2.0",
        "python": "3.11",
        "device": "cpu",
        "host": "somewhere",
        "threads": 1,
        "processes": 1,
        "code": "abc",
        "data": "d",
        "tokenizer": "t",
        "attempts": 1,
        "finished": 1.0,
    }


def _fid(row: dict, rng: np.random.Generator) -> dict:
    value = 3.35 + 2.5 * (row["loss_all_scales"] - 3.0) + 0.05 * rng.normal()
    return {
        "kind": "fid",
        "label": "classifier",
        "features": "classifier",
        "reference": "train",
        "samples": 2_000,
        "guidance": 1.5,
        "top_k": 0,
        "top_p": 0.0,
        "fid": value + 0.1,
        "fid_corrected": value,
        "fid_low": value - 0.2,
        "fid_high": value + 0.2,
        "samples_per_dimension": 31.25,
        "tokenizer_rfid": 3.2,
        "tokenizer_rfid_corrected": 3.1,
        "tokenizer_rfid_low": 3.0,
        "tokenizer_rfid_high": 3.2,
    }
