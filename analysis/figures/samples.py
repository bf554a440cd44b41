"""Samples over size and budget, the form of the paper's Figure 7: the same seeds and classes in every cell."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figures import page
from analysis.figures.measured import CORRECTED, interval_columns
from analysis.figures.style import current
from analysis.rows import folders
from analysis.rows.checks import spread
from analysis.rows.counting import amount
from analysis.rows.words import carried
from analysis.study.record import StudyLaws

SMALLEST, GAP = 64, 2  # tiles are enlarged to so many pixels, by a whole factor; gaps of a picture before that
MOST_SIZES, MOST_BUDGETS, MOST_CLASSES, MOST_ROWS = 5, 4, 5, 3
CAPTION = 0.42  # inches that a caption inside takes
SIDE = 0.32  # inches beside and below the cells: names of budgets; sizes above and two lines below each cell


def sample_cells(study: StudyLaws) -> pd.DataFrame:
    """One line a size and budget whose picture is there: params, depth, budget, flops, fid, low, high, picture.

    Of several seeds the first; sizes and budgets beyond what a page holds are an even choice.
    """
    columns, trials = study.columns, folders.trials_around(Path(study.source))
    if trials is None or columns.params is None or columns.budget is None or "folder" not in study.rows:
        return pd.DataFrame()
    rows = study.rows.sort_values("seed") if "seed" in study.rows else study.rows
    rows = rows.drop_duplicates([columns.params, columns.budget])
    fid = next((target for target in columns.targets if target.startswith(CORRECTED)), None)
    ends = None if fid is None else interval_columns(rows, fid)
    lines = []
    for row in rows.to_dict("records"):
        spent = int(row["images_seen"]) if "images_seen" in row else int(row[columns.budget])
        place = folders.picture(trials / row["folder"], spent)
        if not place.is_file():
            continue
        line = {"params": row[columns.params], "depth": row.get("depth"), "budget": row[columns.budget]}
        line |= {"flops": row[columns.compute], "fid": row[fid] if fid else np.nan}
        line |= dict(zip(("low", "high"), (row[end] for end in ends) if ends else (np.nan, np.nan), strict=True))
        lines.append(line | {"picture": str(place.relative_to(trials.parent))})
    table = pd.DataFrame(lines)
    for column, most in (("params", MOST_SIZES), ("budget", MOST_BUDGETS)) if lines else ():
        values = np.sort(table[column].unique())
        table = table[table[column].isin(values[spread(len(values), most)])]
    return table.sort_values(["budget", "params"], ignore_index=True) if lines else table


def tiles(picture: NDArray, height: int) -> NDArray:
    """The samples of a grid: (rows, columns, side, side) or with channels at the end.

    Args:
        picture: (height, width[, channels]) as it lies beside a row: names above, a column a class.
        height: of a sample in pixels, before it was enlarged.
    """
    factor = max(1, SMALLEST // height)
    side, pitch = height * factor, (height + GAP) * factor
    down, across = ((length + GAP * factor) // pitch for length in picture.shape[:2])
    top = picture.shape[0] - (down * pitch - GAP * factor)  # the line of names
    return np.stack(
        [
            np.stack([picture[top + r * pitch :][:side, c * pitch :][:, :side] for c in range(across)])
            for r in range(down)
        ]
    )


def mosaic(found: NDArray, rows: int, columns: int, gap: int = 2) -> NDArray:
    """An even choice of the columns of tiles, and their first rows, as one picture on white."""
    found = found[:rows, spread(found.shape[1], columns)]
    padded = np.pad(found, ((0, 0), (0, 0), (0, gap), (0, gap), *((0, 0),) * (found.ndim - 4)), constant_values=1.0)
    down, across, high, wide = padded.shape[:4]
    whole = padded.swapaxes(1, 2).reshape(down * high, across * wide, *padded.shape[4:])
    return whole[:-gap, :-gap]


def draw_samples(table: pd.DataFrame, study: StudyLaws) -> Figure:
    """A cell a size (to the right) and budget (down): a few classes, a few seeds, with FLOPs and FID below.

    Args:
        table: of :func:`sample_cells`.
        study: whose pictures they are.
    """
    root = folders.trials_around(Path(study.source)).parent
    sizes, budgets = np.sort(table["params"].unique()), np.sort(table["budget"].unique())
    pictures = [_read(root / picture) for picture in table["picture"]]
    shape = pictures[0].shape
    small, wide = current().small, (page.WIDE - SIDE) / len(sizes)
    figure, grid = plt.subplots(
        len(budgets),
        len(sizes),
        squeeze=False,
        figsize=(
            page.WIDE,
            len(budgets) * (wide * shape[0] / shape[1] + 2.8 * small / 72)
            + SIDE
            + (CAPTION if current().caption_inside else 0.0),
        ),
    )
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
    for line, picture in zip(table.itertuples(), pictures, strict=True):
        row, column = int(np.searchsorted(budgets, line.budget)), int(np.searchsorted(sizes, line.params))
        ax = grid[row, column]
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="none")
        ax.set_xlabel(_words(line), fontsize=small)
        if row == 0:
            name = f"{page.short_number(line.params)} parameters"
            ax.set_title(name if line.depth is None else f"d{line.depth:g} · {name}", fontsize=small, loc="center")
    for row, budget in enumerate(budgets):
        grid[row, 0].set_ylabel(amount(study.columns.budget, page.short_number(budget)))
    return figure


def _words(line) -> str:
    text = f"{page.scientific(line.flops)} FLOPs"
    if not np.isfinite(line.fid):
        return text
    value, low, high = carried(line.fid, line.low, line.high)
    return f"{text}\nFID {value}" + (f" [{low}, {high}]" if np.isfinite([line.low, line.high]).all() else "")


def _read(picture: Path) -> NDArray:
    config = folders.identity(picture.parents[2])
    return mosaic(tiles(plt.imread(picture), int(config["data"]["resolution"])), MOST_ROWS, MOST_CLASSES)
