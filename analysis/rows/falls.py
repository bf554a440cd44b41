"""Whether losses fall with size and with budget, as the rows say before any fit."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.rows import checks
from analysis.rows.budgets import ONE_AMOUNT
from analysis.rows.columns import Columns
from analysis.rows.counting import amount, amount_name, counted

MANY_SIZES, TWELFTHS = 24, 12  # a ladder of more sizes is compared by twelfths: neighbours differ by their luck


@dataclass(frozen=True)
class FallCheck:
    """Whether a loss falls along one direction.

    Attributes:
        target: the loss column.
        along: "size", "budget", or of a table that knows no sizes its column of data.
        pairs: neighbouring pairs compared (means over seeds).
        violations: sentences, worst first; empty where it falls everywhere.
        worst: largest relative rise, 0 where it falls everywhere.
        budget: what sentences call the budget: a CSV's column by its name; empty of one ladder.
    """

    target: str
    along: str
    pairs: int
    violations: tuple[str, ...]
    worst: float
    budget: str = "budget"

    @property
    def holds(self) -> bool:
        """Falls at every pair, and there was one to compare."""
        return not self.violations and self.pairs > 0

    @property
    def sentence(self) -> str:
        """For the terminal and laws.json."""
        along, other = ("size", self.budget) if self.along == "size" else (self.budget, "size")
        if not self.pairs:
            return f"{self.target}: nothing to compare along {along}"
        if self.holds:
            every = "" if not other else f" at every {other if other in ('size', 'budget') else f'value of {other}'}"
            return f"{self.target} falls with {along}{every} ({self.pairs} pairs)"
        return (
            f"{self.target} {'rises' if self.worst else 'does not fall'} with {along}: "
            + "; ".join(self.violations[:4])
            + (f"; and {len(self.violations) - 4} more" if len(self.violations) > 4 else "")
        )


def fall_checks(rows: pd.DataFrame, columns: Columns) -> list[FallCheck]:
    """Each target along its one ladder; or against size at every budget, and against budget at every size.

    On means over seeds, of a ladder of many sizes on means over a twelfth of them. Where data repeat, only among rows
    of one amount of unique data.
    """
    if columns.budget is None and columns.x is not None:
        return [_along_ladder(rows.dropna(subset=[target]), columns, target) for target in columns.targets]
    if columns.params is None or columns.budget is None or columns.budgets == ():
        return []
    if columns.budgets:
        rows = rows[rows[columns.budget].isin(columns.budgets)]
    label = columns.depth or columns.params
    budget = amount_name(columns.budget)
    budget = "budget" if budget == "images" else budget
    found = []
    for target in columns.targets:
        known = rows.dropna(subset=[target])
        unique = _amounts_of_unique(known, columns)  # more data may be worth less where they were seen more often
        places = known.groupby([columns.params, columns.budget, unique])[target].mean()
        names = rows.groupby(columns.params)[label].first()
        for along, level in (("size", 0), ("budget", 1)):
            rises, pairs = [], 0
            table = places.unstack(level).T
            for (fixed, _), series in table.items():
                if along == "size":
                    name, at = label, f" at {amount(columns.budget, counted(fixed))}"
                    series = series.rename(names)
                else:
                    name, at = amount_name(columns.budget), f" at {label} {names[fixed]:g}"
                more, compared = _rises(series.dropna(), name, at)
                rises, pairs = rises + more, pairs + compared
            found.append(_fall_check(target, along, pairs, rises, budget))
    return found


def _along_ladder(rows: pd.DataFrame, columns: Columns, target: str) -> FallCheck:
    x = rows[columns.x].astype(float)
    codes = checks.group_sizes(x.to_numpy())
    if codes.max(initial=0) >= MANY_SIZES:
        codes = codes * TWELFTHS // (codes.max() + 1)
    unique = _amounts_of_unique(rows, columns).to_numpy()
    places = pd.DataFrame({"x": x, "y": rows[target]}).groupby([unique, codes]).agg({"x": "median", "y": "mean"})
    rises, pairs, name = [], 0, columns.depth or columns.x
    depths = rows[columns.depth].groupby(x).first() if columns.depth else None
    for _, part in places.groupby(level=0):
        series = part.set_index("x")["y"]
        if depths is not None and series.index.isin(depths.index).all():
            series = series.rename(depths)
        more, compared = _rises(series, columns.x if series.index.name == "x" else name, "")
        rises, pairs = rises + more, pairs + compared
    return _fall_check(target, "size" if columns.against == "params" else columns.x, pairs, rises, "")


def _rises(series: pd.Series, name: str, at: str) -> tuple[list[tuple[float, str]], int]:
    """Neighbours of which the second is not lower: by how much, and in words; and how many were compared."""
    rises = []
    places, values = series.index.to_numpy(float), series.to_numpy(float)
    for before, after, low, high in zip(places, places[1:], values, values[1:], strict=False):
        if high > low:
            less, more = _told_apart(low, high)
            words = f"from {name} {before:.4g} ({less}) to {after:.4g} ({more}){at}, {100 * (high / low - 1):.2g} %"
            rises.append((high / low - 1, words))
        elif high == low:
            rises.append((0.0, f"{low:.4g} stays from {name} {before:.4g} to {after:.4g}{at}"))
    return rises, max(len(values) - 1, 0)


def _fall_check(target: str, along: str, pairs: int, rises: list[tuple[float, str]], budget: str) -> FallCheck:
    rises = sorted(rises, key=lambda entry: -entry[0])
    worst = rises[0][0] if rises else 0.0
    return FallCheck(target, along, pairs, tuple(text for _, text in rises), worst, budget)


def _amounts_of_unique(rows: pd.DataFrame, columns: Columns) -> pd.Series:
    """An integer code of each amount of unique data; one for all rows where nothing is known to repeat."""
    codes = checks.bins(rows[columns.unique].to_numpy(float), ONE_AMOUNT) if columns.unique else 0
    return pd.Series(codes, rows.index, name="amount of unique data")


def _told_apart(low: float, high: float) -> tuple[str, str]:
    """Two losses in as many digits as tell them apart."""
    digits = next((digits for digits in (4, 7) if f"{low:.{digits}g}" != f"{high:.{digits}g}"), 12)
    return f"{low:.{digits}g}", f"{high:.{digits}g}"
