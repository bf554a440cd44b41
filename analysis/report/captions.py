"""Captions of figures for paper: as text for people, and as LaTeX that places each figure at its printed width."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from analysis.figures.page import CAPTION_FILE
from analysis.report.latex import tex

TEXT_WIDTH = 6.0  # inches; wider figures span the columns of a page


def gather(paths: Sequence[Path]) -> list[Path]:
    """The files written, with the captions that figures left beside them gathered in caption.txt and figures.tex."""
    left = [path for path in paths if path.name.endswith(CAPTION_FILE)]
    if not left:
        return list(paths)
    found = {path.name.removesuffix(CAPTION_FILE): json.loads(path.read_text(encoding="utf-8")) for path in left}
    for path in left:
        path.unlink()
    folder = left[0].parent
    words = [f"{name} ({entry['width']:g} in)\n{entry['caption']}\n" for name, entry in found.items()]
    (folder / "caption.txt").write_text("\n".join(words), encoding="utf-8")
    (folder / "figures.tex").write_text(
        r"% \usepackage{graphicx}; each figure at the width that it was drawn for" + "\n"
        r"% \graphicspath{{" + folder.name + "/}}\n\n" + "\n".join(_environment(*item) for item in found.items()),
        encoding="utf-8",
    )
    return [*(path for path in paths if path not in left), folder / "caption.txt", folder / "figures.tex"]


def _environment(name: str, entry: dict) -> str:
    figure = "figure*" if entry["width"] > TEXT_WIDTH else "figure"
    return "\n".join(
        (
            rf"\begin{{{figure}}}[t]",
            r"  \centering",
            rf"  \includegraphics[width={entry['width']:g}in]{{{name}.pdf}}",
            rf"  \caption{{{tex(entry['caption'])}}}",
            rf"  \label{{fig:{name.replace('_', '-')}}}",
            rf"\end{{{figure}}}",
            "",
        )
    )
