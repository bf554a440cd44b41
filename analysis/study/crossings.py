"""Where two families reach equal FID: on one axis the point, at one FID the ratio of what they cost, with intervals.

Curves are straight between points in log FID against log x, and nothing is extrapolated: a crossing lies in the range
that both have rows in, or there is none "in these rows".

Intervals shake the means over seeds. The noise of a row is what seeds of one cell show (pooled over a family's cells,
on logs), or what FID's own interval says where that is more; budgets of one trial share its luck as far as rows
show it. Each draw chooses its own frontier.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

RESAMPLES = 4_000
LEVEL = 0.95
NORMAL = 1.959964  # of a 95 % interval
UNDECIDED = 0.05  # share of resamples that say otherwise
AXES = {"compute": "training FLOPs", "images": "images seen"}


@dataclass(frozen=True)
class Curve:
    """Log FID that one contender reaches at x or less: the frontier of its means over seeds, and of draws of them.

    Attributes:
        x: (k,) rising, each once.
        y: (k,) log FID, the lowest mean at each x.
        draws: (S, k) the same under resampling.
        seeds: fewest seeds of a point.
    """

    x: np.ndarray
    y: np.ndarray
    draws: np.ndarray = field(repr=False)
    seeds: int = 1

    def at(self, x: np.ndarray) -> np.ndarray:
        """Log FID at these x, (1 + S, n): the estimate, then the draws.

        The lowest of several noisy means is too low, most where a curve is flat. Draws choose their frontier anew, so
        that by how much they lie below the rows' own is by how much that lies below the truth, and is taken off: twice
        the rows' curve minus the draw's, and the mean of these is the estimate.
        """
        logs, at = np.log(self.x), np.log(x)
        both = np.vstack([self.y, self.draws])
        before = np.minimum.accumulate(np.hstack([np.full((len(both), 1), np.inf), both[:, :-1]]), axis=1)
        kept = both < before
        found = np.array([np.interp(at, logs[keep], row[keep]) for row, keep in zip(both, kept, strict=True)])
        turned = 2 * found[0] - found[1:]
        return np.vstack([turned.mean(0), turned])

    def cost(self, level: float) -> np.ndarray:
        """The x at which log FID first reaches `level`, (1 + S,); inf where it never does, 0 where it begins below."""
        falling = np.minimum.accumulate(self.at(self.x), axis=1)
        reached = falling <= level
        first = np.where(reached.any(1), reached.argmax(1), -1)
        cost = np.full(len(falling), np.inf)
        cost[first == 0] = 0.0
        for row in np.flatnonzero(first > 0):
            at = first[row]
            above, below = falling[row, at - 1], falling[row, at]
            share = (above - level) / (above - below)
            cost[row] = np.exp(np.log(self.x[at - 1]) * (1 - share) + np.log(self.x[at]) * share)
        return cost


def cell_means(points: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """One line a (cell, budget) of one contender, with log FID's mean over seeds, and draws of them (S, lines)."""
    logs = np.log(points["fid"].to_numpy(float))
    keys = [points["cell"].astype(str), points["images"].fillna(points["compute"])]
    group = points.groupby(keys, sort=False)
    number = group.ngroup().to_numpy()
    count = np.bincount(number)
    mean = np.bincount(number, logs) / count
    left = logs - mean[number]
    freedom = int((count - 1).sum())
    between = float((left**2).sum() / freedom) if freedom else 0.0
    wide = (points["fid_high"].astype(float) - points["fid_low"].astype(float)) / (2 * NORMAL) / points["fid"]
    within = float(np.nanmean(wide.to_numpy(float) ** 2)) if wide.notna().any() else 0.0
    shared = _shared_luck(points, left, count[number], between)
    scale = np.ones((RESAMPLES, 1))
    if freedom and between > within:  # its own size is known from few degrees of freedom
        scale = freedom / rng.chisquare(freedom, size=(RESAMPLES, 1))
    sizes = pd.factorize(points["cell"].astype(str))[0]
    size_of = np.zeros(len(count), int)
    size_of[number] = sizes
    luck = rng.normal(size=(RESAMPLES, sizes.max() + 1))[:, size_of] * np.sqrt(shared)
    luck = luck + rng.normal(size=(RESAMPLES, len(count))) * np.sqrt(1 - shared)
    draws = mean + np.sqrt(max(between, within) * scale / count) * luck
    first = points.groupby(number)[["cell", "depth", "params", "images", "epochs", "compute"]].first()
    rest = points.groupby(number)[["floor", "sample_seconds", "sample_flops"]].mean()
    spread = np.sqrt(max(between, within) / count)
    means = first.join(rest).assign(
        fid=np.exp(mean), fid_low=np.exp(mean - NORMAL * spread), fid_high=np.exp(mean + NORMAL * spread), seeds=count
    )
    return means.reset_index(drop=True), draws


def _shared_luck(points: pd.DataFrame, left: np.ndarray, count: np.ndarray, between: float) -> float:
    """Which share of the variance between seeds a trial has in common over its budgets, 0 to 1."""
    if not between:
        return 0.0
    use = count > 1
    scaled = np.where(use, left * np.sqrt(count / np.maximum(count - 1, 1)), 0.0)
    table = pd.DataFrame({"trial": points["trial"].to_numpy(), "r": scaled})[use]
    sums = table.groupby("trial")["r"].agg(["sum", lambda r: (r**2).sum(), "size"])
    pairs = float((sums["size"] * (sums["size"] - 1)).sum())
    if not pairs:
        return 0.0
    product = float((sums["sum"] ** 2 - sums.iloc[:, 1]).sum()) / pairs
    return float(np.clip(product / between, 0, 1))


def curve(means: pd.DataFrame, draws: np.ndarray, axis: str) -> Curve | None:
    """One contender's means against one axis; None where no row knows it."""
    x = means[axis].to_numpy(float)
    known = np.flatnonzero(np.isfinite(x) & (x > 0))
    if not len(known):
        return None
    known = known[np.argsort(x[known], kind="stable")]
    places, first = np.unique(x[known], return_index=True)
    lowest = np.minimum.reduceat(np.log(means["fid"].to_numpy(float))[known], first)
    drawn = np.minimum.reduceat(draws[:, known], first, axis=1)
    return Curve(places, lowest, drawn, int(means["seeds"].min()))


@dataclass(frozen=True)
class Meeting:
    """What two contenders' curves do on one axis.

    Attributes:
        first: one contender.
        second: the other.
        axis: a key of `AXES`.
        depth: of both, or None where each has its best depth.
        low: where both begin to have rows.
        high: where one stops; below `low` where they share no range.
        crossings: lines x, x_low, x_high (0 and inf: beyond the range), lower: who is below after it.
        course: lines x, ratio, low, high: FID of the first over the second's, at every bend of the curves in the range.
        other_share: of the resamples, in how many the other one is lower somewhere than in the estimate.
        cost_level: a FID in the middle of those that both reach; NaN where there is none.
        cost_ratio: what the first spends to reach it over what the second does, (value, low, high).
        seeds: fewest seeds behind a point.
        unique: unique images, where all rows have one number of them: images seen over it are epochs.
    """

    first: str
    second: str
    axis: str
    depth: float | None
    low: float
    high: float
    crossings: tuple[dict, ...]
    course: pd.DataFrame = field(repr=False)
    other_share: float
    cost_level: float
    cost_ratio: tuple[float, float, float]
    seeds: int
    unique: float = np.nan

    @property
    def verdict(self) -> str:
        """One of "crosses", "never", "undecided", "no shared range"."""
        if self.high < self.low:
            return "no shared range"
        if self.crossings:
            clear = all(line["x_low"] > 0 and np.isfinite(line["x_high"]) for line in self.crossings)
            return "crosses" if clear and len(self.crossings) == 1 else "undecided"
        if self.high == self.low:
            only = self.course.iloc[0]
            return "undecided" if only["low"] <= 1 <= only["high"] else "never"
        return "never" if self.other_share <= UNDECIDED else "undecided"


def meet(first: str, one: Curve, second: str, other: Curve, axis: str, depth: float | None = None) -> Meeting:
    """Where the curves of two contenders cross."""
    low, high = max(one.x[0], other.x[0]), min(one.x[-1], other.x[-1])
    seeds = min(one.seeds, other.seeds)
    level, ratio = _cost(one, other)
    if high < low:
        nothing = pd.DataFrame(columns=["x", "ratio", "low", "high"])
        return Meeting(first, second, axis, depth, low, high, (), nothing, 0.0, level, ratio, seeds)
    grid = np.unique(np.concatenate([[low, high], one.x, other.x]))
    grid = grid[(grid >= low) & (grid <= high)]
    difference = one.at(grid) - other.at(grid)  # (1 + S, n) of log FID
    logs = np.log(grid)
    found = []
    for x, after in _zeros(logs, difference[0]):
        limits = _limits([_nearest(logs, draw, x, after) for draw in difference[1:]])
        found.append({"x": float(np.exp(x)), **limits, "lower": first if after < 0 else second})
    share = float((difference[1:] * difference[0] < 0).any(1).mean())
    ratios = [_interval(np.exp(column)) for column in difference.T]
    course = pd.DataFrame(ratios, columns=["ratio", "low", "high"]).assign(x=grid)
    return Meeting(first, second, axis, depth, low, high, tuple(found), course, share, level, ratio, seeds)


def _zeros(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Where straight pieces change sign, with the sign after it; a touch is no crossing."""
    found, at = [], 0
    for place in np.flatnonzero(y):
        if y[at] * y[place] < 0:
            share = y[place - 1] / (y[place - 1] - y[place]) if place > 0 and y[place] != y[place - 1] else 0.0
            found.append((float(x[place - 1] + share * (x[place] - x[place - 1])), float(np.sign(y[place]))))
        at = place
    return found


def _nearest(x: np.ndarray, y: np.ndarray, near: float, after: float) -> float:
    """The draw's crossing in the same direction that lies nearest; without one, on which side of the rows it lies."""
    same = [place for place, sign in _zeros(x, y) if sign == after]
    if same:
        return float(np.exp(min(same, key=lambda place: abs(place - near))))
    return 0.0 if np.sign(np.trapezoid(y, x)) == after else np.inf


def _limits(places: list[float]) -> dict[str, float]:
    low, high = np.quantile(places, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return {"x_low": float(low), "x_high": float(high)}


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """The estimate, which comes first, and the limits of the draws after it."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return float(values[0]), float(low), float(high)


def _cost(one: Curve, other: Curve) -> tuple[float, tuple[float, float, float]]:
    """At a FID in the middle of those that both reach: what the first spends over what the second does."""
    mine, others = one.at(one.x)[0], other.at(other.x)[0]
    best, start = max(mine.min(), others.min()), min(mine[0], others[0])
    if not start > best:
        return np.nan, (np.nan, np.nan, np.nan)
    level = (best + start) / 2
    mine, others = one.cost(level), other.cost(level)
    known = np.isfinite(mine + others) & (mine > 0) & (others > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(known, mine / others, np.where((mine == np.inf) | (others == 0), np.inf, 0.0))
    return float(np.exp(level)), _interval(ratio)
