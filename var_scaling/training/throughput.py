"""Peak arithmetic of a device, the denominator of MFU."""

from __future__ import annotations

import time

import torch

# Dense peaks without sparsity, FLOP/s, from NVIDIA's data sheets; float32 counts TF32 tensor cores.
_GPUS = {
    "H200": {"bfloat16": 989e12, "float32": 495e12},
    "H100": {"bfloat16": 989e12, "float32": 495e12},
    "A100": {"bfloat16": 312e12, "float32": 156e12},
}


def peak_flops(device: torch.device, precision: str) -> float:
    """FLOP/s that a dense matrix product can reach: from the data sheet, or measured where there is none (CPU).

    A measured peak belongs to the threads in use and to the load of the moment, so a CPU's MFU is a rough figure.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, peaks in _GPUS.items():
            if known in name:
                return peaks[precision]
    size = 4096 if device.type == "cuda" else 512
    matrix = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
    best = float("inf")
    for _ in range(4):
        begin = time.perf_counter()
        _ = matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return float(2 * size**3 / best)
