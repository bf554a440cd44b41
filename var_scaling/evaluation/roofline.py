"""The least time that a machine could need for a piece of work: its own matrix and memory rates, and every product.

Two rates are measured here and now: of a large matrix product, and of reading a buffer as large as the model's weights
(a small model is read from a cache, and is held to the cache's rate). The products of a run are seen as torch
dispatches them, so that any family, any tokenizer and any sampler has its bound without saying a word of itself.

A product needs the larger of FLOPs over the matrix rate and bytes over the memory rate. Bytes are those of weights and
of attention's keys and values; what flows between products is taken to stay in a cache, and all that is no product
(norms, activations, draws, Python) to be free. So it is a bound from below, and no run reaches it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

GEMM_SIDES = (512, 1024, 2048)  # of the products that are tried; a card is asked for larger ones too
CARD_SIDES = (4096, 8192)
FEWEST_BYTES = 1 << 20  # of the buffer whose reading is timed
SMALLEST_READ = 16 << 20
RUNS = 7


@dataclass(frozen=True)
class Rates:
    """What a device can do, measured."""

    flops: float  # a second, of the fastest square product tried
    read_bytes: float  # a second, from a buffer of `buffer_bytes`
    buffer_bytes: int


@dataclass(frozen=True)
class Clock:
    """Seconds of this process: its CPU time where it works on one core alone, so that a busy machine shows least."""

    device: torch.device
    threads: int

    @property
    def name(self) -> str:
        return "CPU seconds" if self.device.type == "cpu" and self.threads == 1 else "wall seconds"

    def read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.name == "CPU seconds" else time.perf_counter()

    def least(self, action: Callable[[], object], runs: int, most_seconds: float = float("inf")) -> float:
        """The least of several runs; no further run begins once `most_seconds` are spent."""
        best, spent = float("inf"), 0.0
        for _ in range(runs):
            begin = self.read()
            action()
            seconds = self.read() - begin
            best, spent = min(best, seconds), spent + seconds
            if spent + seconds > most_seconds:
                break
        return best


@torch.no_grad()
def matrix_rate(clock: Clock, runs: int = RUNS, sides: tuple[int, ...] = ()) -> float:
    """FLOP/s of the fastest square float32 product tried, as torch is set (tf32 where that is allowed)."""
    rate = 0.0
    for side in sides or (GEMM_SIDES + (CARD_SIDES if clock.device.type == "cuda" else ())):
        a, b = torch.randn(2, side, side, device=clock.device)
        rate = max(rate, 2 * side**3 / clock.least(lambda a=a, b=b: a @ b, runs, most_seconds=5.0))  # type: ignore[misc]
    return rate


@torch.no_grad()
def measure_rates(clock: Clock, weight_bytes: int, matrix: float, runs: int = RUNS) -> Rates:
    """This device's rates for a model.

    Args:
        clock: of the device.
        weight_bytes: of the model, which a pass reads once.
        matrix: see `matrix_rate`.
        runs: of which the fastest counts.
    """
    numbers = max(weight_bytes, FEWEST_BYTES) // 4
    buffer = torch.ones(numbers, device=clock.device)
    goes = max(1, SMALLEST_READ // (4 * numbers))  # a small buffer is read again and again: no clock is that fine

    def summed() -> None:
        for _ in range(goes):
            buffer.sum()

    return Rates(matrix, 4 * numbers * goes / clock.least(summed, runs), 4 * numbers)


class Products(TorchDispatchMode):
    """Sees every matrix product, convolution and attention of what runs within it.

    Attributes:
        flops: of all products.
        bytes: of the weights, keys and values that they read.
        bound: seconds that they need at least; without rates, 0.
        inside: seconds spent in them, on a CPU; 0 on a GPU, which works on its own.
    """

    def __init__(self, weights: Iterable[Tensor], rates: Rates | None, clock: Clock) -> None:
        super().__init__()
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.rates, self.clock = rates, clock
        self.flops, self.bytes, self.bound, self.inside = 0, 0, 0.0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        attention = "scaled_dot_product" in str(packet)
        if not attention and packet not in flop_registry:
            return func(*args, **kwargs)
        on_cpu = self.clock.device.type == "cpu"
        begin = self.clock.read() if on_cpu else 0.0
        out = func(*args, **kwargs)
        self.inside += self.clock.read() - begin if on_cpu else 0.0
        if attention:
            flops = sdpa_flop_count(*(part.shape for part in args[:3]))
            read = sum(_bytes(part) for part in args[1:3])
        else:
            flops = int(flop_registry[packet](*args, **kwargs, out_val=out))
            operands = [part for part in args if isinstance(part, Tensor)]
            read = sum(_bytes(part) for part in operands if part.untyped_storage().data_ptr() in self.weights)
        self.flops, self.bytes = self.flops + flops, self.bytes + read
        if self.rates is not None:
            self.bound += max(flops / self.rates.flops, read / self.rates.read_bytes)
        return out


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
