"""What inference compute buys beside training compute: FID over FLOPs of a sample, a line a trained model."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import page

STYLES = {"": "-", "best": ":", "re": "--"}  # as an evaluation's name says how candidates were chosen


def trained_models(means: pd.DataFrame) -> pd.DataFrame:
    """The lines of models that were sampled in several ways, with `kind`, the family or variant without its sampler."""
    kinds = means["contender"].str.partition(", ")[0]
    ways = means.groupby([kinds, means["cell"], means["images"]])["sample_flops"].transform("nunique")
    return means.assign(kind=kinds)[(ways > 1) & means["sample_flops"].notna()]


def draw_inference(means: pd.DataFrame, space: str) -> Figure | None:
    """A panel a family; colours are training FLOPs, light to dark; None where no model was sampled in two ways.

    Args:
        means: lines of `Comparison.means`.
        space: what FIDs were measured in.
    """
    shown = trained_models(means)
    if shown.empty:
        return None
    kinds = list(dict.fromkeys(shown["kind"]))
    figure, axes = plt.subplots(1, len(kinds), figsize=(page.WIDE, 2.7), squeeze=False, sharey=True)
    for ax, kind in zip(axes[0], kinds, strict=True):
        part = shown[shown["kind"] == kind]
        budgets = sorted(part["compute"].unique())
        colours = dict(zip(budgets, page.ordered_colours(len(budgets)), strict=True))
        for at, (compute, model) in enumerate(part.groupby("compute")):
            colour, marker = colours[compute], page.MARKERS[at % len(page.MARKERS)]
            for way, line in _lines(model):
                bars = [line["fid"] - line["fid_low"], line["fid_high"] - line["fid"]]
                ax.errorbar(line["sample_flops"], line["fid"], bars, fmt="none", ecolor=colour, elinewidth=0.5)
                ax.plot(
                    line["sample_flops"],
                    line["fid"],
                    color=colour,
                    marker=marker,
                    markersize=3.2,
                    linewidth=1,
                    linestyle=STYLES[way],
                    label=f"{page.short_number(compute, 2)} FLOPs" if not way else None,
                )
        page.log_axes(
            ax,
            part["sample_flops"].to_numpy(float),
            shown[["fid", "fid_low", "fid_high"]].to_numpy(float).ravel(),
            flops=True,
        )
        ax.set_title(kind)
        ax.set_xlabel("FLOPs to sample an image")
        page.legend_inside(ax, title="trained for")
    axes[0][0].set_ylabel("FID, corrected")
    page.footnote(
        figure,
        f"{space}; colours are trained models. Solid: one candidate a sample, at more steps where there are steps. "
        "From there, dotted: the best of each sample's own candidates (4, 32); dashed: the best of a class's pool "
        "(rejection). Judge and decoder are not in the FLOPs. Bars: 95 % intervals.",
    )
    return figure


def _lines(model: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """One trained model's points: those of one candidate; and from each of them, by way of choosing, those of more."""
    parts = model["contender"].str.extract(r"^(?P<sampler>.*?)(?:-(?P<way>best|re)\d+)?$")
    parts["way"] = parts["way"].fillna("")
    alone = parts["way"] == ""
    yield "", model[alone].sort_values("sample_flops")
    for (sampler, way), _ in parts[~alone].groupby(["sampler", "way"]):
        same = (parts["sampler"] == sampler) & (alone | (parts["way"] == way))
        yield str(way), model[same].sort_values("sample_flops")
