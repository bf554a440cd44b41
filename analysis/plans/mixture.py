"""Beliefs in several forms about one group of runs, weighed by their evidence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtr, stdtrit

from analysis.engine.belief import Belief, believe
from analysis.plans.shapes import shape_of

TEMPER = (
    0.5  # power of the evidence: no form is true, and a dozen rows must not rule out one that a dozen more would ask
)
LOOK_AGAIN = 1.1  # noise and misfit are learnt anew when the rows have grown by this factor
FEWEST_TO_JUDGE = 8  # rows among which one can stand out
STANDS_OUT = (
    10.0  # robust standard deviations above what the other rows predict: a run that diverged and did not say so
)
STANDS_HIGH = 0.1  # and at least this far, in log units
PRIOR_ROWS = 2  # what the prior of noise and misfit is worth in degrees of freedom


@dataclass
class Group:
    """Candidates and targets that one law describes: their places, what was told, and the beliefs in it."""

    candidates: np.ndarray  # (c,) places
    x: np.ndarray  # (k, c)
    reach: np.ndarray
    kept: dict[str, tuple[Belief, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mixture:
    """Beliefs in several forms, weighed by their evidence."""

    beliefs: list[Belief]
    weights: np.ndarray
    set_aside: tuple[int, ...]

    @property
    def noise(self) -> float:
        return float(np.sqrt(self.weights @ np.array([belief.noise**2 for belief in self.beliefs])))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the noise."""
        parameters = self.weights @ np.array([len(belief.phi) for belief in self.beliefs])
        return max(len(self.beliefs[0].y) - parameters, 0.0) + PRIOR_ROWS


def mixture_of(group: Group, forms: tuple[str, ...], told: dict[int, float], rng: np.random.Generator) -> Mixture:
    """The beliefs of a group in each form, given the losses told by place; one that diverged is set aside."""
    rows = np.array([k for k, place in enumerate(group.candidates) if place in told], int)
    aside: list[int] = []
    while True:
        places = group.candidates[rows]
        y = np.log([told[place] for place in places])
        beliefs = []
        for form in forms:
            before, counted = group.kept.get(form, (None, 0))
            learn = before is None or not counted <= len(rows) < LOOK_AGAIN * counted
            belief = believe(shape_of(form), group.x[:, rows], y, group.reach, rng, before, learn)
            group.kept[form] = belief, len(rows) if learn else counted
            beliefs.append(belief)
        evidence = np.array([belief.evidence for belief in beliefs])
        weights = np.exp(TEMPER * (evidence - evidence.max()))
        weights /= weights.sum()
        worst = _diverged(beliefs[int(np.argmax(weights))])
        if worst is None:
            return Mixture(beliefs, weights, tuple(aside))
        aside.append(int(places[worst]))
        rows = np.delete(rows, worst)
        group.kept.clear()


def _diverged(belief: Belief) -> int | None:
    """The row farthest above what the others say of it, where that is too far to be noise."""
    if len(belief.y) < FEWEST_TO_JUDGE:
        return None
    away = belief.left_out()
    middle = np.median(away)
    spread = 1.4826 * np.median(np.abs(away - middle))
    worst = int(np.argmax(away))
    return worst if away[worst] - middle > max(STANDS_OUT * spread, STANDS_HIGH) else None


def quantile(means: np.ndarray, spreads: np.ndarray, weights: np.ndarray, freedom: float, share: float) -> np.ndarray:
    """Of a mixture of Student's t, (F, m) each, by bisection."""
    reach = stdtrit(freedom, max(share, 1 - share)) * spreads
    low, high = (means - reach).min(0), (means + reach).max(0)
    for _ in range(60):
        middle = (low + high) / 2
        below = weights @ stdtr(freedom, (middle - means) / spreads) < share
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2
