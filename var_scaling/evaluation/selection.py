"""More candidates than samples, and a judge that keeps the best: what more inference compute buys.

Two ways, both with the class shares of the samples asked for. `each`: every sample is the best of its own M candidates
(best of M). `pool`: of all candidates of a class the best are kept, an M-th of them, as rejection sampling by a
classifier does (the "-re" rows of Tian et al. 2024 and of its baselines). Candidate j of sample i has the number
j n + i, so that the samples of a smaller M are among those of a larger one.

Dimension key: n samples, m seen so far, D features, Y classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from var_scaling.config.evaluate import Choice

Floats = NDArray[np.float32]


class Everything:
    """All samples, as they come: what is kept where there is nothing to choose from."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Floats]] = {}

    @property
    def done(self) -> int:
        """How many were drawn."""
        return sum(map(len, self.parts.get("features", ())))

    def add(self, numbers_B: NDArray[np.int64], columns: Mapping[str, Floats]) -> None:
        for name, values in columns.items():
            self.parts.setdefault(name, []).append(values)

    def result(self) -> dict[str, Floats]:
        """Each column of all samples."""
        return {name: np.concatenate(parts) for name, parts in self.parts.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: torch.from_numpy(values) for name, values in self.result().items()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.parts = {name: [values.numpy()] for name, values in saved.items()}


class Selection:
    """Candidates as they come, of which what is kept so far is held: never more than samples and a batch.

    Args:
        labels_n: classes of the samples asked for.
        choice: see the head of this file.
    """

    def __init__(self, labels_n: NDArray[np.int64], choice: Choice) -> None:
        self.labels_n, self.choice, self.done = labels_n, choice, 0
        self.kept: dict[str, NDArray[Any]] = {}

    def add(self, numbers_B: NDArray[np.int64], columns: Mapping[str, Floats]) -> None:
        """Candidates by their numbers; of the columns, "scores" is the judge's probability of their class."""
        new = {"numbers": numbers_B, **columns}
        self.kept = {name: np.concatenate([self.kept[name], v]) if self.kept else v for name, v in new.items()}
        # Of equal scores the earlier candidate stays: lexsort's last key counts first.
        order_m = np.lexsort((self.kept["numbers"], -self.kept["scores"]))
        group_m = self._groups(self.kept["numbers"])[order_m]
        stays_m = np.sort(order_m[_ranks(group_m) < self._rooms()[group_m]])
        self.kept = {name: values[stays_m] for name, values in self.kept.items()}
        self.done = int(numbers_B[-1]) + 1

    def result(self) -> dict[str, Floats]:
        """Each column of the samples, in the order of `labels_n`: within a class by candidates' numbers."""
        slots_n = np.argsort(self._groups(np.arange(len(self.labels_n))), kind="stable")
        place_n = np.empty_like(slots_n)
        place_n[slots_n] = np.lexsort((self.kept["numbers"], self._groups(self.kept["numbers"])))
        return {name: values[place_n] for name, values in self.kept.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"done": self.done, **{name: torch.from_numpy(values) for name, values in self.kept.items()}}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.done = int(saved["done"])
        self.kept = {name: values.numpy() for name, values in saved.items() if name != "done"}

    def _groups(self, numbers_m: NDArray[np.int64]) -> NDArray[np.int64]:
        """Among which candidates each one competes: those of its sample, or of its class."""
        slots_m = numbers_m % len(self.labels_n)
        return slots_m if self.choice == "each" else self.labels_n[slots_m]

    def _rooms(self) -> NDArray[np.int64]:
        """How many each group keeps."""
        return np.bincount(self._groups(np.arange(len(self.labels_n))))


def _ranks(group_m: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same group stand before each."""
    order_m = np.argsort(group_m, kind="stable")
    ordered_m = group_m[order_m]
    first_m = np.r_[True, ordered_m[1:] != ordered_m[:-1]]
    begins_m = np.maximum.accumulate(np.where(first_m, np.arange(len(group_m)), 0))
    ranks_m = np.empty_like(order_m)
    ranks_m[order_m] = np.arange(len(group_m)) - begins_m
    return ranks_m
