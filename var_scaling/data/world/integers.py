"""The little mathematics that the world needs, in integers: no library's rounding decides about a pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
ONE = 1024  # of sines and cosines


def sine(degrees: NDArray[np.integer]) -> Ints:
    """1024 times the sine, to 2 parts in a thousand, by Bhaskara's formula (7th century).

    Args:
        degrees: any whole numbers.
    """
    turned = np.asarray(degrees, np.int32) % 360
    half = turned % 180
    product = half * (180 - half)
    value = 4 * product * ONE // (40500 - product)
    return np.where(turned < 180, value, -value).astype(np.int32)


def cosine(degrees: NDArray[np.integer]) -> Ints:
    """1024 times the cosine."""
    return sine(np.asarray(degrees, np.int32) + 90)


def root(squares: NDArray[np.integer]) -> Ints:
    """The whole part of the square root of numbers from 0 to 2^17; of a negative one 0."""
    found: Ints = _ROOTS[np.clip(squares, 0, len(_ROOTS) - 1)]
    return found


_ROOTS = np.array([math.isqrt(n) for n in range((1 << 17) + 1)], np.int32)


def colour(hue: Ints, saturation: Ints, value: Ints) -> Ints:
    """Red, green and blue from 0 to 255, along a last axis that is added.

    Args:
        hue: 0 to 1535: six sextants of 256, from red over yellow, green, cyan, blue and magenta.
        saturation: 0 to 256.
        value: 0 to 255, the largest of the three.
    """
    hue = hue % 1536
    channels = []
    for shift in (0, 512, 1024):  # each channel is full for a third of the circle and fades for a sixth on either side
        away = np.abs((hue - shift + 768) % 1536 - 768)
        share = np.clip(512 - away, 0, 256)
        channels.append(value * (256 - saturation + saturation * share // 256) // 256)
    return np.stack(channels, axis=-1).astype(np.int32)
