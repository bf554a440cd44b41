"""The sequential design against the record of arXiv 2604.22753: R2 on the target when 1, 5 and 10 % are spent.

    python -m benchmarks.design_record POOLS                # the folder with farseer_pool.csv, farseer_target.csv, ...
    python -m benchmarks.design_record POOLS --seeds 10
    python -m benchmarks.design_record --speed              # one question with 1,000 candidates
    python -m benchmarks.design_record --coverage 200       # of intervals after stopping when they are narrow enough

A seed shuffles the candidates, breaks ties anew, and begins with two cheap runs of its own drawing. Spending goes up to
each share in turn, as ``ask(spend=what is left of it)`` allows. Prints one line a seed, then the means.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.plans.designer import Designer

SHARES = (0.01, 0.05, 0.10)
RECORD = {"farseer": (0.60, 0.88, 0.93), "parallel": (-1.00, 0.77, 0.99)}
NAMES = {"N": "params", "D": "data", "num_params": "params", "parallel_size": "data"}
CHEAP = 5e-4  # of the pool's cost: what a start may cost


def load(folder: Path, pool: str) -> tuple[pd.DataFrame, pd.DataFrame, str | None]:
    """Candidates with their loss and cost, the target, and the name of its groups."""
    tables = [pd.read_csv(folder / f"{pool}_{part}.csv").rename(columns=NAMES) for part in ("pool", "target")]
    candidates = tables[0]
    grouped = "group" if "group" in candidates else None
    candidates["cost"] = candidates["params"] * (1 if grouped else 6 * candidates["data"])
    return candidates, tables[1], grouped


def score(target: pd.DataFrame, predicted: np.ndarray) -> float:
    """R2 = 1 - SSE/SST, clipped to [-1, 1]."""
    loss = target["loss"].to_numpy()
    return float(np.clip(1 - ((predicted - loss) ** 2).sum() / ((loss - loss.mean()) ** 2).sum(), -1, 1))


def play(folder: Path, pool: str, seed: int) -> tuple[list[float], float, float]:
    """Scores at each share, the slowest question in seconds, and how many target losses the last intervals hold."""
    candidates, target, groups = load(folder, pool)
    rng = np.random.default_rng(seed)
    candidates = candidates.sample(frac=1, random_state=seed)
    loss, total = candidates.pop("loss"), candidates["cost"].sum()
    designer = Designer(candidates, "cost", target.drop(columns="loss"), groups=groups, seed=seed)
    cheap = candidates.index[candidates["cost"] < CHEAP * total]
    for label in rng.choice(cheap, min(2, len(cheap)), replace=False):
        designer.tell(label, loss[label])
    scores, slowest = [], 0.0
    for share in SHARES:
        while True:
            begin = time.perf_counter()
            label = designer.ask(spend=share * total - designer.spent)
            slowest = max(slowest, time.perf_counter() - begin)
            if label is None:
                break
            designer.tell(label, loss[label])
        scores.append(score(target, designer.predict(target)))
    low, high = designer.interval(target)
    return scores, slowest, float(((target["loss"] >= low) & (target["loss"] <= high)).mean())


def speed() -> None:
    """One question with 1,000 candidates and 100 told."""
    rng = np.random.default_rng(0)
    size, data = 10 ** rng.uniform(7, 9, 1000), 10 ** rng.uniform(9, 11, 1000)
    candidates = pd.DataFrame({"params": size, "data": data, "cost": 6 * size * data})
    loss = (1.7 + 400 * size**-0.34 + 400 * data**-0.28) * np.exp(0.005 * rng.normal(size=1000))
    designer = Designer(candidates, "cost", pd.DataFrame({"params": [1e10], "data": [1e12]}))
    for told in (0, 20, 100):
        for label in rng.permutation(1000)[:told]:
            designer.tell(label, loss[label])
        for spend in (None, 0.05 * candidates["cost"].sum()):
            begin = time.perf_counter()
            designer.ask(spend=spend)
            print(f"{told} told, spend {spend and format(spend, '.3g')}: {time.perf_counter() - begin:.2f} s")


def planted(law: str, rng: np.random.Generator, noise: float) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame, float]:
    """A study of known truth: 6 sizes x 6 budgets x 2 seeds, the target 3 times larger in both."""
    size, data, _ = (part.ravel() for part in np.meshgrid(np.geomspace(1, 30, 6), np.geomspace(1, 60, 6), [0, 1]))
    far = pd.DataFrame({"params": [90.0], "data": [180.0]})

    def truth(n, d):
        if law == "chinchilla":
            return 2.0 + 1.2 * n**-0.35 + 1.5 * d**-0.3
        if law == "coupled":
            return 1.0 + 1.5 * n**-0.15 + 1.2 * n**0.1 * d ** -(0.35 * n**-0.08)
        return (1.0 + (0.8 * n**-0.5 + 0.9 * d**-0.45) ** 0.6) * 2  # a form that nobody fits

    candidates = pd.DataFrame({"params": size, "data": data, "cost": size * data})
    return candidates, truth(size, data) * np.exp(noise * rng.normal(size=len(size))), far, float(truth(90.0, 180.0))


def coverage(studies: int) -> None:
    """How many 95 % intervals hold the target's true loss, and a new run's; stopped by width, or after a fixed sum."""
    print("truth, noise, stopped            law inside  run inside  half width  spent share")
    for law in ("chinchilla", "coupled", "neither"):
        for noise in (0.005,):
            for stop in ("at 20 % of the pool", "when the interval is narrow"):
                inside, new, widths, spent = [], [], [], []
                for study in range(studies):
                    rng = np.random.default_rng(study)
                    candidates, loss, far, true = planted(law, rng, noise)
                    total = candidates["cost"].sum()
                    designer = Designer(candidates, "cost", far, seed=study)
                    wanted = 4 * noise
                    while True:
                        label = designer.ask(spend=(0.2 if stop.startswith("at") else 0.6) * total - designer.spent)
                        if label is None:
                            break
                        designer.tell(label, loss[label])
                        low, high = designer.interval(far)
                        if stop.startswith("when") and len(designer.told) >= 6 and (high - low)[0] / 2 / true < wanted:
                            break
                    low, high = designer.interval(far)
                    inside.append(low[0] <= true <= high[0])
                    new.append(low[0] <= true * np.exp(noise * rng.normal()) <= high[0])
                    widths.append((high - low)[0] / 2 / true)
                    spent.append(designer.spent / total)
                print(
                    f"{law}, {noise:g}, {stop}: {np.mean(inside):.3f} {np.mean(new):.3f} {np.mean(widths):.4f} "
                    f"{np.mean(spent):.2f}",
                    flush=True,
                )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--coverage", type=int, default=0)
    asked = parser.parse_args()
    if asked.speed:
        speed()
    if asked.coverage:
        coverage(asked.coverage)
    for pool in ("farseer", "parallel") if asked.folder else ():
        every = []
        for seed in range(asked.seeds):
            scores, slowest, inside = play(asked.folder, pool, seed)
            every.append(scores)
            shown = " ".join(f"{value:6.3f}" for value in scores)
            print(f"{pool} seed {seed}: {shown}   slowest question {slowest:.2f} s, {inside:.0%} inside", flush=True)
        means = np.mean(every, 0)
        record = " / ".join(f"{value:.2f}" for value in RECORD[pool])
        print(f"{pool}: {means.round(3)} mean {means.mean():.3f}; record {record}, mean {np.mean(RECORD[pool]):.3f}")


if __name__ == "__main__":
    main()
