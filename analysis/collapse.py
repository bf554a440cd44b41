"""The collapse of normalised training curves: finished curves of a well-scaled ladder fall on one another.

Loss over final loss against the share of the budget spent is the same curve at every size where hyper-parameters scale
well, and is not where they do not (arXiv 2507.02119): the residual finds a badly scaled learning rate before the law
does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import Note

GRID = np.linspace(0.1, 1.0, 37)  # below a tenth, warm-up rules
LIMIT = 2.0  # seed standard deviations


@dataclass(frozen=True)
class Collapse:
    """How well normalised curves agree.

    Attributes:
        curves: columns size, seed, share (of the budget), loss (over the final loss).
        residuals: one line a size: size, residual (root mean square distance from the mean of the other sizes),
            seed_sd, ratio.
        notes: `no_collapse` for sizes whose residual exceeds two seed standard deviations.
    """

    curves: pd.DataFrame = field(repr=False)
    residuals: pd.DataFrame
    notes: tuple[Note, ...]


def read_curves(trials: Iterable[tuple[Path, float, object]], images: int, column: str = "train/loss") -> pd.DataFrame:
    """Training curves up to one budget, from journals.

    Args:
        trials: (trial folder, size, seed).
        images: the budget, images seen.
        column: of the journal.

    Returns:
        Columns size, seed, share, loss (raw). The trunk up to where the budget's anneal begins, then the anneal; of
        several attempts the last line of a step counts.
    """
    lines = []
    for folder, size, seed in trials:
        points: dict[int, float] = {}
        for journal in sorted(folder.glob("attempts/*/journal.jsonl")):
            trunk, anneal = {}, {}
            for text in journal.read_text().splitlines():
                try:
                    entry = json.loads(text)
                except json.JSONDecodeError:
                    continue  # a torn last line: the process was killed while it wrote
                if column not in entry or not 0 < entry.get("images", 0) <= images:
                    continue
                if entry.get("phase") == "trunk":
                    trunk[entry["images"]] = entry[column]
                elif entry.get("phase") == f"anneal_{images}":
                    anneal[entry["images"]] = entry[column]
            begin = min(anneal, default=images + 1)
            points |= {at: value for at, value in trunk.items() if at < begin} | anneal
        lines += [{"size": size, "seed": seed, "share": at / images, "loss": v} for at, v in sorted(points.items())]
    return pd.DataFrame(lines, columns=["size", "seed", "share", "loss"])


def collapse(curves: pd.DataFrame) -> Collapse | None:
    """Normalise curves by their last loss and compare sizes; None with fewer than three sizes or too few points.

    Args:
        curves: columns size, seed, share, loss, as :func:`read_curves` gives.

    The yardstick is the spread of seeds about their size's mean where seeds exist; else the point-to-point noise of the
    curves, which is what a seed changes most.
    """
    normal = []
    for (size, seed), part in curves.groupby(["size", "seed"]):
        part = part.dropna().sort_values("share")
        if len(part) < 8 or part["share"].max() < 0.9:
            continue
        final = float(part["loss"].tail(max(1, len(part) // 20)).mean())
        # a step's training loss carries its batch's luck: average over a twentieth of the budget
        smooth = (part["loss"] / final).rolling(max(1, len(part) // 20), center=True, min_periods=1).mean()
        values = np.interp(GRID, part["share"], smooth)
        noise = float(np.std(np.diff(smooth[part["share"] > 0.3])) / np.sqrt(2))
        normal.append((size, seed, values, noise))
    sizes = sorted({size for size, *_ in normal})
    if len(sizes) < 3:
        return None
    mean = {size: np.mean([values for s, _, values, _ in normal if s == size], axis=0) for size in sizes}
    seeds = [values - mean[size] for size, _, values, _ in normal if sum(s == size for s, *_ in normal) > 1]
    repeats = len(normal) - len(sizes)
    if repeats > 0:
        seed_sd = float(np.sqrt(np.sum(np.square(seeds)) / (repeats * len(GRID))))
    else:
        seed_sd = float(np.median([noise for *_, noise in normal]))
    lines = []
    for size in sizes:
        others = np.mean([mean[other] for other in sizes if other != size], axis=0)
        residual = float(np.sqrt(np.mean((mean[size] - others) ** 2)))
        lines.append({"size": size, "residual": residual, "seed_sd": seed_sd, "ratio": residual / max(seed_sd, 1e-300)})
    table = pd.DataFrame(lines)
    bad = table[table["ratio"] > LIMIT]
    notes = ()
    if len(bad):
        listed = ", ".join(f"{size:g}" for size in bad["size"])
        notes = (
            Note(
                "no_collapse",
                f"normalised curves of size {listed} leave the others by up to {bad['ratio'].max():.1f} "
                f"{'seed' if repeats else 'step-noise'} sd (limit {LIMIT:g}); look at the recipe "
                "there, and at D/N, which differs between sizes at equal images",
                float(bad["ratio"].max()),
            ),
        )
    tidy = pd.DataFrame(
        [
            {"size": size, "seed": seed, "share": share, "loss": value}
            for size, seed, values, _ in normal
            for share, value in zip(GRID, values, strict=True)
        ]
    )
    return Collapse(tidy, table, notes)
