"""What content identity of an image folder costs: `python benchmarks/image_manifest.py [--files 100000] [--at FOLDER]`.

Makes a folder of small JPEG files (hard work for a file system, little for a disk), and prints seconds and how many
were read: the first time, when nothing has changed, and when 100 files have. The cost of bytes is that of reading them
once (`--kilobytes` makes larger files).
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from var_scaling.config import image_manifest
from var_scaling.config.image_manifest import Manifests


def make(folder: Path, files: int, kilobytes: int) -> None:
    """`files` pictures in 100 classes, each of other bytes: one JPEG, with its number and filling after its end."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(buffer, "JPEG")
    filling = b"\0" * max(kilobytes * 1000 - len(buffer.getvalue()), 0)
    for number in range(files):
        split = "val" if number % 20 == 0 else "train"
        place = folder / split / f"class{number // 20 % 100:03d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:07d}.jpg").write_bytes(buffer.getvalue() + filling + str(number).encode())


def measure(name: str, folder: Path, store: Path, build: bool) -> None:
    read = []
    original = Path.read_bytes
    Path.read_bytes = lambda path: read.append(path.suffix == ".jpg") or original(path)  # type: ignore[method-assign]
    start, cpu = time.perf_counter(), time.process_time()
    version = Manifests(store, build=build).of(folder).version
    wall, busy = time.perf_counter() - start, time.process_time() - cpu
    Path.read_bytes = original  # type: ignore[method-assign]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{name:<34}{wall:7.2f} s wall {busy:7.2f} s CPU {sum(read):>8,} files read  {peak:5.0f} MB  {version}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--kilobytes", type=int, default=0)
    parser.add_argument("--at", type=Path, default=None, help="where to make the folder, e.g. a network file system")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=args.at))
    try:
        folder, store = root / "pictures", root / "store"
        make(folder, args.files, args.kilobytes)
        time.sleep(image_manifest.SETTLED_NS / 1e9 + 0.1)  # a file of the last moment is read again, to be safe
        measure("plan, nothing known", folder, store, build=False)
        measure("launch, first time", folder, store, build=True)
        measure("launch, nothing changed", folder, store, build=True)
        measure("plan, nothing changed", folder, store, build=False)
        for path in sorted(folder.glob("train/*/*.jpg"))[:100]:
            path.write_bytes(path.read_bytes() + b"changed")
        measure("plan, 100 files changed", folder, store, build=False)
        measure("launch, 100 files changed", folder, store, build=True)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
