"""`labels.csv` of an image folder: a header, then a row for each picture.

    file,label,split
    scans/0001.png,leaf,train
    scans/0002.png,petal,val

The columns may have other usual names and any order, more columns do no harm, and `split` may be missing.
"""

from __future__ import annotations

import csv
import posixpath
from pathlib import Path

from var_scaling.config.image_names import shown
from var_scaling.errors import EnvironmentProblem

LABELS_FILE = "labels.csv"
COLUMNS = {
    "file": ("file", "filename", "file_name", "filepath", "path", "image", "image_path"),
    "label": ("label", "labels", "class", "class_name", "category", "target"),
    "split": ("split", "set", "subset"),
}


def read_labels(path: Path) -> tuple[dict[str, tuple[str, str]], bool]:
    """What each picture is.

    Args:
        path: the file.

    Returns:
        Label and split ("" where the file has no such column) by the picture's path below the folder, and whether it
        has such a column.

    Raises:
        EnvironmentProblem: no such columns, a row without a file or a label, or one file with two labels.
    """
    place = shown(path)
    found: dict[str, tuple[str, str]] = {}
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            where = {
                column: next((i for i, name in enumerate(header) if name in names), None)
                for column, names in COLUMNS.items()
            }
            if where["file"] is None or where["label"] is None:
                raise EnvironmentProblem(
                    f"{place} needs a header with a column `file` and a column `label` (and may have `split`), "
                    f"separated by commas; its first line is `{shown(','.join(header)[:100])}`"
                )
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                cells = {c: row[i].strip() if i is not None and i < len(row) else "" for c, i in where.items()}
                name = posixpath.normpath(cells["file"].replace("\\", "/")) if cells["file"] else ""
                if not name or not cells["label"] or min(cells["label"]) < " ":
                    raise EnvironmentProblem(
                        f"{place}, line {rows.line_num}: a row needs a file and a label of one line, and has "
                        f"{','.join(row)[:100]!r}"
                    )
                told = (cells["label"], cells["split"])
                if found.setdefault(name, told) != told:
                    raise EnvironmentProblem(
                        f"{place}, line {rows.line_num}: {shown(name)} is both {shown(' '.join(found[name]).strip())} "
                        f"and {shown(' '.join(told).strip())}; a picture has one label"
                    )
    except csv.Error as error:
        raise EnvironmentProblem(f"{place} is no table: {error}") from None
    return found, where["split"] is not None
