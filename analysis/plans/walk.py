"""A walk over runs that may be made: what each is expected to take off the variance at the target."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from analysis.engine.belief import Points
from analysis.plans.mixture import Group, Mixture


class Part:
    """One group's share of a walk: the joint Gaussian of its targets and open candidates, over all forms."""

    def __init__(self, mix: Mixture, at: np.ndarray, targets: int) -> None:
        self.targets, self.noise = targets, mix.noise**2
        self._points, self._weights = [Points(belief, at) for belief in mix.beliefs], mix.weights
        means = np.stack([points.mean for points in self._points])
        self._apart = (means - mix.weights @ means) * np.sqrt(mix.weights)[:, None]
        # what forms disagree about is uncertain too: covariance of the mixture
        self._whole = mix.weights @ np.stack([points.variance for points in self._points]) + (self._apart**2).sum(0)
        self._columns: dict[int, np.ndarray] = {}
        self._towards = np.stack([self.column(j) for j in range(targets)])  # (targets, m)
        self.restart()

    def restart(self) -> None:
        self.variance, self.cross, self._taken = self._whole.copy(), self._towards.copy(), []

    def column(self, j: int) -> np.ndarray:
        """(m,) covariance with point j before any pick."""
        if j not in self._columns:
            own = sum(weight * points.column(j) for weight, points in zip(self._weights, self._points, strict=True))
            self._columns[j] = own + self._apart.T @ self._apart[:, j]
        return self._columns[j]

    def gains(self) -> np.ndarray:
        """What each candidate takes off the targets' summed variance."""
        return (self.cross[:, self.targets :] ** 2).sum(0) / (np.maximum(self.variance[self.targets :], 0) + self.noise)

    def take(self, candidate: int) -> None:
        """The covariance after one more run there."""
        j = self.targets + candidate
        column = self.column(j).copy()
        for before in self._taken:
            column -= before * before[j]
        column /= np.sqrt(max(self.variance[j], 0.0) + self.noise)
        self._taken.append(column)
        self.variance -= column**2
        self.cross -= np.outer(column[: self.targets], column)


class Walk:
    """Runs picked one after the other, and what is expected to be left of the target's variance."""

    def __init__(
        self,
        groups: Mapping[Hashable, tuple[Group, Mixture]],
        names: np.ndarray,
        at: np.ndarray,
        open_: np.ndarray,
        tie: np.ndarray,
    ) -> None:
        """Of groups with their beliefs; targets' group names (m,) and places (k, m); open (c,), ties (c,)."""
        self._tie = tie
        self._parts: list[tuple[np.ndarray, Part]] = []
        for name, (group, mix) in groups.items():
            wanted = names == name
            if wanted.any():
                mine = open_[group.candidates]
                points = np.concatenate([at[:, wanted], group.x[:, mine]], 1)
                self._parts.append((group.candidates[mine], Part(mix, points, int(wanted.sum()))))

    def restart(self) -> None:
        for _, part in self._parts:
            part.restart()

    @property
    def variance(self) -> float:
        """Mean over the target."""
        left = [part.variance[: part.targets] for _, part in self._parts]
        return float(np.maximum(np.concatenate(left), 0.0).mean())

    def pick(self, can: np.ndarray, cost: np.ndarray, greed: float) -> int:
        """The run that takes most off the variance over its cost (c,) to the power `greed`, and takes it."""
        gains = np.zeros(len(can))
        for places, part in self._parts:
            gains[places] = part.gains()
        score = np.log(np.maximum(gains, 1e-300)) - greed * np.log(cost) + 1e-6 * self._tie
        place = int(np.argmax(np.where(can, score, -np.inf)))
        for places, part in self._parts:
            at = np.flatnonzero(places == place)
            if len(at):
                part.take(int(at[0]))
        return place
