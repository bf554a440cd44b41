"""How long fits take, one thread: python benchmarks/laws_speed.py [rows of Chinchilla as CSV]

Measures the exact fit, 4,000 exact refits, absolute deviations, a profile, the import, and the command `fit-laws` with
all figures on 1,000 rows (three CSVs, and a study folder with four losses). CPU time, of both processes, stands beside
the wall's, which a shared machine stretches.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]


def measure(name: str, work: Callable[[], object], repeats: int = 5) -> None:
    """Best of several, in milliseconds."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), sum(os.times()[:4])  # with the processes that it started
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(sum(os.times()[:4]) - cpu)
    print(f"{name:58s} {1e3 * min(walls):9.1f} ms wall {1e3 * min(cpus):9.1f} ms CPU")


def chinchilla_rows(path: str | None) -> pd.DataFrame:
    """The 240 kept rows, or planted ones of the same size and noise."""
    if path is not None:
        rows = pd.read_csv(path)
        return rows[rows["loss"] < rows["loss"].sort_values().iloc[-5]]
    rng = np.random.default_rng(0)
    params = np.exp(rng.uniform(np.log(5e7), np.log(1.6e10), 240))
    tokens = np.exp(rng.uniform(np.log(3e8), np.log(3e11), 240))
    loss = (1.82 + 480 / params**0.347 + 2140 / tokens**0.367) * np.exp(0.005 * rng.standard_t(3, 240))
    return pd.DataFrame({"n_params": params, "n_tokens": tokens, "loss": loss})


def plant_study(root: Path) -> Path:
    """A study of 1,000 rows: 10 depths, 20 seeds, 5 budgets."""
    rng = np.random.default_rng(0)
    entries, budgets = [], (20_480, 40_960, 81_920, 163_840, 327_680)
    for depth in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12):
        params = 18 * depth * (16 * depth) ** 2 + 20_000 * depth
        flops = 180 * params
        for seed in range(20):
            trial = f"{depth:02d}{seed:02d}"
            for images in budgets:
                loss = (2.9 + 55 / params**0.35 + 2.2e3 / images**0.8) * np.exp(0.003 * rng.normal())
                row = {
                    "trial": trial,
                    "cell": f"d{depth}",
                    "depth": depth,
                    "seed": seed,
                    "images_seen": images,
                    "params_total": params,
                    "params_blocks": params - 20_000 * depth,
                    "train_flops": flops * images,
                    "train_flops_per_image": flops,
                    "loss_all_scales": loss,
                    "loss_last_scale": 0.97 * loss,
                    "error_all_scales": 0.2 * loss,
                    "error_last_scale": 0.19 * loss,
                }
                folder = root / "trials" / trial / "budgets" / str(images)
                folder.mkdir(parents=True)
                (folder / "row.json").write_text(json.dumps(row), encoding="utf-8")
            entries.append({"trial": trial, "folder": trial, "budgets": [{"asked": b, "images": b} for b in budgets]})
    sweep = root / "sweeps" / "large"
    sweep.mkdir(parents=True)
    (sweep / "study.json").write_text(
        json.dumps({"name": "large", "launched": "2026", "trials": entries}), encoding="utf-8"
    )
    return sweep


def plant_table(folder: Path, name: str) -> Path:
    """A CSV of 1,000 rows: 20 sizes; 10 sizes x 5 amounts of data x 20 seeds; or points all over the plane."""
    rng = np.random.default_rng(1)
    size, seed, amount = (part.ravel() for part in np.meshgrid(range(10), range(20), range(5), indexing="ij"))
    if name == "size":
        table = pd.DataFrame({"params": np.repeat(np.geomspace(1e6, 1e9, 20), 50)})
        loss = 4.5 + (2e-9 * table["params"]) ** -0.23
    else:
        if name == "scattered":
            params, tokens = np.exp(rng.uniform(np.log([1e7, 1e9]), np.log([1e10, 1e11]), (1000, 2))).T
            table = pd.DataFrame({"params": params, "tokens": tokens})
        else:
            params, tokens = np.geomspace(1e7, 5e9, 10)[size], np.geomspace(1e9, 1e11, 5)[amount]
            table = pd.DataFrame({"params": params, "tokens": tokens, "run": 20 * size + seed})
        loss = 1.8 + 400 / table["params"] ** 0.34 + 2000 / table["tokens"] ** 0.36
    table["loss"] = loss * np.exp(0.004 * rng.normal(size=1000))
    file = folder / f"{name.replace(' ', '_')}.csv"
    table.to_csv(file, index=False)
    return file


def command(path: Path) -> None:
    """`var-scaling fit-laws PATH`, interpreter start and imports included."""
    start = "from var_scaling.cli.scaling import main; main()"
    run = [sys.executable, "-c", start, "fit-laws", str(path), "--out", str(path.with_name("laws_out"))]
    subprocess.run(run, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print one line a task."""
    for said in ("import analysis", "from analysis import *"):  # names are loaded when first used
        measure(said, lambda said=said: subprocess.run([sys.executable, "-c", said], check=True, cwd=ROOT))

    sys.path.insert(0, str(ROOT))
    import analysis
    from analysis.report.files import laws_of

    rows = chinchilla_rows(sys.argv[1] if len(sys.argv) > 1 else None)
    columns = rows["n_params"], rows["n_tokens"], rows["loss"]
    law = analysis.fit_chinchilla(*columns)
    measure("Chinchilla, exact, Huber 1e-3, 240 rows", lambda: analysis.fit_chinchilla(*columns))
    measure("Chinchilla, exact, least squares", lambda: analysis.fit_chinchilla(*columns, delta=np.inf))
    measure("Chinchilla, exact, absolute deviations", lambda: analysis.fit_chinchilla(*columns, delta=0))
    indices = np.random.default_rng(0).integers(0, len(rows), (4000, len(rows)))
    measure("4,000 exact refits of resampled rows", lambda: law.bootstrap(indices=indices), 2)
    x = np.repeat(np.geomspace(1e6, 1e9, 12), 3)
    y = (4.5 + (2e-9 * x) ** -0.23) * np.exp(0.004 * np.random.default_rng(0).normal(size=36))
    offset = analysis.fit_power_law(x, y, "fit")
    measure("E + (beta x)^alpha, exact, 36 rows", lambda: analysis.fit_power_law(x, y, "fit"))
    measure("its interval, 2,000 resamples", lambda: offset.bootstrap())
    measure("its profile, 25 offsets", lambda: offset.profile())

    with tempfile.TemporaryDirectory() as folder:
        files = {name: plant_table(Path(folder), name) for name in ("size", "size and data", "scattered")}
        sweep = plant_study(Path(folder))
        for name, file in files.items():
            measure(f"the command fit-laws, CSV of 1,000 rows, {name}", lambda file=file: command(file), 3)
        measure("the command fit-laws, study of 1,000 rows, 4 losses", lambda: command(sweep), 3)
        measure("the fits of that study alone", lambda: laws_of(sweep, figures=False), 3)


if __name__ == "__main__":
    main()
