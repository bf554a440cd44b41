"""Addressed randomness: every draw is a pure function of (seed, stream, counter).

Nothing is consumed, so that order, views, label drops and drop path are the same whatever the micro-batch, the rank,
the number of workers or the number of attempts, and a resumed run needs no generator state. The mixer is the
finaliser of splitmix64 (Steele, Lea and Flood 2014), applied to each key in turn; it is fixed for ever, because the
trial ids promise the numbers that follow from it.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def bits(seed: int, stream: str, *counters: NDArray[np.int64] | int) -> NDArray[np.uint64]:
    """64 random bits for every element of the broadcast counters; `stream` names the purpose of the draw."""
    with np.errstate(over="ignore"):
        state = _mix(np.array([seed & (2**64 - 1)], np.uint64) ^ np.uint64(zlib.crc32(stream.encode())))
        for counter in counters:
            state = _mix(state ^ np.asarray(counter).astype(np.uint64))
    return state


def uniform(seed: int, stream: str, *counters: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits each."""
    return (bits(seed, stream, *counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(seed: int, stream: str, high: int, *counters: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Uniform integers in [0, high)."""
    return (uniform(seed, stream, *counters) * high).astype(np.int64)


@lru_cache(maxsize=4)
def permutation(seed: int, stream: str, epoch: int, size: int) -> NDArray[np.int64]:
    """The order of `size` items in one epoch: a sort by addressed bits, so no library's shuffle can change it."""
    return np.argsort(bits(seed, stream, epoch, np.arange(size)), kind="stable")


def order(seed: int, size: int, start: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items and epochs at positions start .. start + count of the endless stream of epochs over `size` items."""
    positions = np.arange(start, start + count)
    epochs, places = np.divmod(positions, size)
    items = np.empty(count, np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        items[here] = permutation(seed, "order", epoch, size)[places[here]]
    return items, epochs


def normal(seed: int, stream: str, size: int, *counters: NDArray[np.int64] | int) -> NDArray[np.float32]:
    """`size` unit-normal numbers for every element of the broadcast counters, along a last axis that is added.

    Box and Muller's transform: two uniform numbers give two normal ones.
    """
    pairs = np.arange((size + 1) // 2)
    places = [np.asarray(counter)[..., None] for counter in counters]
    radius = np.sqrt(-2.0 * np.log1p(-uniform(seed, f"{stream}-radius", *places, pairs)))
    angle = 2.0 * np.pi * uniform(seed, f"{stream}-angle", *places, pairs)
    both = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return both[..., :size].astype(np.float32)
