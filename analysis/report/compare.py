"""A comparison of families on disk: compare.json, its tables and figures, each with the rows behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.report.files import write_json
from analysis.study.beside_published import published_rows
from analysis.study.families import Comparison


def write_comparison(
    comparison: Comparison, folder: Path, *, figures: bool = True, style: str = "screen"
) -> list[Path]:
    """Write compare.json, points.csv, laws.csv, exponents.csv, meetings.csv, claims.csv, published.csv and the figures.

    Args:
        comparison: what was found.
        folder: made if it is not there.
        figures: whether to draw.
        style: of the figures: "screen", or "paper", whose figures and captions go to ``paper/``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = comparison.as_dict()
    tables = {
        "points": comparison.points,
        "laws": pd.DataFrame(whole["laws"]),
        "exponents": comparison.differences,
        "meetings": _meetings(whole["meetings"]),
        "claims": comparison.claims,
        "published": published_rows(),
    }
    written = [write_json(folder / "compare.json", whole)]
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        written.append(folder / f"{name}.csv")
    return written + (_draw(comparison, folder, style) if figures else [])


def _meetings(meetings: list[dict[str, Any]]) -> pd.DataFrame:
    """A line for each crossing of a pair, and one without `at` for a pair that does not cross."""
    lines = []
    for each in meetings:
        low, high = each["range"]
        plain = {k: v for k, v in each.items() if k not in ("range", "crossings", "fid_ratio", "sentence")}
        for crossing in each["crossings"] or ({},):
            at = {f"at{k[1:]}" if k != "lower" else "lower_after": v for k, v in crossing.items()}
            lines.append(plain | {"from": low, "to": high} | at | {"sentence": each["sentence"]})
    return pd.json_normalize(lines)


def _draw(comparison: Comparison, folder: Path, style: str) -> list[Path]:
    from analysis.figures import compare, inference, page
    from analysis.figures.style import style_named, styled
    from analysis.report.captions import gather

    written, look = [], style_named(style)
    folder = folder / look.folder
    folder.mkdir(exist_ok=True)
    with styled(look):
        means, space = comparison.means, comparison.space
        written += page.save(compare.draw_scaling(means, space), folder / "scaling", means)
        if (figure := compare.draw_speed(means, space)) is not None:
            written += page.save(figure, folder / "speed", compare.largest_budget(means))
        if (figure := inference.draw_inference(means, space)) is not None:
            written += page.save(figure, folder / "inference", inference.trained_models(means))
        if (figure := compare.draw_ratio(comparison)) is not None:
            meetings = [each for each in comparison.meetings if each.axis == "compute"]
            rows = [each.course.assign(first=each.first, second=each.second) for each in meetings]
            written += page.save(figure, folder / "ratio", pd.concat(rows))
    return gather(written)
