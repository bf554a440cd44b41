"""What tracking costs a training step, and how fast the mirror catches up.

    python -m benchmarks.mirror_overhead                      # about half a minute

A training process only appends to its journal; the mirror is another process, so a tracker that is down or slow costs a
step nothing. Prints microseconds a journal line and its share of the steps between two lines (1,280 images of d2 at
2,500 images a second), and points a second from journals to a sqlite store.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from var_scaling.runs.journal import Journal
from var_scaling.tracking.connect import prepare
from var_scaling.tracking.mirror import Mirror

LINE_SECONDS = 1_280 / 2_500
FIELDS = {
    f"train/{name}": 1.2345678901 for name in ("loss", "gradient_norm", "learning_rate", "images_per_second", "mfu")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--lines", type=int, default=500)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        listed = []
        start, lines = time.perf_counter(), 0
        for trial in range(asked.trials):
            folder = root / "runs" / "trials" / f"var-d2-s{trial}"
            journal = Journal(folder / "attempts" / "000" / "journal.jsonl")
            for line in range(asked.lines):
                journal.write(phase="trunk", images=1_280 * (line + 1), **FIELDS)
                lines += 1
            journal.write(event="checkpoint", phase="trunk", images=1_280 * asked.lines)
            (folder / "identity.json").write_text(json.dumps({"kind": "trial", "seed": trial}), encoding="utf-8")
            listed.append({"trial": f"t{trial}", "folder": folder.name, "budgets": [{"asked": 1, "images": 1}]})
        each = (time.perf_counter() - start) / lines
        print(f"a journal line: {1e6 * each:.1f} us, {each / LINE_SECONDS:.4%} of the steps between two lines")
        sweep = root / "runs" / "sweeps" / "s"
        (sweep / "launches" / "000").mkdir(parents=True)
        (sweep / "study.json").write_text(json.dumps({"trials": listed}), encoding="utf-8")
        (sweep / "launches" / "000" / "launch.json").write_text(
            json.dumps({"launched": 1.7e9, "jobs": []}), encoding="utf-8"
        )
        uri = f"sqlite:///{root / 'mlflow.db'}"
        start = time.perf_counter()
        prepare(uri, "s")
        print(f"new store: {time.perf_counter() - start:.1f} s")
        mirror = Mirror(root / "runs", "s", uri)
        start = time.perf_counter()
        sent = mirror.sync()
        seconds = time.perf_counter() - start
        print(f"caught up: {sent:,} points in {seconds:.1f} s, {sent / seconds:,.0f} points/s")
        start = time.perf_counter()
        mirror.sync()
        print(f"a round with nothing new, {asked.trials} trials: {1e3 * (time.perf_counter() - start):.0f} ms")


if __name__ == "__main__":
    main()
