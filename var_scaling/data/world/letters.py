"""Letters and digits of three by five dots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from var_scaling.data.world.factors import ALPHABET

_ROWS = {
    "A": ".X. X.X XXX X.X X.X",
    "B": "XX. X.X XX. X.X XX.",
    "C": ".XX X.. X.. X.. .XX",
    "D": "XX. X.X X.X X.X XX.",
    "E": "XXX X.. XX. X.. XXX",
    "F": "XXX X.. XX. X.. X..",
    "H": "X.X X.X XXX X.X X.X",
    "J": "..X ..X ..X X.X .X.",
    "L": "X.. X.. X.. X.. XXX",
    "P": "XX. X.X XX. X.. X..",
    "R": "XX. X.X XX. X.X X.X",
    "T": "XXX .X. .X. .X. .X.",
    "U": "X.X X.X X.X X.X XXX",
    "X": "X.X X.X .X. X.X X.X",
    "Y": "X.X X.X .X. .X. .X.",
    "1": ".X. XX. .X. .X. XXX",
    "2": "XX. ..X .X. X.. XXX",
    "3": "XX. ..X .X. ..X XX.",
    "4": "X.X X.X XXX ..X ..X",
    "5": "XXX X.. XX. ..X XX.",
    "6": ".XX X.. XXX X.X XXX",
    "7": "XXX ..X .X. .X. .X.",
    "8": "XXX X.X XXX X.X XXX",
    "9": "XXX X.X XXX ..X XX.",
}
GLYPHS: NDArray[np.bool_] = np.array(
    [[[dot == "X" for dot in row] for row in _ROWS[letter].split()] for letter in ALPHABET]
)


def plate(first: int, second: int) -> NDArray[np.bool_]:
    """Two letters with a border of one dot: (7, 9), true where there is ink."""
    dots = np.zeros((7, 9), bool)
    dots[1:6, 1:4], dots[1:6, 5:8] = GLYPHS[first], GLYPHS[second]
    return dots
