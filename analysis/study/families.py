"""Families side by side: where they reach equal FID, each one's own laws, and how exponents differ.

FID is what families share: measured in one space, it may stand on one axis. Losses may not: a family's loss is fitted
by itself, named and with its own unit, and enters no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import CannotFit, Note
from analysis.laws.power import PowerLaw, fit_power_law
from analysis.rows.contenders import load_contenders
from analysis.study.beside_published import claims
from analysis.study.crossings import AXES, LEVEL, Curve, Meeting, cell_means, curve, meet
from analysis.study.frontier import frontier

FORMS = {"power": "none", "power + offset": "fit"}
FID = "fid"


@dataclass(frozen=True)
class FamilyLaw:
    """One contender's law of its FID or of its own loss against training FLOPs, on the frontier of means over seeds."""

    contender: str
    target: str
    form: str
    law: PowerLaw | None
    refusal: CannotFit | None

    def as_dict(self) -> dict[str, Any]:
        """A line of a table."""
        line: dict[str, Any] = {"contender": self.contender, "target": self.target, "form": self.form}
        if self.law is None:
            return line | {"refused": self.refusal.code, "sentence": self.refusal.sentence}
        law = self.law
        low, high = law.interval("alpha", LEVEL)
        line |= {"rows": law.rows_used, "exponent": law.coefficients["alpha"], "low": low, "high": high}
        if law.offset == "fit":
            bottom, top = law.interval("E", LEVEL)
            line |= {"E": law.coefficients["E"], "E_low": bottom, "E_high": top}
        return line | {"notes": " ".join(dict.fromkeys(note.code for note in law.notes))}


@dataclass(frozen=True)
class Comparison:
    """What `var-scaling compare` found.

    Attributes:
        sources: where the rows came from.
        points: one line a measured FID (:func:`analysis.rows.contenders.load_contenders`).
        means: the same over seeds: one line a (contender, cell, budget), with the interval of the mean.
        meetings: each pair of contenders on each axis.
        laws: each contender's own.
        differences: of exponents of FID laws, a line a pair and form.
        claims: what the paper says, beside what these rows say.
        notes: what the reader has to know.
    """

    sources: tuple[str, ...]
    points: pd.DataFrame = field(repr=False)
    means: pd.DataFrame = field(repr=False)
    meetings: tuple[Meeting, ...]
    laws: tuple[FamilyLaw, ...]
    differences: pd.DataFrame = field(repr=False)
    claims: pd.DataFrame = field(repr=False)
    notes: tuple[Note, ...]

    @property
    def contenders(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(self.points["contender"]))

    @property
    def space(self) -> str:
        """What all FIDs were measured in, in words."""
        first = self.points.iloc[0]
        words = [f"{first['space_features']} features" if first["space_features"] else "features not named"]
        if first["space_reference"]:
            words.append(f"against the {first['space_reference']} images")
        if first["space_samples"]:
            words.append(f"{int(first['space_samples']):,} samples")
        return ", ".join(words)

    def sentences(self, axis: str | None = None) -> list[str]:
        """Each meeting as a sentence."""
        return [sentence(each) for each in self.meetings if axis in (None, each.axis)]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for compare.json and --json."""
        return {
            "sources": list(self.sources),
            "space": self.space,
            "contenders": self.contenders,
            "floors": {name: floor for name, floor in _floors(self.means).items()},
            "meetings": [_meeting(each) for each in self.meetings],
            "laws": [law.as_dict() for law in self.laws],
            "exponent_differences": self.differences.to_dict("records"),
            "claims": self.claims.to_dict("records"),
            "rows": self.means.to_dict("records"),
            "notes": [{"code": note.code, "sentence": note.sentence, "number": note.number} for note in self.notes],
        }


def compare_families(sources: Sequence[str | Path], features: str | None = None) -> Comparison:
    """Compare what several families reach, by compute, images, parameters and sampling; writes nothing.

    Args:
        sources: sweeps, folders of trials or CSV files.
        features: the feature space, where rows have several.

    Raises:
        CannotFit, BadRequest: as :func:`analysis.rows.contenders.load_contenders`.
    """
    points = load_contenders(sources, features)
    rng = np.random.default_rng(0)
    found = {name: cell_means(part, rng) for name, part in points.groupby("contender", sort=False)}
    means = pd.concat([table.assign(contender=name) for name, (table, _) in found.items()], ignore_index=True)
    unique = _unique(points)
    meetings = [
        replace(meeting, unique=unique)
        for axis in AXES
        for pair in combinations(found, 2)
        for meeting in _meetings(pair, found, axis)
    ]
    laws = [law for name, (table, _) in found.items() for law in _laws(name, table, points)]
    return Comparison(
        tuple(map(str, sources)),
        points,
        means,
        tuple(meetings),
        tuple(laws),
        pd.DataFrame(_differences(laws)),
        claims(means, {name: str(part["family"].iloc[0]) for name, part in points.groupby("contender")}),
        (*points.attrs["notes"], *_notes(points, means)),
    )


def _unique(points: pd.DataFrame) -> float:
    """Unique images, where all rows agree on them; NaN where they do not, or do not say."""
    ratio = (points["images"].astype(float) / points["epochs"].astype(float)).dropna()
    return float(ratio.iloc[0]) if len(ratio) == len(points) and np.allclose(ratio, ratio.iloc[0]) else np.nan


def _meetings(pair: tuple[str, str], found: dict, axis: str) -> list[Meeting]:
    """Against compute with the best depth at each; against images at each depth that both have, else like compute."""
    (one, draws), (other, others) = found[pair[0]], found[pair[1]]
    depths = sorted(set(one["depth"].dropna()) & set(other["depth"].dropna())) if axis == "images" else []
    if not depths:
        curves = curve(one, draws, axis), curve(other, others, axis)
        return [meet(pair[0], curves[0], pair[1], curves[1], axis)] if all(curves) else []
    result = []
    for depth in depths:
        a, b = _at_depth(one, draws, depth, axis), _at_depth(other, others, depth, axis)
        if a is not None and b is not None:
            result.append(meet(pair[0], a, pair[1], b, axis, float(depth)))
    return result


def _at_depth(means: pd.DataFrame, draws: np.ndarray, depth: float, axis: str) -> Curve | None:
    rows = np.flatnonzero(means["depth"].to_numpy() == depth)
    return curve(means.iloc[rows].reset_index(drop=True), draws[:, rows], axis)


def _laws(name: str, means: pd.DataFrame, points: pd.DataFrame) -> list[FamilyLaw]:
    """FID against FLOPs, and the family's own loss against FLOPs."""
    result = [_law(name, FID, form, means["compute"], means["fid"], means["cell"]) for form in FORMS]
    own = points[(points["contender"] == name) & points["loss"].notna()]
    if own.empty:
        return result
    keys = [own["cell"].astype(str), own["images"].fillna(own["compute"])]
    losses = own.groupby(keys, sort=False).agg(
        compute=("compute", "first"), loss=("loss", "mean"), cell=("cell", "first")
    )
    target = str(own["loss_name"].iloc[0])
    return result + [_law(name, target, form, losses["compute"], losses["loss"], losses["cell"]) for form in FORMS]


def _law(name: str, target: str, form: str, compute: pd.Series, y: pd.Series, cell: pd.Series) -> FamilyLaw:
    try:
        edge = frontier(compute.to_numpy(float), y.to_numpy(float), cell.to_numpy())
        law = fit_power_law(edge["compute"], edge["loss"], offset=FORMS[form], runs=edge["run"])
        law.interval("alpha", LEVEL)
    except CannotFit as refusal:
        return FamilyLaw(name, target, form, None, refusal)
    return FamilyLaw(name, target, form, law, None)


def _differences(laws: Sequence[FamilyLaw]) -> list[dict[str, Any]]:
    """Of the exponents of two contenders' FID: their resamples are independent, so are the pairs of draws."""
    lines = []
    rng = np.random.default_rng(1)
    for form in FORMS:
        fitted = [each for each in laws if each.target == FID and each.form == form and each.law is not None]
        for one, other in combinations(fitted, 2):
            a, b = (each.law.draws().draws["alpha"].to_numpy() for each in (one, other))
            pairs = rng.choice(a, 4_000) - rng.choice(b, 4_000)
            low, high = np.quantile(pairs, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            value = one.law.coefficients["alpha"] - other.law.coefficients["alpha"]
            lines.append(
                {
                    "first": one.contender,
                    "second": other.contender,
                    "form": form,
                    "difference": value,
                    "low": min(float(low), value),
                    "high": max(float(high), value),
                }
            )
    return lines


def _notes(points: pd.DataFrame, means: pd.DataFrame) -> list[Note]:
    notes = []
    single = means[means["seeds"] < 2].groupby("contender", sort=False).size()
    if len(single):
        told = ", ".join(
            f"{name} {count} of {int((means['contender'] == name).sum())}" for name, count in single.items()
        )
        notes.append(
            Note(
                "too_few_sizes",
                f"points of one seed ({told}): where a family has no second seed anywhere, its intervals hold FID's "
                "own error alone, and the luck of a training is more than that",
                float(single.sum()),
            )
        )
    floors = _floors(means)
    if len({round(value, 6) for value in floors.values()}) > 1:
        told = ", ".join(f"{name} {value:.2f}" for name, value in floors.items())
        sentence = f"tokenizers differ in their floors (rFID: {told}): what a model adds to it is not FID minus rFID"
        notes.append(Note("mixed_conventions", sentence, float(len(floors))))
    if points["compute"].notna().any():
        sentence = "training FLOPs are the models' own: a tokenizer serves all rows of a family and is not in them"
        notes.append(Note("mixed_conventions", sentence, quiet=True))
    return notes


def _floors(means: pd.DataFrame) -> dict[str, float]:
    """The rFID of each contender's tokenizer, where it is known."""
    known = means[means["floor"].notna()]
    return {str(name): float(part.mean()) for name, part in known.groupby("contender", sort=False)["floor"]}


def _meeting(each: Meeting) -> dict[str, Any]:
    words = ("value", "low", "high")
    return {
        "first": each.first,
        "second": each.second,
        "axis": each.axis,
        "depth": each.depth,
        "verdict": each.verdict,
        "range": [each.low, each.high],
        "crossings": list(each.crossings),
        "fid_ratio": each.course.to_dict("records"),
        "share_of_resamples_that_differ": each.other_share,
        "cost_at_fid": each.cost_level,
        "cost_ratio": dict(zip(words, each.cost_ratio, strict=True)),
        "sentence": sentence(each),
    }


def amount(value: float) -> str:
    """12.3k, 4.56T; three digits."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def sentence(each: Meeting) -> str:
    """What two contenders do on an axis, in words: the point, its interval, or "never, in these rows"."""
    at_depth = "" if each.depth is None else f" at depth {each.depth:g}"
    what = AXES[each.axis] + at_depth
    pair = f"{each.first} and {each.second}"
    if each.high < each.low:
        return f"{pair} share no range of {what}: one begins at {amount(each.low)}, one ends at {amount(each.high)}"
    span = (
        f"from {amount(each.low)} to {amount(each.high)}" if each.high > each.low else f"at {amount(each.low)} alone,"
    )
    span += f" {what}{_epochs(each, each.low, each.high)}"
    if each.crossings:
        told = "; ".join(
            f"{amount(line['x'])} [{_end(line['x_low'], 'before the rows')}, {_end(line['x_high'], 'beyond the rows')}]"
            f" {AXES[each.axis]}{_epochs(each, line['x'])}, after which {line['lower']} is lower"
            for line in each.crossings
        )
        more = " (more than one crossing: level rather than crossing)" if len(each.crossings) > 1 else ""
        return f"{pair}{at_depth} reach equal FID at {told}{more}"
    last = each.course.iloc[-1]
    ratio = float(last["ratio"]), float(last["low"]), float(last["high"])
    lower, higher, value = (
        (each.first, each.second, ratio) if ratio[0] < 1 else (each.second, each.first, _inverse(ratio))
    )
    words = f"{lower} below {higher} {span}: equal FID never, in these rows; at the end {value[0]:.2f} of its FID "
    words += f"[{value[1]:.2f}, {value[2]:.2f}]"
    if each.verdict == "undecided":
        share = f"in {each.other_share:.0%} of resamples {higher} is lower somewhere"
        words += f"; not decided: {share if each.high > each.low else 'the interval holds 1'}"
    return words


def _inverse(ratio: tuple[float, float, float]) -> tuple[float, float, float]:
    return 1 / ratio[0], 1 / ratio[2], 1 / ratio[1]


def _epochs(each: Meeting, *images: float) -> str:
    """Images as epochs, in brackets, where that is known."""
    if each.axis != "images" or not np.isfinite(each.unique):
        return ""
    passes = dict.fromkeys(f"{value / each.unique:.3g}" for value in images)
    return f" ({' to '.join(passes)} epochs)"


def _end(value: float, beyond: str) -> str:
    return amount(value) if 0 < value < np.inf else beyond
