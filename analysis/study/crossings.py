"""Where two families reach equal FID: on one axis the point, at one FID the ratio of what they cost, with intervals.

Curves are straight between points in log FID against log x, and nothing is extrapolated: a crossing lies in the range
that both have rows in, or there is none "in these rows".

Intervals shake the means over seeds. The noise of a row is what seeds of one cell show (pooled over a family's cells,
on logs), or what FID's own interval says where that is more; budgets of one trial share its luck as far as the rows show
it. The design, and which cells make the frontier, stay fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.study.frontier import frontier

RESAMPLES = 4_000
LEVEL = 0.95
NORMAL = 1.959964  # of a 95 % interval
UNDECIDED = 0.05  # share of resamples that say otherwise
AXES = {"compute": "training FLOPs", "images": "images seen", "epochs": "epochs"}


@dataclass(frozen=True)
class Curve:
    """Log FID of one contender as a function of log x: means over seeds, and draws of them.

    Attributes:
        x: (k,) rising.
        end: the largest x that was tried; beyond the last point the curve is flat, since more of it did not help.
        y: (k,) log FID.
        draws: (S, k) the same under resampling.
        seeds: fewest seeds of a point.
    """

    x: np.ndarray
    end: float
    y: np.ndarray
    draws: np.ndarray = field(repr=False)
    seeds: int = 1

    def at(self, x: np.ndarray) -> np.ndarray:
        """Log FID at these x, (1 + S, n): the estimate, then the draws."""
        both = np.vstack([self.y, self.draws])
        right = np.clip(np.searchsorted(self.x, x), 1, max(len(self.x) - 1, 1))
        if len(self.x) == 1:
            return np.repeat(both, len(x), axis=1)
        low, high = np.log(self.x[right - 1]), np.log(self.x[right])
        share = np.clip((np.log(x) - low) / (high - low), 0, 1)
        return both[:, right - 1] * (1 - share) + both[:, right] * share

    def cost(self, level: float) -> np.ndarray:
        """The x at which log FID first reaches `level`, (1 + S,); inf where it never does, 0 where it begins below."""
        falling = np.minimum.accumulate(np.vstack([self.y, self.draws]), axis=1)
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
    """The frontier of one contender's means against one axis: nothing of equal or smaller x has a lower FID."""
    x = means[axis].to_numpy(float)
    known = np.flatnonzero(np.isfinite(x) & (x > 0))
    if not len(known):
        return None
    kept = known[frontier(x[known], means["fid"].to_numpy(float)[known])["row"].to_numpy(int)]
    seeds = int(means["seeds"].to_numpy()[kept].min())
    return Curve(x[kept], float(x[known].max()), np.log(means["fid"].to_numpy(float)[kept]), draws[:, kept], seeds)


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
        crossing_share: of the resamples, how many cross somewhere.
        cost_level: a FID in the middle of those that both reach; NaN where there is none.
        cost_ratio: what the first spends to reach it over what the second does, (value, low, high).
        seeds: fewest seeds behind a point.
    """

    first: str
    second: str
    axis: str
    depth: float | None
    low: float
    high: float
    crossings: tuple[dict, ...]
    course: pd.DataFrame = field(repr=False)
    crossing_share: float
    cost_level: float
    cost_ratio: tuple[float, float, float]
    seeds: int

    @property
    def verdict(self) -> str:
        """One of "crosses", "never", "undecided", "no shared range"."""
        if self.high < self.low:
            return "no shared range"
        if self.crossings:
            clear = all(line["x_low"] > 0 and np.isfinite(line["x_high"]) for line in self.crossings)
            return "crosses" if clear and len(self.crossings) == 1 else "undecided"
        return "never" if self.crossing_share <= UNDECIDED else "undecided"


def meet(first: str, one: Curve, second: str, other: Curve, axis: str, depth: float | None = None) -> Meeting:
    """Where the curves of two contenders cross."""
    low, high = max(one.x[0], other.x[0]), min(one.end, other.end)
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
    signs = np.sign(difference[1:])
    share = float((signs.min(1) * signs.max(1) < 0).mean())
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
    best, start = max(one.y[-1], other.y[-1]), min(one.y[0], other.y[0])
    if not start > best:
        return np.nan, (np.nan, np.nan, np.nan)
    level = (best + start) / 2
    mine, others = one.cost(level), other.cost(level)
    known = np.isfinite(mine + others) & (mine > 0) & (others > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(known, mine / others, np.where((mine == np.inf) | (others == 0), np.inf, 0.0))
    return float(np.exp(level)), _interval(ratio)
