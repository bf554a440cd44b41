"""The collapse of normalised training curves: finished curves of a well-scaled ladder fall on one another.

Loss over final loss against the share of the budget spent is the same curve at every size where hyper-parameters scale
well, and is not where they do not (arXiv 2507.02119): the residual finds a badly scaled learning rate before the law
does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import Note
from analysis.rows.folders import read_journal

GRID = np.linspace(0.1, 1.0, 37)  # below a tenth, warm-up rules
LIMIT = 2.0  # seed standard deviations
LEAST_REPEATS = 2  # degrees of freedom that a seed deviation needs


@dataclass(frozen=True)
class Collapse:
    """How well normalised curves agree.

    Attributes:
        curves: columns size, seed, share (of the budget), loss (over the final loss); empty where nothing could be
            compared.
        residuals: one line a size: size, residual (root mean square distance from the mean of the other sizes),
            seed_sd, ratio, off_trend (distance from the line between both neighbours in log size, in standard
            deviations of that difference; none at the two ends). NaN where seeds cannot tell.
        sentence: the verdict, or why there is none.
        notes: `no_collapse` for sizes whose residual exceeds two seed standard deviations. Quiet where the distance
            only grows with size and no size leaves its neighbours' line: at equal images sizes differ in D/N, which
            alone bends curves so. Loud where one size leaves it: that is a badly scaled hyper-parameter.
    """

    curves: pd.DataFrame = field(repr=False)
    residuals: pd.DataFrame
    sentence: str
    notes: tuple[Note, ...]

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return {"sentence": self.sentence, "sizes": self.residuals.to_dict("records")}


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
        journal = read_journal(folder)
        trunk, anneal = (
            {at: line[column] for at, line in journal.get(phase, {}).items() if column in line and at <= images}
            for phase in ("trunk", f"anneal_{images}")
        )
        begin = min(anneal, default=images + 1)
        points = {at: value for at, value in trunk.items() if at < begin} | anneal
        lines += [{"size": size, "seed": seed, "share": at / images, "loss": v} for at, v in sorted(points.items())]
    return pd.DataFrame(lines, columns=["size", "seed", "share", "loss"])


def collapse(curves: pd.DataFrame) -> Collapse:
    """Normalise curves by their last loss and compare sizes.

    Args:
        curves: columns size, seed, share, loss, as :func:`read_curves` gives.

    The yardstick is the spread of seeds about their size's mean, pooled over sizes; without seeds distances are given
    and not judged.
    """
    normal = []
    for (size, seed), part in curves.groupby(["size", "seed"]):
        part = part.dropna().sort_values("share")
        if len(part) < 8 or part["share"].max() < 0.9:
            continue
        final = float(part["loss"].tail(max(1, len(part) // 20)).mean())
        # a step's training loss carries its batch's luck: average over a twentieth of the budget
        smooth = (part["loss"] / final).rolling(max(1, len(part) // 20), center=True, min_periods=1).mean()
        normal.append((float(size), seed, np.interp(GRID, part["share"], smooth)))
    sizes = sorted({size for size, *_ in normal})
    if len(sizes) < 3:
        return Collapse(
            pd.DataFrame(columns=["size", "seed", "share", "loss"]),
            pd.DataFrame(columns=["size", "residual", "seed_sd", "ratio", "off_trend"]),
            f"collapse: cannot tell: {len(sizes)} sizes have finished curves of eight points or more, three are needed",
            (),
        )
    own = [[values for s, _, values in normal if s == size] for size in sizes]
    mean = [np.mean(values, axis=0) for values in own]
    repeats = len(normal) - len(sizes)
    squares = sum(float(np.sum((np.array(values) - middle) ** 2)) for values, middle in zip(own, mean, strict=True))
    judged = repeats >= LEAST_REPEATS
    seed_sd = float(np.sqrt(squares / (repeats * len(GRID)))) if judged else np.nan
    lines = []
    for at, size in enumerate(sizes):
        others = np.mean([mean[other] for other in range(len(sizes)) if other != at], axis=0)
        residual = _rms(mean[at] - others)
        lines.append({"size": size, "residual": residual, "seed_sd": seed_sd, "ratio": residual / max(seed_sd, 1e-300)})
        lines[-1]["off_trend"] = np.nan
        if 0 < at < len(sizes) - 1:
            low, here, high = np.log(sizes[at - 1 : at + 2])
            share = (here - low) / (high - low)
            between = (1 - share) * mean[at - 1] + share * mean[at + 1]
            luck = 1 / len(own[at]) + (1 - share) ** 2 / len(own[at - 1]) + share**2 / len(own[at + 1])
            lines[-1]["off_trend"] = _rms(mean[at] - between) / max(seed_sd * np.sqrt(luck), 1e-300)
    tidy = pd.DataFrame(
        [
            {"size": size, "seed": seed, "share": share, "loss": value}
            for size, seed, values in normal
            for share, value in zip(GRID, values, strict=True)
        ]
    )
    return Collapse(tidy, pd.DataFrame(lines), *_verdict(pd.DataFrame(lines), mean, repeats))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _verdict(table: pd.DataFrame, mean: list[np.ndarray], repeats: int) -> tuple[str, tuple[Note, ...]]:
    """The sentence and, beyond the limit, the note."""
    if repeats < LEAST_REPEATS:
        return (
            f"collapse: cannot tell: {repeats} repeated runs, and a seed deviation needs {LEAST_REPEATS}; normalised "
            f"curves differ by up to {100 * table['residual'].max():.2g} %",
            (),
        )
    each = ", ".join(f"{line.size:.3g}: {line.ratio:.1f}" for line in table.itertuples())
    sentence = f"collapse, distance of each size from the others in seed sd: {each}"
    bad = table[table["ratio"] > LIMIT]
    if bad.empty:
        return f"{sentence}; none beyond {LIMIT:g}", ()
    worst = float(bad["ratio"].max())
    order = np.array([values.mean() for values in mean])
    steady = bool((np.diff(order) > 0).all() or (np.diff(order) < 0).all())
    off = table[table["off_trend"] > LIMIT]
    words = f"normalised curves leave one another by up to {worst:.1f} seed sd (limit {LIMIT:g})"
    if steady and off.empty and len(table) > 3:
        words += (
            ", steadily with size and no size off the line between its neighbours: D/N differs between sizes at equal "
            "images, which bends curves so; a learning-rate rule with a wrong power would look the same"
        )
        return sentence, (Note("no_collapse", words, worst, quiet=True),)
    named = off if len(off) else bad
    listed = ", ".join(f"{size:.3g}" for size in named["size"])
    how = f", {off['off_trend'].max():.1f} from the line between the neighbours" if len(off) else ""
    return sentence, (Note("no_collapse", f"{words}; look at the recipe of size {listed}{how}", worst),)
