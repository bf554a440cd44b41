"""From factors to pixels: a wall, a ground, a shadow, one thing of one material under a light, and perhaps two letters.

Each image is sampled on a grid of twice its side and averaged by two. All images of a class are drawn together, some at
a time, so that what is worked on stays in the processor's cache.

Dimension key: N images, H and W samples along a side, 3 colours; arrays are int32.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from var_scaling.config.class_names import WORLD_MATERIALS
from var_scaling.data.world.factors import CLASSES, FRAME, GROUNDS, WALLS, Factors, factors
from var_scaling.data.world.integers import Ints, colour, cosine, root, sine
from var_scaling.data.world.letters import plate
from var_scaling.data.world.things import BRIGHT, CELLS, DARK, GLASS, thing_map

SAMPLES_AT_ONCE = 1 << 16
DOTS = 32  # of letters along a side of the frame
FIXED = {DARK: (44, 40, 48), BRIGHT: (238, 234, 222), GLASS: (120, 190, 230)}
AMBIENT = 96  # of 256: what is turned away from the light
GLOSS = {
    "plastic": (5, 150),
    "dotted": (0, 0),
    "wood": (3, 40),
    "brick": (0, 0),
    "metal": (4, 190),
}  # sharpness, strength
_WAVES = sine(np.arange(360))


def draw(split: Literal["train", "validation"], rows: NDArray[np.integer], side: int) -> NDArray[np.uint8]:
    """Images of some rows: (N, side, side, 3).

    Args:
        split: see `factors`.
        rows: in any order.
        side: 32 or any multiple of it, in pixels.
    """
    if side % DOTS:
        raise ValueError(f"images of the world have a side of {DOTS} pixels or a multiple, not {side}")
    rows = np.asarray(rows, np.int64)
    images = np.empty((len(rows), side, side, 3), np.uint8)
    at_once = max(1, SAMPLES_AT_ONCE // (2 * side) ** 2)
    labels, everything = rows % CLASSES, factors(split, rows)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        for start in range(0, len(places), at_once):
            chunk = places[start : start + at_once]
            what = everything.of(chunk)
            images[chunk] = _scene(what, side)
            _write(images, chunk, what)
    return images


def _scene(what: Factors, side: int) -> NDArray[np.uint8]:
    """Images of one class, without letters: (N, side, side, 3)."""
    middles = (np.arange(2 * side, dtype=np.int32) * 2 + 1) * FRAME // (4 * side)
    y, x = middles[None, :, None], middles[None, None, :]
    pixels = _background(what, x, y)
    cells = _cells(what, x, y)
    places = np.flatnonzero(cells)
    surface = _surface(what, cells.reshape(-1)[places], places // (2 * side) ** 2)
    for channel, values in zip(pixels, surface, strict=True):
        channel.reshape(-1)[places] = values
    summed = pixels[..., ::2, ::2] + pixels[..., ::2, 1::2] + pixels[..., 1::2, ::2] + pixels[..., 1::2, 1::2]
    return (summed + 2 >> 2).astype(np.uint8).transpose(1, 2, 3, 0)


def _each(values: Ints) -> Ints:
    """A number for each image, ready for its samples."""
    return values[:, None, None]


def _tint(what: Factors) -> Ints:
    """Red, green and blue of the light, in 1/256: (N, 3)."""
    return np.stack((what.light + what.warmth, what.light, what.light - what.warmth), axis=1)


def _background(what: Factors, x: Ints, y: Ints) -> NDArray[np.uint16]:
    """Wall above the horizon, ground below it, and the thing's shadow: (3, N, H, W), 0 to 255."""
    below = y - _each(what.horizon)
    # The wall grows brighter towards the ground; stripes hang on it, or hills stand before it.
    height = 200 + 56 * y // _each(what.horizon)
    stripes = _each(what.wall == WALLS.index("stripes")) & ((x + _each(what.pattern_x) >> 6) & 1 > 0)
    wave = sine(x * 360 // FRAME + _each(what.pattern_y)) // 16 + sine(x * 900 // FRAME + _each(what.pattern_x)) // 32
    crest = np.where(_each(what.wall == WALLS.index("hills")), 96 + wave, 0)
    wall = np.where(below > -crest, height * 10 >> 4, height * (16 - 3 * stripes) >> 4)
    # On the ground, what is near is large: `far` is 1024 at 48 units below the eye.
    far = 49152 // np.maximum(below + 40, 8)
    rows = np.where(_each(what.ground == GROUNDS.index("tiles")), far >> 7, 0)
    dark = _each(np.where(what.ground == GROUNDS.index("plain"), 0, 64).astype(np.int32))
    ground = 256 - ((((x - FRAME // 2) * far >> 16) + rows) & 1) * dark
    # The shadow falls away from the light.
    middle = _each(what.x - what.light_x * what.size // 512)
    dx, dy = (x - middle) * 128 // _each(what.size // 2), (y - _each(what.y)) * 128 // _each(what.size // 9)
    lit = 512 - np.clip((128 * 128 >> 5) - (np.minimum(dx * dx, 1 << 20) + np.minimum(dy * dy, 1 << 20) >> 5), 0, 256)
    on_ground = below >= 0
    share = np.where(on_ground, ground * lit >> 9, wall).astype(np.uint16)
    tint = _tint(what)
    full = np.full_like(what.hue, 256)
    far_colour = colour(what.wall_hue, full - 166, what.wall_value) * tint >> 8
    near_colour = colour(what.ground_hue, full - 136, what.ground_value) * tint >> 8
    return np.stack(
        [
            np.where(on_ground, _each(near), _each(away)).astype(np.uint16) * share >> 8
            for near, away in zip(near_colour.T, far_colour.T, strict=True)
        ]
    )


def _turns(what: Factors) -> tuple[Ints, Ints, Ints]:
    """Cosine and sine of the thing's turn, and -1 where it is mirrored."""
    return cosine(what.turn), sine(what.turn), 1 - 2 * what.mirrored


def _cells(what: Factors, x: Ints, y: Ints) -> Ints:
    """Which cell of the thing's map lies below each sample: (N, H, W), 0 beside the thing, else 1 + 256 v + u."""
    c, s, flip = _turns(what)
    across = CELLS * 4096 // what.size  # cells a unit, in 1/4096
    down = across * 256 // what.stretch
    dx, dy = x - _each(what.x), y - _each(what.y)
    u = (_each(flip * c * across >> 10) * dx + (CELLS << 11)) + _each(flip * s * across >> 10) * dy >> 12
    v = (_each(-s * down >> 10) * dx + (CELLS << 12)) + _each(c * down >> 10) * dy >> 12
    inside = ((u | v) & ~(CELLS - 1)) == 0
    cells = v * CELLS + u
    cells *= inside & (thing_map(int(what.thing[0]))[cells & CELLS * CELLS - 1] > 0)
    return cells


def _surface(what: Factors, cells: Ints, image: NDArray[np.integer]) -> list[NDArray[np.uint16]]:
    """Red, green and blue of the samples that show the thing.

    Args:
        what: factors of all images.
        cells: of these samples.
        image: of these samples.
    """
    packed = thing_map(int(what.thing[0]))[cells]
    part, nx, ny, nz = packed >> 23, (packed >> 15 & 255) - 128, (packed >> 7 & 255) - 128, packed & 127
    material = WORLD_MATERIALS[int(what.material[0])]
    # The light as the thing's own map sees it, and the direction halfway between light and eye.
    c, s, flip = _turns(what)
    lz = root(128 * 128 - what.light_x**2 - what.light_y**2)
    lx, ly = flip * (c * what.light_x + s * what.light_y) >> 10, c * what.light_y - s * what.light_x >> 10
    long = root(lx * lx + ly * ly + (lz + 128) ** 2)
    lit = np.maximum(lx[image] * nx + ly[image] * ny + lz[image] * nz, 0) >> 7
    bright = AMBIENT + ((280 - AMBIENT) * lit >> 7)
    gloss = np.zeros_like(nx)
    sharpness, strength = GLOSS[material]
    if strength:
        hx, hy, hz = lx * 128 // long, ly * 128 // long, (lz + 128) * 128 // long
        gloss = np.clip(hx[image] * nx + hy[image] * ny + hz[image] * nz >> 7, 0, 127)
        for _ in range(sharpness):
            gloss = gloss * gloss >> 7
        gloss = gloss * strength >> 7
    first, second, mixed = _material(what, material, cells, image, nx, ny)
    tint = _tint(what)
    result = []
    for channel in range(3):
        value = first[image, channel] + ((second - first)[image, channel] * mixed >> 8)
        for number, fixed in FIXED.items():
            value[part == number] = fixed[channel]
        value = ((value * bright >> 8) + gloss) * tint[image, channel] >> 8
        result.append(np.clip(value, 0, 255).astype(np.uint16))
    return result


def _material(
    what: Factors, material: str, cells: Ints, image: NDArray[np.integer], nx: Ints, ny: Ints
) -> tuple[Ints, Ints, Ints]:
    """Two colours of each image, (N, 3), and the share of the second in each sample, in 1/256."""
    full = np.full_like(what.hue, 256)
    p = ((cells & CELLS - 1) * what.pattern_scale[image] >> 4) + what.pattern_x[image]
    q = ((cells >> 8) * what.pattern_scale[image] >> 4) + what.pattern_y[image]
    if material == "plastic":
        first = second = colour(what.hue, full - 40, full - 20)
        mixed = np.zeros_like(p)
    elif material == "dotted":
        first, second = colour(what.hue, full - 90, full - 16), colour(what.second_hue, full - 200, full - 4)
        a, b = p % 56 - 28, q % 56 - 28
        mixed = (a * a + b * b < 17 * 17) * 256
    elif material == "wood":
        first = colour(96 + what.hue // 16, full - 90, 150 + what.second_hue // 24)
        second = colour(64 + what.hue // 16, full - 70, 92 + what.second_hue // 32)
        wave = p + _WAVES[q * 3 % 360] // 160 + _WAVES[(q + (p >> 1)) % 360] // 128
        mixed = np.abs((wave * 8 & 255) - 128) * 2
    elif material == "brick":
        first = colour(24 + what.hue // 24, full - 80, 160 + what.second_hue // 32)
        second = colour(what.second_hue, full - 236, 200 + what.hue // 48)
        course = q // 34
        mixed = ((q - course * 34 < 7) | ((p + (course & 1) * 34) % 68 < 8)) * 256
    else:  # metal: it mirrors a bright sky, a dark line and the ground
        first = colour(150 + what.hue // 24, what.second_hue // 10, full - 24)
        second = np.zeros_like(first)
        level = np.where(ny < 12, 150 - (ny * 110 >> 7), np.clip(70 + ny, 60, 200)) + (np.abs(nx - 40) < 16) * 50
        mixed = 256 - np.clip(level, 60, 256)
    return first, second, mixed.astype(np.int32)


def _write(images: NDArray[np.uint8], chunk: NDArray[np.integer], what: Factors) -> None:
    """Put the letters on, dot by dot of the frame's 32."""
    scale = images.shape[1] // DOTS
    for i in np.flatnonzero(what.text):
        dots = plate(int(what.first[i]), int(what.second[i])).repeat(scale, 0).repeat(scale, 1)
        height, width = dots.shape
        top, left = int(what.text_y[i]) * scale, int(what.text_x[i]) * scale
        if what.text_right[i]:
            left = images.shape[1] - left - width
        ink, paper = ((20, 20, 24), (250, 248, 240)) if what.text_dark[i] else ((250, 248, 240), (28, 32, 60))
        images[chunk[i], top : top + height, left : left + width] = np.where(
            dots[..., None], np.array(ink, np.uint8), np.array(paper, np.uint8)
        )
