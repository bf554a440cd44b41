"""The real worker with a fault planted in its training step: `faulty_worker.py FOLDER RANK STEP KIND`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from var_scaling import worker
from var_scaling.runs import ranks
from var_scaling.training import leg, lender

FAULTS = {
    "memory": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "code": lambda: ValueError("planted"),
}


def main(folder: str, rank: str, step: str, kind: str) -> int:
    real, calls = leg.train_step, [0]

    def planted(*args, **options):
        calls[0] += 1
        if ranks.this_rank() == int(rank) and calls[0] == int(step):
            raise FAULTS[kind]()
        return real(*args, **options)

    leg.train_step = lender.train_step = planted
    return worker.main(Path(folder))


if __name__ == "__main__":
    worker.leave(main(*sys.argv[1:]))
