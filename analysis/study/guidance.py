"""Each family at its own best guidance: chosen against one reference split, reported against the other.

The two splits share no image, and where their evaluations differ in the sampling seed no sample either, so that the
value reported is not the lowest of several noisy draws of one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import BadRequest
from analysis.rows.families import kinds_of_rows
from analysis.rows.load import load_runs

PARTS = ("fid_corrected", "fid_low", "fid_high", "inception_score", "tokenizer_rfid")


@dataclass(frozen=True)
class GuidanceStudy:
    """What guidance does, and what it is best at.

    Attributes:
        lines: a line a (contender, depth, images, split, guidance): means over seeds of what `PARTS` names.
        best: a line a (contender, depth, images): the guidance chosen, where it was chosen and reported, the FID there
            with its interval, and the lowest FID of the reporting split, which nobody may quote.
    """

    lines: pd.DataFrame
    best: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for --json."""
        return {"schema": 1, "best": self.best.to_dict("records"), "lines": self.lines.to_dict("records")}


def guidance_study(sources: Sequence[str | Path], choose: str = "validation", report: str = "train") -> GuidanceStudy:
    """The best guidance of each contender and budget.

    Args:
        sources: sweeps or folders of trials.
        choose: the reference split by whose FID guidance is chosen.
        report: the split whose FID is then reported.

    Raises:
        BadRequest: no FIDs over guidance on both splits.
    """
    rows = pd.concat([load_runs(source) for source in sources], ignore_index=True)
    if rows.empty or "trial" not in rows:
        raise BadRequest("no finished rows yet; launch sweeps/guidance.yaml, or wait")
    rows = rows.drop_duplicates(["trial", "images_seen"])
    rows = rows.assign(contender=kinds_of_rows(rows, "family" if "family" in rows else None))
    lines = _over_guidance(rows)
    if lines.empty or not {choose, report} <= set(lines["split"]):
        found = ", ".join(sorted(set(lines["split"]))) if len(lines) else "none"
        raise BadRequest(
            f"guidance is chosen by FID against the {choose} images and reported against the {report} images; splits "
            f"with a FID here: {found}. sweeps/guidance.yaml asks for both"
        )
    keys = ["contender", "depth", "images"]
    means = lines.groupby([*keys, "split", "guidance"], sort=False, as_index=False).mean(numeric_only=True)
    best = []
    for key, part in means.groupby(keys, sort=False):
        chosen_by, reported = (part[part["split"] == split].set_index("guidance") for split in (choose, report))
        shared = chosen_by.index.intersection(reported.index)
        if len(shared) < 2:
            continue
        at = chosen_by.loc[shared, "fid_corrected"].idxmin()
        there = reported.loc[at]
        best.append(
            dict(zip(keys, key, strict=True))
            | {
                "guidance": float(at),
                "chosen_by": choose,
                "fid_chosen_by": float(chosen_by.loc[at, "fid_corrected"]),
                "reported_on": report,
                "fid": float(there["fid_corrected"]),
                "fid_low": float(there["fid_low"]),
                "fid_high": float(there["fid_high"]),
                "at_an_end": bool(at in (shared.min(), shared.max())),
                "lowest_reported": float(reported.loc[shared, "fid_corrected"].min()),
            }
        )
    if not best:
        raise BadRequest("no model has FIDs at two strengths of guidance on both splits; see sweeps/guidance.yaml")
    return GuidanceStudy(means, pd.DataFrame(best))


def _over_guidance(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a measured FID: of a row and a label that says its guidance and its split."""
    found = []
    for name in rows:
        if not str(name).startswith("fid_corrected_"):
            continue
        label = str(name).removeprefix("fid_corrected_")
        if f"fid_guidance_{label}" not in rows or f"fid_reference_{label}" not in rows:
            continue
        part = rows[rows[name].notna()]
        found.append(
            pd.DataFrame(
                {
                    "contender": part["contender"],
                    "depth": part["depth"],
                    "images": part["images_seen"],
                    "split": part[f"fid_reference_{label}"],
                    "guidance": part[f"fid_guidance_{label}"],
                    **{what: part[f"{what}_{label}"] for what in PARTS if f"{what}_{label}" in part},
                }
            )
        )
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()
