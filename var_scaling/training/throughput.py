"""Peak arithmetic of the device at hand, the denominator of MFU."""

from __future__ import annotations

import time

import torch

from var_scaling.planning import devices


def peak_flops(device: torch.device, precision: str) -> float:
    """FLOP/s that a dense matrix product can reach: from the data sheet, or measured where there is none (CPU).

    A measured peak belongs to the threads in use and to the load of the moment, so a CPU's MFU is a rough figure.
    """
    if device.type == "cuda" and (known := devices.peak(torch.cuda.get_device_name(device), precision)) is not None:
        return known
    size = 4096 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        begin = time.perf_counter()
        _ = matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return float(2 * size**3 / best)
