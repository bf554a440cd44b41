"""What studies ask of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from var_scaling.runs import layout, store


class Asked:
    """The union of what all studies ask of a trial."""

    def __init__(self, requests: list[Mapping[str, Any]]) -> None:
        self.budgets = tuple(sorted({b for r in requests for b in r["budgets"]}))
        self.evaluations: dict[int, dict[str, Mapping[str, Any]]] = {b: {} for b in self.budgets}
        self.grids: dict[int, int] = {}
        for request in requests:
            for budget in request["budgets"]:
                self.evaluations[budget].update({e["name"]: e for e in request["evaluations"]})
                if request["samples_grid"] != "off":
                    self.grids[budget] = max(self.grids.get(budget, 0), request["samples_grid"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Asked) and vars(self) == vars(other)


def read_asked(folder: Path) -> Asked:
    """What the files in asked/ say now."""
    values = [store.read_json(path) for path in layout.all_asked(folder)]
    return Asked([value for value in values if value])
