"""The shapes of the world's things, each drawn once into a map of parts and surface directions.

A thing lives in a square from -100 to 100 (x to the right, y down, it stands on y = 100). Its map has 256 x 256 cells.

    part        0 nothing, 1 the thing's material, 2 dark, 3 bright, 4 glass
    nx, ny, nz  where the surface looks, in 1/127: right, down, towards the eye
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from var_scaling.config.class_names import WORLD_THINGS
from var_scaling.data.world.integers import Ints, cosine, root, sine

CELLS = 256
MATERIAL, DARK, BRIGHT, GLASS = 1, 2, 3, 4
Mask = NDArray[np.bool_]
Point = tuple[int, int]

_FINE = 16  # cells are compared in sixteenths of a unit
_MIDDLES = (np.arange(CELLS, dtype=np.int32) * 2 + 1) * (200 * _FINE) // (2 * CELLS) - 100 * _FINE
_Y, _X = np.meshgrid(_MIDDLES, _MIDDLES, indexing="ij")


class Map:
    """One thing being drawn; later parts hide earlier ones."""

    def __init__(self) -> None:
        self.part = np.zeros((CELLS, CELLS), np.int32)
        self.nx = np.zeros((CELLS, CELLS), np.int32)
        self.ny = np.zeros((CELLS, CELLS), np.int32)

    def _put(self, mask: Mask, part: int, nx: Ints | int, ny: Ints | int) -> None:
        self.part[mask] = part
        self.nx[mask] = nx[mask] if isinstance(nx, np.ndarray) else nx
        self.ny[mask] = ny[mask] if isinstance(ny, np.ndarray) else ny

    def polygon(self, *points: Point, part: int = MATERIAL, facing: Point = (0, 0), bevel: int = 0) -> None:
        """A flat face, with rounded edges of so many cells."""
        mask = _inside(points)
        nx, ny = _bevelled(mask, bevel) if bevel else (facing[0], facing[1])
        self._put(mask, part, nx, ny)

    def outline(self, mask: Mask, part: int = MATERIAL, bevel: int = 14) -> None:
        """Any cells, with rounded edges."""
        self._put(mask, part, *_bevelled(mask, bevel))

    def ball(self, x: int, y: int, wide: int, high: int, part: int = MATERIAL, clip: Mask | None = None) -> None:
        """An ellipsoid of these half axes."""
        dx, dy = (_X - x * _FINE) * 127 // (wide * _FINE), (_Y - y * _FINE) * 127 // (high * _FINE)
        mask = dx * dx + dy * dy <= 127 * 127
        self._put(mask if clip is None else mask & clip, part, dx, dy)

    def disc(self, x: int, y: int, wide: int, high: int, part: int = MATERIAL, facing: Point = (0, 0)) -> None:
        """A flat ellipse."""
        self._put(ellipse(x, y, wide, high), part, *facing)

    def tube(self, *widths: tuple[int, int], x: int = 0, part: int = MATERIAL, tilt: int = 0) -> None:
        """A turned body about the vertical axis at `x`: half its width at some heights, from the top down."""
        tops = np.array([y * _FINE for y, _ in widths])
        piece = np.clip(np.searchsorted(tops, _MIDDLES, side="right") - 1, 0, len(widths) - 2)
        y0, y1 = tops[piece], tops[piece + 1]
        w0 = np.array([w for _, w in widths])[piece] * _FINE
        w1 = np.array([w for _, w in widths])[piece + 1] * _FINE
        radius = (w0 + (w1 - w0) * (_MIDDLES - y0) // np.maximum(y1 - y0, 1))[:, None]
        inside = (_MIDDLES >= tops[0]) & (_MIDDLES < tops[-1])
        dx = _X - x * _FINE
        mask = inside[:, None] & (np.abs(dx) <= radius)
        nx = np.clip(dx * 125 // np.maximum(radius, 1), -125, 125)
        self._put(mask, part, nx.astype(np.int32), tilt)

    def ring(self, x: int, y: int, outer: int, inner: int, part: int = MATERIAL, clip: Mask | None = None) -> None:
        """A torus seen along its axis."""
        dx, dy = _X - x * _FINE, _Y - y * _FINE
        far = root((dx * dx + dy * dy) // 64) * 8
        across = (2 * far - (outer + inner) * _FINE) * 127 // ((outer - inner) * _FINE)
        mask = np.abs(across) <= 127
        away = np.maximum(far, 1)
        self._put(mask if clip is None else mask & clip, part, across * dx // away, across * dy // away)

    def packed(self) -> Ints:
        """One number a cell, row by row: part, nx and ny in 8 bits each (128 is 0), nz in 7; 0 for nothing."""
        nx, ny = np.clip(self.nx, -127, 127), np.clip(self.ny, -127, 127)
        nz = root(np.maximum(127 * 127 - nx * nx - ny * ny, 0))
        long = root(nx * nx + ny * ny + nz * nz)  # corners of bevels are longer than 1
        nx, ny = nx * 127 // np.maximum(long, 127), ny * 127 // np.maximum(long, 127)
        whole = self.part << 23 | (nx + 128) << 15 | (ny + 128) << 7 | nz
        return np.where(self.part > 0, whole, 0).astype(np.int32).reshape(-1)


def ellipse(x: int, y: int, wide: int, high: int) -> Mask:
    """Cells of a flat ellipse."""
    dx, dy = (_X - x * _FINE) * 256 // (wide * _FINE), (_Y - y * _FINE) * 256 // (high * _FINE)
    return np.asarray(dx * dx + dy * dy <= 256 * 256)


def box(left: int, top: int, right: int, bottom: int) -> Mask:
    """Cells of a rectangle."""
    f = _FINE
    return np.asarray((_X >= left * f) & (_X < right * f) & (_Y >= top * f) & (_Y < bottom * f))


def _inside(points: Sequence[Point]) -> Mask:
    """Cells of a polygon: those from which a ray crosses its border an odd number of times."""
    mask = np.zeros((CELLS, CELLS), bool)
    for (ax, ay), (bx, by) in zip(points, (*points[1:], points[0]), strict=True):
        if ay == by:
            continue
        (ax, ay), (bx, by) = ((ax, ay), (bx, by)) if ay < by else ((bx, by), (ax, ay))
        f = _FINE
        left_of = (_X - ax * f) * (by - ay) < (bx - ax) * (_Y - ay * f)
        mask ^= (_Y >= ay * f) & (_Y < by * f) & left_of
    return mask


def _bevelled(mask: Mask, width: int) -> tuple[Ints, Ints]:
    """Directions of a flat face whose edge is rounded: slopes of how deep a cell lies inside, up to some cells."""
    depth, left = np.zeros(mask.shape, np.int32), mask.copy()
    for step in range(width):
        depth += left
        grown = np.pad(left, 1)
        cross = left & grown[:-2, 1:-1] & grown[2:, 1:-1] & grown[1:-1, :-2] & grown[1:-1, 2:]
        corners = grown[:-2, :-2] & grown[:-2, 2:] & grown[2:, :-2] & grown[2:, 2:]
        left = cross & corners if step % 2 else cross
    smooth = depth
    for _ in range(2):
        wide = np.pad(smooth, 2)
        smooth = sum(wide[i : i + CELLS, j : j + CELLS] for i in range(5) for j in range(5)) // 5  # type: ignore[assignment]
    wide = np.pad(smooth, 1)  # 25 times the depth
    dx, dy = wide[1:-1, 2:] - wide[1:-1, :-2], wide[2:, 1:-1] - wide[:-2, 1:-1]
    rounding = np.where(depth < width, width - depth, 0)
    return (-dx * 2 * rounding // width).astype(np.int32), (-dy * 2 * rounding // width).astype(np.int32)


def _regular(count: int, x: int, y: int, radius: int, inner: int = 0, start: int = -90) -> list[Point]:
    """Corners of a regular polygon, or of a star where there is an inner radius."""
    steps = count * (2 if inner else 1)
    angles = start + np.arange(steps) * 360 // steps
    radii = np.where(np.arange(steps) % 2, inner or radius, radius)
    xs, ys = x + radii * cosine(angles) // 1024, y + radii * sine(angles) // 1024
    return [(int(a), int(b)) for a, b in zip(xs, ys, strict=True)]


# ---- the things, in the order of WORLD_THINGS -----------------------------------------------------------------------


def _ball(m: Map) -> None:
    m.ball(0, 8, 92, 92)


def _cube(m: Map) -> None:
    m.polygon((-92, -42), (42, -42), (42, 100), (-92, 100))
    m.polygon((-92, -42), (-42, -90), (92, -90), (42, -42), facing=(0, -105))
    m.polygon((42, -42), (92, -90), (92, 50), (42, 100), facing=(105, 0))


def _pyramid(m: Map) -> None:
    m.polygon((10, -100), (30, 100), (-98, 74), facing=(-45, -50))
    m.polygon((10, -100), (98, 66), (30, 100), facing=(95, -45))


def _drum(m: Map) -> None:
    m.tube((-52, 84), (74, 84))
    m.ball(0, 74, 84, 26, clip=_Y >= 74 * _FINE)
    m.nx[m.part > 0] = np.clip(_X[m.part > 0] * 125 // (84 * _FINE), -125, 125)
    m.ny[m.part > 0] = 0
    m.disc(0, -52, 84, 28, facing=(0, -110))
    m.disc(0, -52, 66, 20, part=BRIGHT, facing=(0, -110))


def _ring(m: Map) -> None:
    m.ring(0, 4, 96, 46)


def _star(m: Map) -> None:
    corners = _regular(5, 0, 8, 100, 44)
    for i, a in enumerate(corners):
        b = corners[(i + 1) % len(corners)]
        angle = np.array([-90 + 36 * i + 18 + (34 if i % 2 else -34)])
        m.polygon((0, 8), a, b, facing=(int(cosine(angle)[0]) * 75 // 1024, int(sine(angle)[0]) * 75 // 1024))


def _heart(m: Map) -> None:
    upper = ellipse(-46, -38, 50, 50) | ellipse(46, -38, 50, 50)
    m.outline(upper | _inside([(-90, -12), (0, -30), (90, -12), (0, 100)]), bevel=40)


def _house(m: Map) -> None:
    m.polygon((40, -82), (62, -82), (62, -20), (40, -20), part=DARK)
    m.polygon((-74, -14), (74, -14), (74, 100), (-74, 100))
    m.polygon((0, -100), (98, -8), (-98, -8), part=DARK, facing=(0, -70))
    m.polygon((-20, 34), (18, 34), (18, 100), (-20, 100), part=DARK)
    for x in (-56, 32):
        m.polygon((x, 14), (x + 26, 14), (x + 26, 46), (x, 46), part=GLASS)


def _tree(m: Map) -> None:
    m.tube((20, 15), (100, 20), part=DARK)
    m.ball(-42, -4, 50, 46)
    m.ball(44, 0, 48, 44)
    m.ball(0, -46, 60, 54)
    m.ball(2, 14, 46, 36)


def _mushroom(m: Map) -> None:
    m.tube((0, 28), (60, 26), (100, 36), part=BRIGHT)
    m.ball(0, 14, 98, 110, clip=_Y <= 14 * _FINE)
    m.disc(0, 14, 98, 14, part=BRIGHT, facing=(0, 90))
    m.tube((16, 26), (60, 26), (100, 36), part=BRIGHT)


def _mug(m: Map) -> None:
    m.ring(56, 18, 42, 22, clip=_X >= 40 * _FINE)
    m.tube((-62, 66), (86, 60))
    m.ball(0, 84, 60, 16, clip=_Y >= 84 * _FINE)
    m.disc(0, -62, 66, 20, facing=(0, -100))
    m.disc(0, -61, 56, 15, part=DARK, facing=(0, -60))


def _bottle(m: Map) -> None:
    m.tube((-84, 16), (-40, 18), (-8, 46), (100, 46))
    m.tube((-100, 19), (-78, 19), part=DARK)
    m.tube((24, 46), (70, 46), part=BRIGHT)


def _car(m: Map) -> None:
    m.outline(_inside([(-50, -42), (28, -42), (58, 8), (-76, 8)]), bevel=12)
    m.outline(_inside([(-98, 2), (64, 2), (96, 14), (98, 66), (-98, 66)]), bevel=14)
    m.polygon((-44, -30), (-14, -30), (-14, 4), (-58, 4), part=GLASS)
    m.polygon((-4, -30), (22, -30), (40, 4), (-4, 4), part=GLASS)
    for x in (-52, 54):
        m.ball(x, 66, 32, 32, part=DARK)
        m.disc(x, 66, 14, 14, part=BRIGHT)


def _boat(m: Map) -> None:
    m.polygon((-3, -100), (4, -100), (4, 40), (-3, 40), part=DARK)
    m.polygon((12, -94), (12, 26), (86, 26), part=BRIGHT, facing=(50, -20))
    m.polygon((-10, -70), (-10, 26), (-74, 26), part=BRIGHT, facing=(-50, -20))
    m.outline(_inside([(-98, 38), (98, 38), (62, 96), (-66, 96)]), bevel=18)


def _fish(m: Map) -> None:
    m.polygon((-48, 10), (-98, -44), (-88, 12), (-98, 66), bevel=10)
    m.polygon((-16, -36), (34, -82), (40, -30), bevel=8)
    m.ball(18, 10, 80, 54)
    m.disc(62, -8, 12, 12, part=BRIGHT)
    m.disc(64, -8, 6, 6, part=DARK)


def _key(m: Map) -> None:
    m.ring(-52, 10, 46, 22)
    m.outline(box(-10, 0, 96, 22) | box(48, 12, 64, 56) | box(76, 12, 94, 64), bevel=8)


def _chair(m: Map) -> None:
    m.polygon((-60, 28), (-46, 28), (-46, 72), (-60, 72), part=DARK)
    m.polygon((-62, -96), (44, -96), (44, 16), (-62, 16), bevel=10)
    m.polygon((-62, 16), (44, 16), (76, 44), (-40, 44), facing=(0, -105))
    m.polygon((-40, 44), (76, 44), (76, 56), (-40, 56))
    for x in (-40, 62):
        m.polygon((x, 56), (x + 14, 56), (x + 14, 100), (x, 100), part=DARK)


def _lamp(m: Map) -> None:
    m.tube((-20, 6), (88, 6), part=DARK)
    m.ball(0, 98, 52, 22, part=DARK, clip=_Y <= 98 * _FINE)
    m.tube((-96, 36), (0, 84), tilt=-30)
    m.disc(0, 0, 84, 12, part=BRIGHT, facing=(0, 60))


def _rocket(m: Map) -> None:
    m.polygon((-34, 20), (-78, 74), (-72, 96), (-28, 74), part=DARK, facing=(-60, 0))
    m.polygon((34, 20), (78, 74), (72, 96), (28, 74), part=DARK, facing=(60, 0))
    m.polygon((-20, 78), (20, 78), (0, 100), part=BRIGHT)
    m.tube((-50, 36), (10, 42), (80, 28))
    m.tube((-100, 1), (-76, 20), (-50, 36), part=BRIGHT)
    m.disc(0, -14, 19, 19, part=DARK)
    m.disc(0, -14, 13, 13, part=GLASS)


def _umbrella(m: Map) -> None:
    m.polygon((-4, -92), (4, -92), (4, 84), (-4, 84), part=DARK)
    m.ring(-17, 82, 21, 12, part=DARK, clip=_Y >= 82 * _FINE)
    canopy = ellipse(0, 6, 98, 96) & (_Y <= 6 * _FINE)
    for x in (-65, 0, 65):
        canopy &= ~ellipse(x, 10, 33, 16)
    m.ball(0, 6, 98, 96, clip=canopy)


_DRAWERS: dict[str, Callable[[Map], None]] = {
    "ball": _ball,
    "cube": _cube,
    "pyramid": _pyramid,
    "drum": _drum,
    "ring": _ring,
    "star": _star,
    "heart": _heart,
    "house": _house,
    "tree": _tree,
    "mushroom": _mushroom,
    "mug": _mug,
    "bottle": _bottle,
    "car": _car,
    "boat": _boat,
    "fish": _fish,
    "key": _key,
    "chair": _chair,
    "lamp": _lamp,
    "rocket": _rocket,
    "umbrella": _umbrella,
}


@lru_cache(maxsize=32)
def thing_map(thing: int) -> Ints:
    """The packed map of a thing: 256 rows of 256 cells in one line."""
    drawn = Map()
    _DRAWERS[WORLD_THINGS[thing]](drawn)
    return drawn.packed()
