"""What the VAR paper says of VAR, DiT and next-token models, beside what a comparison's rows say.

Only ratios stand beside one another: a FID in one feature space says nothing beside a FID in another. The paper's two
sets of FIDs (the proceedings' and those of its README, which users reproduce) are columns of their own, never mixed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import published

DIFFERS = "published: Inception features on ImageNet 256 px, one seed, unequal compute, each at its best guidance"


def claims(means: pd.DataFrame, family: dict[str, str]) -> pd.DataFrame:
    """The paper's ratios and ours.

    Args:
        means: lines over seeds: contender, compute, fid, sample_seconds, epochs.
        family: of each contender.

    Returns:
        Columns claim, contender, proceedings, readme (the two FID sets; equal where a claim has no FID), ours, differs.
    """
    sets = published.load("var_fid_sets").set_index("model").loc["VAR-d30"]
    table = published.load("var_table1").set_index("model")
    xl = published.load("dit_results").query("pixels == 256 and steps == 7000000 and cfg == 1.5")["fid"].iloc[0]
    ar = table.loc["VQGAN 1.4B"]
    lines = []
    ours = {name: _best(part) for name, part in means.groupby("contender", sort=False)}
    base = next((name for name in ours if family[name] == "var"), None)
    for other, best in ours.items():
        if base is None or family[other] == "var" or family[other] not in ("dit", "raster"):
            continue
        dit = family[other] == "dit"
        model, fid = ("DiT-XL/2", xl) if dit else ("VQGAN 1.4B (raster order)", float(ar["fid"]))
        slower = float((table.loc["DiT-XL/2"] if dit else ar)["relative_time"])
        mine = ours[base]
        lines += [
            {
                "claim": f"FID of {model} over that of VAR-d30, each at its best",
                "contender": other,
                "proceedings": fid / float(sets["proceedings"]),
                "readme": fid / float(sets["readme"]),
                "ours": best["fid"] / mine["fid"],
                "differs": f"{DIFFERS}; ours: best mean over seeds of each, compute {_ratio(best, mine, 'compute')}",
            },
            {
                "claim": f"time of a sample, {model} over VAR-d30",
                "contender": other,
                "proceedings": slower,
                "readme": slower,
                "ours": best["sample_seconds"] / mine["sample_seconds"],
                "differs": "published: batched on one GPU, 250 steps of DiT, no fused attention; ours: wall time of "
                "an image, decoder included, on the machine of the rows",
            },
        ]
        if dit:
            lines.append(
                {
                    "claim": "epochs, DiT-XL/2 over VAR-d30 (1,400 over 350)",
                    "contender": other,
                    "proceedings": 4.0,
                    "readme": 4.0,
                    "ours": best["epochs"] / mine["epochs"],
                    "differs": "published: at unequal FLOPs an image; what repeats cost is not known there",
                }
            )
    return pd.DataFrame(lines, columns=["claim", "contender", "proceedings", "readme", "ours", "differs"])


def published_rows() -> pd.DataFrame:
    """The published FIDs on ImageNet 256 px, each set in a column of its own."""
    sets = published.load("var_fid_sets").rename(columns={"proceedings": "fid_proceedings", "readme": "fid_readme"})
    table = published.load("var_table1")[["model", "type", "params", "steps", "relative_time", "fid"]]
    rows = table.merge(sets[["model", "fid_proceedings", "fid_readme"]], on="model", how="left")
    rows["fid_quoted_in_the_paper"] = rows["fid"].where(rows["fid_proceedings"].isna())
    keep = rows["type"].isin(["diffusion", "AR", "VAR"])
    return rows[keep].drop(columns="fid").assign(features="inception, ImageNet 256 px, 50,000 samples")


def _best(means: pd.DataFrame) -> pd.Series:
    return means.loc[means["fid"].idxmin()]


def _ratio(one: pd.Series, other: pd.Series, column: str) -> str:
    value = one[column] / other[column]
    return f"{value:.2g} of VAR's" if np.isfinite(value) else "unknown"
