"""Rows of several families -> one line a measured FID, all in one space: what a comparison may stand on, or a refusal.

A contender is a family as it was trained and sampled: a study's variant where it names one, else the family, told apart
by what its rows differ in (what a diffusion model predicts, the order of tokens, how samples are drawn).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import BadRequest, CannotFit, Note
from analysis.rows.checks import listed
from analysis.rows.families import kinds_of_rows
from analysis.rows.load import load_runs
from analysis.rows.names import is_loss, usual

# What makes two FIDs comparable besides how samples were drawn, and what it is called in a sentence.
SPACE = {
    "features": "features",
    "network": "feature networks",
    "reference": "reference splits",
    "reference_images": "reference sets",
    "data_hash": "reference sets",
    "samples": "numbers of samples",
    "class_shares": "class shares",
}
DATA = {"data_name": "data sets", "data": "data (by their hash)", "unique_images": "numbers of unique images"}
POINT = ("contender", "family", "trial", "cell", "seed", "depth", "params", "images", "epochs", "compute")


def load_contenders(sources: Sequence[str | Path], features: str | None = None) -> pd.DataFrame:
    """Every FID of every contender, measured alike.

    Args:
        sources: sweeps, folders of trials or CSV files; a trial that several hold counts once.
        features: which feature space, where rows were measured in several; None takes the first that all share.

    Returns:
        One line a (trial, budget, way of sampling): the columns `POINT`; fid, fid_low, fid_high (NaN where unknown);
        floor (the tokenizer's rFID); sample_seconds and sample_flops an image; loss, and loss_name: the family's own.
        ``attrs["notes"]`` says what was left out.

    Raises:
        CannotFit: `mixed_conventions`: data, reference sets or features differ.
        BadRequest: no FID, no family, or only one contender.
    """
    tables = [load_runs(source) for source in sources]
    rows = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0].reset_index(drop=True)
    if rows.empty:
        raise BadRequest(f"{listed([str(s) for s in sources])} has no finished rows yet; launch it, or wait")
    numbers = [name for name in rows if name not in DATA]  # our rows' column `data` is a hash, not an amount
    names = {part: usual(numbers, part) for part in ("family", "params", "data", "compute", "epochs", "seed", "run")}
    if names["family"] is None and "variant" not in rows and "contender" not in rows:
        raise BadRequest(f"no column `family` among {', '.join(map(str, rows))}: a comparison needs to know whose rows")
    if names["run"] and names["data"] and "trial" in rows:
        if "variant" in rows:
            rows = rows.sort_values("variant", na_position="last", kind="stable")
        rows = rows.drop_duplicates([names["run"], names["data"]])
    if "contender" not in rows:
        rows = rows.assign(contender=kinds_of_rows(rows, names["family"]))
    rows["contender"] = rows["contender"].astype(str)
    _refuse_mixed(rows, DATA)
    points = _measured(rows, names)
    notes = _without_fid(rows, points)
    points, more = _one_space(points, features)
    several = points.groupby("contender", sort=False)["label"].nunique()
    split = points["contender"].map(several) > 1
    points["contender"] = points["contender"].where(~split, points["contender"] + ", " + points["sampler"])
    contenders = list(dict.fromkeys(points["contender"]))
    if len(contenders) < 2:
        raise BadRequest(
            f"only one family has a FID here, {contenders[0]} ({len(points)} rows): a comparison needs two; add the "
            "sweep of another, as in `var-scaling compare depth raster`, or launch sweeps/compare.yaml"
        )
    unnamed = points["depth"].isna() & points["params"].isna() & points["cell"].str.endswith(" nan")
    if unnamed.any():
        sentence = (
            f"{int(unnamed.sum())} rows say neither cell, depth nor params_total: those of a contender at equal images "
            "(or FLOPs) are taken for seeds of one model, and their mean for its FID"
        )
        more.append(Note("mixed_conventions", sentence, int(unnamed.sum())))
    points.attrs["notes"] = (*notes, *more)
    return points.reset_index(drop=True)


def _refuse_mixed(rows: pd.DataFrame, parts: dict[str, str]) -> None:
    for column, words in parts.items():
        if column not in rows:
            continue
        whose = {value: list(dict.fromkeys(part["contender"])) for value, part in rows.groupby(column, sort=False)}
        if len(whose) > 1:
            told = "; ".join(f"{_short(value)} of {listed(names)}" for value, names in whose.items())
            raise CannotFit(
                "mixed_conventions",
                f"the rows differ in their {words} ({told}): a FID of one says nothing beside one of another; compare "
                "sweeps on the same data, measured alike",
                len(whose),
            )


def _short(value: object) -> str:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return f"{int(value):,}"
    return str(value) if len(str(value)) <= 24 else f"{str(value)[:8]}..."


def _measured(rows: pd.DataFrame, names: dict[str, str | None]) -> pd.DataFrame:
    """One line a measured FID."""
    labels = [str(name).removeprefix("fid_corrected_") for name in rows if str(name).startswith("fid_corrected_")]
    plain = next((name for name in ("fid_corrected", "fid", "FID") if name in rows), None)
    if not labels and plain is None:
        raise BadRequest(
            "the rows have no FID (fid_corrected_..., fid_corrected or fid); a comparison needs one: give "
            "the study `evaluate: {fid: ...}` and launch it again, which trains nothing anew"
        )

    def column(name: str | None) -> pd.Series:
        return rows[name] if name is not None and name in rows else pd.Series(np.nan, rows.index)

    params, cell = column(names["params"]), column("cell")
    size = params.where(params.notna(), column("depth"))
    base = pd.DataFrame(
        {
            "contender": rows["contender"],
            "family": rows["contender"] if names["family"] is None else rows[names["family"]].astype(str),
            "trial": column(names["run"]) if names["run"] else rows.index.astype(str),
            "cell": cell.where(cell.notna(), rows["contender"] + " " + size.map("{:.6g}".format)),
            "seed": column(names["seed"]),
            "depth": column("depth"),
            "params": params,
            "images": column(names["data"]),
            "epochs": column(names["epochs"]),
            "compute": column(names["compute"]),
        }
    ).join(own_losses(rows))
    parts = []
    for label in labels or [None]:
        end = "" if label is None else f"_{label}"

        def of(*stems: str, end: str = end) -> pd.Series:
            return column(next((f"{stem}{end}" for stem in stems if f"{stem}{end}" in rows), None))

        value = pd.to_numeric(of("fid_corrected") if label is not None else rows[plain], errors="coerce")
        space = {part: of(f"fid_{part}", part) for part in SPACE}
        part = base.assign(
            label=label or "fid",
            sampler=_sampler(label or "fid"),
            fid=value,
            fid_low=of("fid_low"),
            fid_high=of("fid_high"),
            floor=of("tokenizer_rfid_corrected", "tokenizer_rfid", "rfid", "floor"),
            sample_seconds=of("sample_seconds"),
            sample_flops=of("sample_flops"),
            **{f"space_{part}": values for part, values in space.items()},
        )
        parts.append(part[value > 0])
    points = pd.concat(parts, ignore_index=True)
    if points.empty:
        raise BadRequest("no row has a FID above zero yet; wait for the evaluations, or launch the study again")
    return points


def _sampler(label: str) -> str:
    """What a FID's name says of how samples were drawn: between the number of samples and the hash."""
    parts = label.split("-")
    return "-".join(parts[3:-1]) if len(parts) > 4 else label


def own_losses(rows: pd.DataFrame) -> pd.DataFrame:
    """The headline loss of each row's family: the first column of losses that its rows hold."""
    losses = [name for name in rows if is_loss(str(name)) and not str(name).startswith("train_")]
    found = pd.DataFrame({"loss": np.nan, "loss_name": ""}, rows.index)
    for _, part in rows.groupby("contender", sort=False):
        own = next((name for name in losses if part[name].notna().all()), None)
        if own is not None:
            found.loc[part.index, "loss"] = part[own].astype(float)
            found.loc[part.index, "loss_name"] = own
    return found


def _one_space(points: pd.DataFrame, features: str | None) -> tuple[pd.DataFrame, list[Note]]:
    """The points of one feature space, the one asked for or the first that most contenders share."""
    columns = [f"space_{part}" for part in SPACE]
    points = points.assign(**{name: points[name].astype("object").where(points[name].notna(), "") for name in columns})
    if features is not None:
        known = list(dict.fromkeys(points["space_features"]))
        points = points[points["space_features"] == features]
        if points.empty:
            raise BadRequest(f"no FID in {features} features; there are {', '.join(map(str, known))}")
    spaces = {key: part for key, part in points.groupby(columns, sort=False)}
    everyone = points["contender"].nunique()
    best = max(spaces.values(), key=lambda part: part["contender"].nunique())
    if best["contender"].nunique() < everyone:
        _refuse_mixed(points.rename(columns={f"space_{part}": part for part in SPACE}), SPACE)
    others = [key[0] for key, part in spaces.items() if part is not best]
    notes = []
    if others:
        sentence = (
            f"FIDs in {listed([str(name) for name in others])} features are here too: --features compares in them"
        )
        notes.append(Note("mixed_conventions", sentence, len(others)))
    return best, notes


def _without_fid(rows: pd.DataFrame, points: pd.DataFrame) -> list[Note]:
    have = points.groupby("contender")["trial"].size()
    lacking = [name for name in dict.fromkeys(rows["contender"]) if name not in have]
    if not lacking:
        return []
    return [Note("rows_left_out", f"{listed(lacking)}: no FID yet, so left out of the comparison", len(lacking))]
