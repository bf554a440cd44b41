"""How often data may be seen again: the reuse constant R of each family, with its interval, at caps on epochs.

R falls with the longest run that is kept, so it is quoted with its cap. The law only falls: a row whose loss lies above
an earlier budget of its own trial has over-fitted; it is named and left out, for no R describes it.

Source of the law: Muennighoff et al. 2023 (arXiv 2305.16264); `analysis.laws.repeated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import BadRequest, CannotFit
from analysis.laws.law import ParametricLaw
from analysis.laws.repeated import fit_repeated
from analysis.rows.contenders import own_losses
from analysis.rows.families import kinds_of_rows
from analysis.rows.load import load_runs

CAPS = (8, 16, 32)
LEVEL = 0.95
WIDEST = 1e4  # an end of an interval beyond this many repetitions says that the rows do not bound it
NEEDED = ("trial", "params_total", "unique_images", "images_seen", "epochs")


@dataclass(frozen=True)
class Reuse:
    """R of one contender from the rows of at most `cap` epochs.

    Attributes:
        contender: family or variant.
        cap: most epochs of a row.
        rows: that the law stands on.
        law: the fit, or None where it is refused.
        refusal: why.
    """

    contender: str
    cap: float
    rows: int
    law: ParametricLaw | None
    refusal: CannotFit | None

    def as_dict(self) -> dict[str, Any]:
        """A line of a table; an end that the rows do not bound is absent."""
        line: dict[str, Any] = {"contender": self.contender, "cap_epochs": self.cap, "rows": self.rows}
        if self.law is None:
            assert self.refusal is not None
            return line | {"refused": self.refusal.code, "sentence": self.refusal.sentence}
        low, high = self.law.interval("R", LEVEL)
        line |= {"R": self.law.coefficients["R"]}
        line |= {"low": low} if np.isfinite(low) and low > 0 else {}
        return line | ({"high": high} if np.isfinite(high) and high < WIDEST else {})


@dataclass(frozen=True)
class ReuseStudy:
    """Every R, and the rows that were left out because their loss rose."""

    constants: tuple[Reuse, ...]
    rising: pd.DataFrame  # contender, trial, depth, unique_images, epochs, loss, lowest_before
    loss_names: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for --json."""
        return {
            "schema": 1,
            "losses": self.loss_names,
            "constants": [each.as_dict() for each in self.constants],
            "rising": self.rising.to_dict("records"),
        }


def reuse_constants(sources: Sequence[str | Path], caps: Sequence[float] = CAPS) -> ReuseStudy:
    """R of each contender of studies that repeat their data.

    Args:
        sources: sweeps, folders of trials or CSV files with `NEEDED` and a loss.
        caps: on epochs, in rising order.

    Raises:
        BadRequest: no rows, a column is missing, or every row has one number of unique images.
    """
    rows = pd.concat([load_runs(source) for source in sources], ignore_index=True)
    if missing := [name for name in NEEDED if name not in rows]:
        raise BadRequest(
            f"a reuse constant needs the columns {', '.join(NEEDED)} and a loss; {', '.join(missing)} missing here"
        )
    rows = rows.drop_duplicates(["trial", "images_seen"])
    if "contender" not in rows:
        rows = rows.assign(contender=kinds_of_rows(rows, "family" if "family" in rows else None))
    losses = own_losses(rows)
    rows = rows.drop(columns=[name for name in losses if name in rows]).join(losses)
    rows = rows[rows["loss"].notna()].sort_values(["contender", "trial", "images_seen"], kind="stable")
    if rows["unique_images"].nunique() < 2:
        unique = f"{int(rows['unique_images'].iloc[0]):,} unique images" if len(rows) else "no loss yet"
        raise BadRequest(
            f"every row has {unique}; R tells seeing again from seeing more, so rows of several `data.unique_images` "
            "are needed, as in sweeps/reuse.yaml"
        )
    before = rows.groupby("trial", sort=False)["loss"].transform(lambda loss: loss.cummin().shift())
    rows = rows.assign(lowest_before=before)
    rises = rows["loss"] > rows["lowest_before"]
    shown = ["contender", "trial", "depth", "unique_images", "epochs", "loss", "lowest_before"]
    rising = rows.loc[rises, [name for name in shown if name in rows]].reset_index(drop=True)
    constants = [
        _at_cap(str(name), part[part["epochs"] <= cap], cap)
        for name, part in rows[~rises].groupby("contender", sort=False)
        for cap in caps
    ]
    names = {str(name): str(part["loss_name"].iloc[0]) for name, part in rows.groupby("contender", sort=False)}
    return ReuseStudy(tuple(constants), rising, names)


def _at_cap(name: str, part: pd.DataFrame, cap: float) -> Reuse:
    try:
        if part["unique_images"].nunique() < 2:
            raise CannotFit("too_few_sizes", "rows of one number of unique images cannot tell R from beta", len(part))
        law = fit_repeated(
            part["params_total"].to_numpy(float),
            part["unique_images"].to_numpy(float),
            part["epochs"].to_numpy(float),
            part["loss"].to_numpy(float),
            runs=part["trial"].astype(str).to_numpy(),
        )
    except CannotFit as refusal:
        return Reuse(name, cap, len(part), None, refusal)
    return Reuse(name, cap, len(part), law, None)
