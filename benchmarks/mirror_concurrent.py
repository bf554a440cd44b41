"""Sixteen trials that write at the same time, mirrored to one MLflow server and to one sqlite file.

    python -m benchmarks.mirror_concurrent                    # about a minute; --trials, --lines, --pause

Prints for each store how many points the journals hold, how many of them the store lacks or holds otherwise (0 and 0),
how many runs it has (one for each trial and one for the launch), and how long the mirror needed after the last line.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.support.tracker import Server, Sweep, free_port
from tests.support.writers import mirrored
from var_scaling.tracking.connect import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--lines", type=int, default=1_000, help="of each trial, three metrics a line")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between lines")
    asked = parser.parse_args()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for kind in ("sqlite file", "server"):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            database = root / "mlflow.db"
            os.chdir(root)
            prepare(f"sqlite:///{database}", "depth")
            sweep = Sweep(root, depths=range(2, 2 + asked.trials))
            server = Server(database, free_port()) if kind == "server" else None
            uri = server.address if server else f"sqlite:///{database}"
            try:
                found = mirrored(sweep, uri, database, asked.lines, asked.pause, env)
            finally:
                if server:
                    server.kill()
            print(
                f"{kind}: {asked.trials} trials, {found.points:,} points in {found.write_seconds:.0f} s; lost "
                f"{found.lost}, wrong {found.wrong}; {found.runs} runs; done {found.late_seconds:.1f} s after the last"
            )


if __name__ == "__main__":
    main()
