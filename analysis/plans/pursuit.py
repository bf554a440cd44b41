"""A study run in rounds: what to train next, when to stop and why, and what that is expected to take."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.engine.belief import TYPICAL_NOISE, Points
from analysis.plans.designer import Designer
from analysis.plans.shapes import shape_of

LEAST_ROWS = 6  # before an interval is believed to be narrow, or a study to be hopeless: coverage was simulated with it
HELPS = 0.02  # share of the half-width that all the rest of the sum has to take off, or nothing left helps
MARGIN = 0.9  # of the half-width asked for: what a smaller sum has to promise to be planned for instead of all of it
LEVEL = 0.95
STUDIES = 6  # simulated, for a range
MOST_ROUNDS = 200
NARROW, SPENT, HELPLESS = "narrow", "spent", "nothing left would help"


@dataclass(frozen=True)
class Task:
    """What is pursued.

    Attributes:
        candidates: one row a run, by label: ``params`` and ``data``.
        prices: labels that are made -> (c,) cost of each candidate beside them.
        target: one row: ``params`` and ``data`` of the run whose loss is wanted.
        interval: half-width of its 95 % interval over its value that is narrow enough.
        spend: what all rounds may cost.
        at_once: runs a round.
        forms: weighed against each other.
    """

    candidates: pd.DataFrame
    prices: Callable[[Sequence[Hashable]], np.ndarray]
    target: pd.DataFrame
    interval: float
    spend: float
    at_once: int
    forms: tuple[str, ...] = ("chinchilla", "coupled")

    def designer(self, told: Mapping[Hashable, float | None]) -> Designer:
        """Told in the order of the candidates, whatever order they came in: the same rows give the same answer."""
        designer = Designer(self.candidates, self.prices, self.target, self.forms)
        for label in self.candidates.index:
            if label in told:
                designer.tell(label, told[label])
        return designer

    def half_width(self, designer: Designer) -> tuple[float, float, float]:
        """Value at the target, and its interval for one new run."""
        low, high = designer.interval(self.target, LEVEL)
        return float(designer.predict(self.target)[0]), float(low[0]), float(high[0])


@dataclass(frozen=True)
class Advice:
    """What to do next.

    Attributes:
        chosen: labels of the next round; empty at the end.
        value: the loss at the target, as believed; None while nothing was told.
        low: end of its 95 % interval for a new run.
        high: the other end.
        expected: half-width over value that the rest of the sum is expected to leave.
        reason: in a sentence.
        end: NARROW, SPENT or HELPLESS where the pursuit is over, else None.
    """

    chosen: tuple[Hashable, ...]
    value: float | None
    low: float | None
    high: float | None
    expected: float | None
    reason: str
    end: str | None = None


def advise(task: Task, told: Mapping[Hashable, float | None], spent: float) -> Advice:
    """The next round of a study, or why there is none.

    Args:
        task: what is pursued.
        told: losses by label; None of a run that failed.
        spent: what the rounds so far have cost.
    """
    designer, left = task.designer(told), task.spend - spent
    rows = int(np.isfinite(designer.told).sum())
    value, low, high = task.half_width(designer)
    half = (high - low) / 2 / value
    open_ = [label for label in task.candidates.index if label not in told]
    price = dict(zip(task.candidates.index, task.prices([*told]), strict=True))
    expected, planned = _horizon(designer, task, left, half, rows)
    chosen = designer.ask(spend=planned, n=max(task.at_once, 2))[: task.at_once] if left > 0 else []
    known = (value, low, high, expected) if rows else (None, None, None, expected)
    so_far = f"±{100 * half:.2g} % after {rows} rows" if rows else "nothing is known yet"
    wanted = f"±{100 * task.interval:.2g} %"
    if rows >= LEAST_ROWS and half <= task.interval:
        return Advice((), *known, f"{so_far}, and {wanted} was asked for", NARROW)
    if not open_:
        return Advice((), *known, f"{so_far}; every candidate is trained: add depths or budgets to the grid", HELPLESS)
    if not chosen:
        cheapest = min(price[label] for label in open_)
        words = f"{so_far}; {max(left, 0):.3g} of {task.spend:.3g} is left, and the cheapest of {len(open_)} runs left "
        return Advice((), *known, f"{words}costs {cheapest:.3g}", SPENT)
    if rows >= LEAST_ROWS and planned == left and expected > (1 - HELPS) * half:
        words = f"{so_far}; all that is left ({left:.3g}) would hardly narrow it (±{100 * expected:.2g} % expected)"
        luck = f": one run's own luck is ±{100 * designer.noise:.2g} % (one standard deviation)"
        return Advice((), *known, words + luck, HELPLESS)
    cost = sum(paid(task, [*told], chosen))
    sum_ = f"what is left ({left:.3g})" if planned == left else f"{planned:.3g} of the {left:.3g} left"
    words = f"{so_far}; {wanted} is wanted, and {sum_} may leave ±{100 * expected:.2g} %: "
    return Advice(tuple(chosen), *known, f"{words}{len(chosen)} runs for {cost:.3g} begin that plan", None)


def _horizon(designer: Designer, task: Task, left: float, half: float, rows: int) -> tuple[float, float]:
    """Half-width that is expected, and the sum to plan for: less than what is left where less is expected to do."""
    if left <= 0:
        return half, left
    sums = [left * share for share in ((1.0, 0.5, 0.25, 0.125, 0.06, 0.03) if rows >= LEAST_ROWS else (1.0,))]
    outlook = designer.outlook(sums)
    enough = outlook[(outlook["half_width"] <= MARGIN * task.interval) & (outlook["runs"] > 0)]
    line = outlook.iloc[0] if enough.empty else enough.iloc[-1]
    return (float(line["half_width"]), float(line["spend"])) if outlook["runs"].iloc[0] else (half, left)


def paid(task: Task, made: Sequence[Hashable], chosen: Sequence[Hashable]) -> tuple[float, ...]:
    """What each of the chosen costs beside those made and chosen before it: on one trunk, its true extra."""
    place = {label: number for number, label in enumerate(task.candidates.index)}
    found, made = [], list(made)
    for label in chosen:
        found.append(float(task.prices(made)[place[label]]))
        made.append(label)
    return tuple(found)


@dataclass(frozen=True)
class Simulation:
    """What pursuits of planted laws came to.

    Attributes:
        rounds: of each.
        costs: of each.
        ends: why each ended.
        widths: half-width over value at each one's end.
    """

    rounds: tuple[int, ...]
    costs: tuple[float, ...]
    ends: tuple[str, ...]
    widths: tuple[float, ...]


def simulate(
    task: Task,
    told: Mapping[Hashable, float | None],
    spent: float = 0.0,
    studies: int = STUDIES,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Simulation:
    """Pursue planted losses: drawn from what the rows say, or from the prior where there are none.

    Args:
        task: what is pursued.
        told: what is known.
        spent: so far.
        studies: how many are drawn.
        seed: of the draws.
        stop: asked between rounds; the studies that have ended by then are what is returned.
    """
    rng, rounds, costs, ends, widths = np.random.default_rng(seed), [], [], [], []
    for _ in range(studies):
        losses = _planted(task, told, rng)
        known, cost, number = dict(told), spent, 0
        while number < MOST_ROUNDS and not stop():
            advice = advise(task, known, cost)
            if advice.end is not None:
                rounds.append(number)
                costs.append(cost - spent)
                ends.append(advice.end)
                widths.append((advice.high - advice.low) / 2 / advice.value if advice.value else float("nan"))
                break
            cost += sum(paid(task, [*known], advice.chosen))
            known |= {label: losses[label] for label in advice.chosen}
            number += 1
        if stop():
            break
    return Simulation(tuple(rounds), tuple(costs), tuple(ends), tuple(widths))


def _planted(task: Task, told: Mapping[Hashable, float | None], rng: np.random.Generator) -> dict[Hashable, float]:
    """A loss for every candidate, as probable as the belief says."""
    designer = task.designer(told)
    (mix,), (group,) = designer.believed.values(), designer.groups_of.values()
    chosen = mix.beliefs[int(rng.choice(len(mix.weights), p=mix.weights))]
    if not len(chosen.y):
        shape = shape_of(task.forms[int(rng.integers(len(task.forms)))])
        phi = shape.prior_mean(0.0) + shape.sd * rng.normal(size=len(shape.mean))
        drawn, noise = shape.predict(phi[None], group.x)[0][0], TYPICAL_NOISE
    else:
        points = Points(chosen, group.x)
        spread = np.stack([points.column(j) for j in range(group.x.shape[1])])
        values, ways = np.linalg.eigh((spread + spread.T) / 2)
        drawn = points.mean + ways @ (np.sqrt(np.maximum(values, 0.0)) * rng.normal(size=len(values)))
        noise = chosen.noise
    losses = np.exp(drawn + noise * rng.normal(size=len(drawn)))
    return dict(zip(task.candidates.index, map(float, losses), strict=True))


def course(
    task: Task, order: Sequence[Hashable], losses: Mapping[Hashable, float | None], points: int = 10
) -> pd.DataFrame:
    """Half-width over value against cost where candidates are trained in an order, no choice made.

    Args:
        task: what is pursued.
        order: labels, in which they are trained.
        losses: by label; None of a run that failed.
        points: how many of the places along the way are looked at.

    Returns:
        Columns rows, cost, half_width.
    """
    spent = np.cumsum(paid(task, [], order))
    stops = np.unique(np.round(np.geomspace(min(LEAST_ROWS, len(order)), len(order), points)).astype(int))
    lines = []
    for count in stops:
        value, low, high = task.half_width(task.designer({label: losses[label] for label in order[:count]}))
        lines.append((int(count), float(spent[count - 1]), (high - low) / 2 / value))
    return pd.DataFrame(lines, columns=["rows", "cost", "half_width"])


def grid_course(task: Task, told: Mapping[Hashable, float | None], seed: int = 0, points: int = 10) -> pd.DataFrame:
    """:func:`course` of the whole grid, the cheapest run first; runs that were not made have losses as believed.

    Returns:
        Columns rows, cost, half_width.
    """
    planted = _planted(task, told, np.random.default_rng(seed))
    losses = {label: told.get(label, planted[label]) for label in task.candidates.index}
    alone = dict(zip(task.candidates.index, task.prices([]), strict=True))
    return course(task, sorted(task.candidates.index, key=lambda label: alone[label]), losses, points)
