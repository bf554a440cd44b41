"""What was measured besides the value: intervals of FIDs, and the tokenizer's own FID that lies under them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

CORRECTED = "fid_corrected_"
FLOOR = "tokenizer_rfid_"


def interval_columns(rows: pd.DataFrame, target: str) -> tuple[str, str] | None:
    """The columns that hold the 95 % interval of a target, where rows have it."""
    stem = f"fid_{{}}_{target.removeprefix(CORRECTED)}" if target.startswith(CORRECTED) else f"{target}_{{}}"
    low, high = stem.format("low"), stem.format("high")
    return (low, high) if low in rows and high in rows else None


def draw_intervals(rows: pd.DataFrame, x: str, target: str, ax: Axes, colour: str | tuple) -> np.ndarray:
    """A bar at each row that has an interval; returns the ends drawn."""
    columns = interval_columns(rows, target)
    if columns is None:
        return np.empty(0)
    table = rows[[x, target, *columns]].astype(float).dropna()
    table = table[table[list(columns)].gt(0).all(axis=1)]
    if table.empty:
        return np.empty(0)
    ends = table[list(columns)].to_numpy()
    ax.vlines(table[x], *ends.T, color=colour, linewidth=0.7, alpha=0.8, zorder=2.5)
    return ends.ravel()


def fid_axis(rows: pd.DataFrame, target: str) -> str | None:
    """A FID on an axis: its features and number of samples, where rows say them; the caption has the rest."""
    label = target.removeprefix(CORRECTED)
    parts = [f"fid_features_{label}", f"fid_samples_{label}"]
    if not target.startswith(CORRECTED) or not set(parts) <= set(rows):
        return None
    features, samples = (rows[part].dropna().unique() for part in parts)
    if len(features) != 1 or len(samples) != 1:
        return None
    return f"FID, corrected\n({features[0]} features, {samples[0]:,.0f} samples)"


@dataclass(frozen=True)
class Floor:
    """The FID of a tokenizer's reconstructions: no model on it can be read near this.

    Attributes:
        value: corrected as the FIDs are, where that is known; else as measured.
        low: of its 95 % interval; NaN where there is none.
        high: see `low`.
        corrected: which of the two.
    """

    value: float
    low: float
    high: float
    corrected: bool

    @property
    def words(self) -> str:
        """On a legend."""
        return "tokenizer's own rFID" + ("" if self.corrected else ", not corrected")


def floors(rows: pd.DataFrame, target: str) -> list[Floor]:
    """Those of all tokenizers that the rows stand on, under a FID."""
    if not target.startswith(CORRECTED):
        return []
    label = target.removeprefix(CORRECTED)
    columns = [f"{FLOOR}{part}{label}" for part in ("corrected_", "low_", "high_")]
    if set(columns) <= set(rows):
        return [Floor(*values, corrected=True) for values in _distinct(rows[columns])]
    raw = f"{FLOOR}{label}"
    return [Floor(value, np.nan, np.nan, corrected=False) for (value,) in _distinct(rows[[raw]])] if raw in rows else []


def _distinct(table: pd.DataFrame) -> list[tuple[float, ...]]:
    return list(table.astype(float).dropna().drop_duplicates().itertuples(index=False, name=None))


def draw_floors(rows: pd.DataFrame, target: str, ax: Axes) -> np.ndarray:
    """Line and band of each; returns the values drawn."""
    drawn: list[float] = []
    for place, floor in enumerate(floors(rows, target)):
        label = None if place else floor.words
        ax.axhline(floor.value, color="0.45", linewidth=0.9, linestyle=(0, (1, 1)), label=label)
        drawn.append(floor.value)
        if np.isfinite([floor.low, floor.high]).all():
            ax.axhspan(floor.low, floor.high, color="0.45", alpha=0.15, linewidth=0)
            drawn += [floor.low, floor.high]
    return np.array([value for value in drawn if value > 0])
