"""Two one-thread trials side by side against one trial with two threads: images a second in all.

    python -m benchmarks.threads --depths 2 4 6

The local launcher gives each worker one core because of this figure. Steps on random tokens, so nothing is needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

STEP = """
import sys, time, torch
depth, threads, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(threads)
from benchmarks.steps import make_stepper
step, images = make_stepper(depth)
for _ in range(3):
    step()
begin, done = time.perf_counter(), 0
while time.perf_counter() - begin < seconds:
    step()
    done += images
print(done / (time.perf_counter() - begin))
"""


def rate(depth: int, workers: int, threads: int, seconds: float) -> float:
    """Images a second of all workers together."""
    command = [sys.executable, "-c", STEP, str(depth), str(threads), str(seconds)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace") for _ in range(workers)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for depth in options.depths:
        pairs = [
            (rate(depth, 2, 1, options.seconds), rate(depth, 1, 2, options.seconds)) for _ in range(options.rounds)
        ]
        two, one = max(p[0] for p in pairs), max(p[1] for p in pairs)
        print(f"d{depth}: 2 x 1 thread {two:,.0f} img/s, 1 x 2 threads {one:,.0f} img/s: {two / one - 1:+.0%}")


if __name__ == "__main__":
    main()
