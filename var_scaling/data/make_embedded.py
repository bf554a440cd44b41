"""Makes the embedded image set from Debian's `dataset-fashion-mnist` files (or Zalando's own, the same four names).

    python -m var_scaling.data.make_embedded [FOLDER]      # default: Debian's folder

Training: the first 2,000 images of each class among the 60,000; validation: the first 500 of each among the 10,000
test images. Rows are written rank by rank (one image of each class, class 0 to 9, then the next of each), so that any
prefix of a multiple of ten rows is class-balanced and `unique_images` is a prefix. `images.by_rank` orders the full set
alike: the embedded rows are the first rows of `fashion-mnist`.
"""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
EMBEDDED_FILE = Path(__file__).parent / "embedded" / "fashion-mnist-mini.npz"


def read_idx(path: Path) -> np.ndarray:
    """Reads one IDX file of unsigned bytes (LeCun's format), gzipped or not."""
    raw = path.read_bytes()
    data = gzip.decompress(raw) if path.suffix == ".gz" else raw
    zeros, kind, axes = struct.unpack(">HBB", data[:4])
    if zeros != 0 or kind != 8:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes (magic {data[:4].hex()})")
    shape = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def first_by_rank(labels: np.ndarray, classes: int, each: int) -> np.ndarray:
    """Row numbers of the first `each` images of every class, interleaved: rank 0 of all classes, then rank 1, ..."""
    rows = np.stack([np.flatnonzero(labels == c)[:each] for c in range(classes)], axis=1)
    return rows.reshape(-1)


def make(folder: Path, out: Path) -> None:
    """Writes the set; the same input gives the same arrays, and the same bytes under one version of liblzma."""
    arrays = {}
    for split, stem, each in (("train", "train", 2000), ("validation", "t10k", 500)):
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
        rows = first_by_rank(labels, 10, each)
        arrays[split] = images[rows]
        arrays[f"{split}_labels"] = labels[rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    # LZMA saves 1.6 MB over deflate and costs 0.4 s more to read; np.load reads either.
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), compress_type=zipfile.ZIP_LZMA)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else DEBIAN_FOLDER, EMBEDDED_FILE)
    print(f"{EMBEDDED_FILE}: {EMBEDDED_FILE.stat().st_size:,} bytes")
