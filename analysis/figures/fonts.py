"""A small copy of the figures' font, made once: embedding the whole one costs more than drawing the figure.

matplotlib subsets its 700 kB font anew for each PDF. From a copy with the few hundred glyphs that figures use, that
takes a tenth of the time, and the embedded result is the same. Without fontTools, or a cache folder, nothing changes.
"""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib

FAMILY = "Var Scaling Sans"
FACES = {"DejaVuSans.ttf": "Regular", "DejaVuSans-Oblique.ttf": "Oblique"}
GLYPHS = [
    *range(0x20, 0x17F),
    *range(0x370, 0x3FF),
    *range(0x2010, 0x2030),
    *range(0x2070, 0x209C),
    0x2212,
    0x221D,
    0x221E,
]
GLYPHS += [0x00D7, 0x2032, 0x2192, 0x2248, 0x2264, 0x2265]


def small_font() -> dict[str, object]:
    """RcParams that use the small copy; empty where it could not be made."""
    try:
        folder = Path(matplotlib.get_cachedir()) / f"var-scaling-{matplotlib.__version__}"
        files = [_copy(folder, name, style) for name, style in FACES.items()]
    except (ImportError, OSError):
        return {}
    from matplotlib import font_manager

    known = {entry.fname for entry in font_manager.fontManager.ttflist if entry.name == FAMILY}
    for file in files:
        if str(file) not in known:
            font_manager.fontManager.addfont(file)
    maths = {f"mathtext.{face}": FAMILY for face in ("rm", "sf", "tt", "cal", "bf")}
    maths |= {f"mathtext.{face}": f"{FAMILY}:italic" for face in ("it", "bfit")}
    return {"font.sans-serif": [FAMILY, "DejaVu Sans"], "mathtext.fontset": "custom", **maths}


def _copy(folder: Path, name: str, style: str) -> Path:
    target = folder / name.replace("DejaVu", "Small")
    if target.exists():
        return target
    from fontTools import subset, ttLib

    source = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    options = subset.Options(layout_features=[], glyph_names=False, hinting=False, name_IDs=[1, 2, 4, 6])
    options.drop_tables += ["FFTM"]
    font = ttLib.TTFont(source)
    worker = subset.Subsetter(options)
    worker.populate(unicodes=GLYPHS)
    worker.subset(font)
    for record in font["name"].names:  # its licence asks that a changed font has a name of its own
        text = {1: FAMILY, 2: style, 4: f"{FAMILY} {style}", 6: f"{FAMILY.replace(' ', '')}-{style}"}[record.nameID]
        record.string = text.encode(record.getEncoding())
    folder.mkdir(parents=True, exist_ok=True)
    beside = target.with_suffix(f".{os.getpid()}")
    font.save(beside)
    os.replace(beside, target)
    return target
