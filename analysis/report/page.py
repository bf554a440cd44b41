"""A study as one HTML page that needs nothing else: no network, no second file, below five megabytes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.rows import folders
from analysis.rows.counting import counted
from analysis.rows.words import number, percent, target_words

MOST_BYTES = 5_000_000
MOST_VECTOR = 2_300_000  # bytes of SVG; figures beyond are pixels, which are smaller
MOST_OF_ONE = 400_000  # an SVG that holds pictures
MOST_SAMPLES = 40
SAMPLE_WIDTH, RECONSTRUCTION_WIDTH = 520, 1000  # pixels
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Laws", ("loss_params", "loss_compute", "fid", "error", "row", "loss", "scales", "isoflop", "repeats")),
    ("Learning curves", ("envelope", "trajectories", "collapse")),
    ("How far to trust them", ("backtest", "residuals", "profile", "sensitivity")),
    ("Plans", ("allocation",)),
)
ELSEWHERE = ("samples",)  # which the page shows larger


@dataclass(frozen=True)
class Reconstruction:
    """How well a tokenizer gives its images back.

    Attributes:
        name: of the tokenizer.
        numbers: heading and value, in words.
        scales: of each scale the share of codes in use and their perplexity, as text.
        picture: originals beside their reconstructions.
    """

    name: str
    numbers: Mapping[str, str]
    scales: Sequence[tuple[str, str, str]] = ()
    picture: Path | None = None


@dataclass(frozen=True)
class About:
    """What the page says of a study beside its laws; gathered by whoever knows our run folders.

    Attributes:
        name: of the study.
        description: in a sentence, or empty.
        launched: when, or empty.
        look: what is wrong with the work behind the rows, in sentences.
        missing: budgets that have no row, with the reason.
        settings: the study file, as text.
        versions: what it was run with.
        reconstructions: one a tokenizer.
        citation: how to cite the software, as BibTeX.
        trials: the folder of trials, for their samples.
    """

    name: str
    description: str = ""
    launched: str = ""
    look: Sequence[str] = ()
    missing: Sequence[str] = ()
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    reconstructions: Sequence[Reconstruction] = ()
    citation: str = ""
    trials: Path | None = None


def write_page(about: About, places: Mapping[str, Path], file: Path) -> Path:
    """Write the page of what `fit-laws` left.

    Args:
        about: what else there is to say.
        places: by family (one empty name, where a study has one) the folder with laws.json, rows.csv and figures.
        file: where to write.

    Returns:
        `file`.
    """
    import jinja2

    left, parts = MOST_VECTOR, []
    for name, folder in places.items():
        figures, left = _figures(folder, left)
        laws = json.loads((folder / "laws.json").read_text(encoding="utf-8"))
        rows = pd.read_csv(folder / "rows.csv")
        parts.append({"name": name, "answer": _answer(laws), "notes": _notes(laws), "figures": figures} | _rows(rows))
        parts[-1]["samples"] = _samples(rows, about.trials)
        parts[-1]["csv"] = _data((folder / "rows.csv").read_bytes(), "text/csv")
        parts[-1]["json"] = _data((folder / "laws.json").read_bytes(), "application/json")
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pictured = [(each, _pixels(each.picture, RECONSTRUCTION_WIDTH)) for each in about.reconstructions]
    text = environment.get_template("page.html.j2").render(about=about, parts=parts, reconstructions=pictured)
    beside = file.with_suffix(".tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)
    return file


def _answer(laws: Mapping[str, Any]) -> dict[str, Any]:
    """The first answer with its numbers as text; tables by target."""
    answer = laws["answer"]
    told = []
    for each in answer["told"]:
        test = each["hidden"]
        cells = {name: number(test[name]) for name in ("predicted", "low", "high", "measured")} if test else {}
        cells |= {"error": percent(test["error"]) + " %", "inside": test["inside"]} if test else {}
        told.append(
            {"name": each["name"], "law": each["law"] or "refused", "target": each["target"], "test": cells}
            | {"exponents": [column.get(each["target"], "") for column in answer["exponents"].values()]}
        )
    return {**answer, "told": told, "headings": list(answer["exponents"])}


def _notes(laws: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Notes and refusals by code, each sentence once with what it is about."""
    found: dict[str, dict[str, list[str]]] = {}
    for note in laws["notes"]:
        found.setdefault(note["code"], {}).setdefault(note["sentence"], []).append("the rows")
    for law in laws["laws"]:
        if law["refused"]:
            refused = found.setdefault(f"refused, {law['refused']['code']}", {})
            refused.setdefault(law["refused"]["sentence"], []).append(law["name"])
        for note in law.get("notes", []):
            found.setdefault(note["code"], {}).setdefault(note["sentence"], []).append(law["name"])
    return [
        (code.replace("_", " "), [(sentence, _listed(list(dict.fromkeys(names)))) for sentence, names in said.items()])
        for code, said in found.items()
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return "; ".join(names[:2]) + more


def _figures(folder: Path, left: int) -> tuple[list[tuple[str, list[dict[str, str]]]], int]:
    """By group each figure as a data address, with the rows behind it; and how many bytes of SVG are left."""
    stems = sorted(path.stem for path in folder.glob("*.png") if path.stem not in ELSEWHERE)
    found: dict[str, list[tuple[int, str]]] = {title: [] for title, _ in GROUPS}
    for stem in stems:
        title, place = next(
            ((title, k) for title, names in GROUPS for k, name in enumerate(names) if stem.startswith(name)),
            (GROUPS[0][0], len(GROUPS[0][1])),
        )
        found[title].append((place, stem))
    groups = []
    for title, members in found.items():
        drawn = []
        for _, stem in sorted(members):
            source, spent = _drawing(folder / stem, left)
            left -= spent
            rows = folder / f"{stem}.csv"
            csv = _data(rows.read_bytes(), "text/csv") if rows.is_file() else ""
            drawn.append({"name": stem, "words": stem.replace("_", " "), "source": source, "csv": csv})
        if drawn:
            groups.append((title, drawn))
    return groups, left


def _drawing(stem: Path, left: int) -> tuple[str, int]:
    vector = stem.with_suffix(".svg")
    size = vector.stat().st_size if vector.is_file() else left + 1
    if size <= min(left, MOST_OF_ONE):
        return _data(vector.read_bytes(), "image/svg+xml"), size
    return _pixels(stem.with_suffix(".png"), 1400), 0


def _pixels(file: Path | None, width: int) -> str:
    """A picture as WebP, no wider than `width`; empty where there is none."""
    from PIL import Image

    if file is None or not file.is_file():
        return ""
    with Image.open(file) as picture:
        shown = picture.convert("RGB")
        if shown.width > width:
            shown = shown.resize((width, round(shown.height * width / shown.width)), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        shown.save(buffer, "WEBP", quality=82)
    return _data(buffer.getvalue(), "image/webp")


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


PLAIN_COLUMNS = ("variant", "family", "depth", "seed", "params_total", "images_seen", "train_flops")


def _rows(rows: pd.DataFrame) -> dict[str, Any]:
    """The table of rows: headings, and of each cell its text and what it is sorted by."""
    fids = [name for name in rows if name.startswith("fid_corrected_")]
    losses = [name for name in rows if name.startswith(("loss_", "error_")) and "_scale_" not in name]
    heads = {"params_total": "parameters", "images_seen": "images", "train_flops": "FLOPs", "seconds": "seconds"}
    columns = [
        *(name for name in PLAIN_COLUMNS if name in rows),
        *losses,
        *fids,
        *(["seconds"] if "seconds" in rows else []),
    ]
    lines = []
    for row in rows.to_dict("records"):
        cells = []
        for name in columns:
            value = row[name]
            if isinstance(value, str):
                cells.append((value, value))
            elif value != value:
                cells.append(("", ""))
            else:
                cells.append((_cell(name, value, row), repr(float(value))))
        lines.append(cells)
    return {"columns": [heads.get(name, target_words(name)) for name in columns], "lines": lines}


def _cell(name: str, value: float, row: Mapping[str, Any]) -> str:
    if name.startswith("fid_corrected_"):
        label = name.removeprefix("fid_corrected_")
        low, high = row.get(f"fid_low_{label}"), row.get(f"fid_high_{label}")
        interval = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None and low == low else ""
        return f"{value:.2f}{interval}"
    if name.startswith(("loss_", "error_")):
        return f"{value:.4f}"
    return f"{value:.3e}" if value >= 1e10 else counted(value)


def _samples(rows: pd.DataFrame, trials: Path | None) -> dict[str, Any]:
    """Samples over depth (or size) and budget, of the first seed: FLOPs and FID under each."""
    if trials is None or "folder" not in rows or "images_seen" not in rows:
        return {}
    size = "depth" if "depth" in rows else "params_total"
    fid = next((name for name in rows if name.startswith("fid_corrected_")), None)
    first = rows.sort_values("seed") if "seed" in rows else rows
    first = first.drop_duplicates([size, "images_seen"])
    found: dict[float, dict[float, dict[str, str]]] = {}
    for row in first.head(MOST_SAMPLES).to_dict("records"):
        picture = _pixels(folders.picture(trials / str(row["folder"]), int(row["images_seen"])), SAMPLE_WIDTH)
        if picture:
            words = f"{row['train_flops']:.2g} FLOPs" if "train_flops" in row else ""
            if fid and row[fid] == row[fid]:
                words += f", FID {_cell(fid, row[fid], row)}"
            found.setdefault(row["images_seen"], {})[row[size]] = {"source": picture, "words": words}
    sizes = sorted({each for cells in found.values() for each in cells})
    lines = [(counted(budget), [cells.get(each) for each in sizes]) for budget, cells in sorted(found.items())]
    return (
        {"size": size.removesuffix("_total"), "sizes": [counted(each) for each in sizes], "lines": lines}
        if lines
        else {}
    )
