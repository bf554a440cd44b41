"""Pictures as a viewer shows them: one rule for every mode and bit depth. Torch-free.

Decoding 2, of image folders:

- 8 bits a channel (also palettes, black and white, CMYK) are taken as they are; colour profiles are not applied.
- Grey pictures of more bits (16- and 32-bit integers, floats) are scaled by the one value range of their whole set
  (`data.value_range`), so that no picture is clipped and two pictures keep their difference in brightness.
- Colour of 16 bits a channel gives its high byte.
- What is transparent shows a white ground.
- The orientation that the camera noted (EXIF) is applied.
- Of an animation or a file of many pages, the first picture.

Decoding 1 is what torchvision's loader does (Pillow's `convert`: alpha dropped, orientation ignored, values above 255
clipped). It is kept for named sets, whose numbers it made.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # commands that open no picture start without numpy and Pillow
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

DECODING: Literal[2] = 2  # of image folders; 1 of named sets
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"}
)
DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits a value that cameras and scanners write

Kind = Literal["bytes", "integers", "floats", "colour16"]
ValueRange = tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """What is known of one picture file without keeping its pixels."""

    shorter: int  # sides in pixels
    longer: int
    kind: Kind
    low: float = 0.0  # least and largest value, of all kinds but bytes
    high: float = 0.0


@dataclass(frozen=True)
class Look:
    """What a person asks first about a picture."""

    shorter: int  # sides in pixels
    longer: int
    kind: str  # format and mode in words, as in "JPEG colour"
    grey: bool  # no colour in it, whatever its mode could hold


class Unreadable(Exception):
    """A file that is no picture, or a damaged one; the text says why."""


@contextmanager
def _opened(source: Path | IO[bytes]) -> Iterator[Image.Image]:
    """A picture file; whatever its decoder raises on odd bytes becomes `Unreadable`."""
    from PIL import Image, UnidentifiedImageError

    # Odd EXIF and palettes are harmless, and a bomb raises below. For the process: threads share what is ignored.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with Image.open(source) as image:
            yield image
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise Unreadable("no picture in a format that is known here") from None
    except Exception as error:  # decoders raise struct.error, zlib.error, IndexError, ... on damaged files
        raise Unreadable(str(error).rstrip(". ") or type(error).__name__) from None


def facts(data: bytes) -> Facts:
    """Size and kind of a picture from its header; the values of one with more than 8 bits a channel are read, too.

    Raises:
        Unreadable: see there; also where a value is not a number.
    """
    import numpy as np

    with _opened(io.BytesIO(data)) as image:
        shorter, longer = sorted(image.size)
        kind = _kind(image)
        if kind == "bytes":
            return Facts(shorter, longer, kind)
        if kind == "colour16":  # Pillow keeps the high byte alone
            return Facts(shorter, longer, kind, 0.0, 257.0 * _largest(image))
        values = np.asarray(image)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise Unreadable("it holds values that are not numbers")
        return Facts(shorter, longer, kind, low, high)


MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "F": "grey in floats",
}
GREY_SPREAD = 12  # between the channels of a grey pixel, of 255: what JPEG makes of one


def look(path: Path) -> Look:
    """Size and kind of a picture, and whether any colour shows at a sixteenth of its area or so.

    Raises:
        Unreadable: see there.
    """
    import numpy as np

    with _opened(path) as image:
        shorter, longer = sorted(image.size)
        kind = _kind(image)
        words = {"integers": "grey of more than 8 bits", "colour16": "colour of 16 bits"}
        mode = words.get(kind, MODES.get(image.mode, image.mode))
        named = f"{image.format} {mode}"
        if kind in ("integers", "floats") or image.mode in ("1", "L", "LA"):
            return Look(shorter, longer, named, True)
        image.draft("RGB", (64, 64))  # of a JPEG, decode no more than is needed
        image.thumbnail((64, 64))
        pixels = np.asarray(image.convert("RGB"), np.int16)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        return Look(shorter, longer, named, bool(spread.max() <= GREY_SPREAD))


def read(path: Path, channels: int, value_range: ValueRange | Literal["bytes"], decoding: int) -> Image.Image:
    """A picture of 8 bits a channel.

    Args:
        path: its file.
        channels: 3 (mode RGB) or 1 (mode L).
        value_range: the values of deep grey pictures that become black and white; "bytes": the set holds none.
        decoding: which rules (see the top of this file).

    Raises:
        Unreadable: not a picture, damaged, or deep grey although the set is said to hold none.
    """
    import numpy as np
    from PIL import Image

    mode = "RGB" if channels == 3 else "L"
    with _opened(path) as image:
        if decoding == 1:
            return image.convert(mode)
        deep = _kind(image) in ("integers", "floats")  # asked before anything is loaded
        upright = _upright(image)
        if deep:
            if value_range == "bytes":
                raise Unreadable(f"it has more than 8 bits a channel (mode {image.mode}); give data.value_range")
            upright = Image.fromarray(_scaled(np.asarray(upright), value_range))
        elif "A" in upright.mode.upper().replace("LAB", "") or "transparency" in upright.info:
            ground = Image.new("RGBA", upright.size, (255, 255, 255, 255))
            upright = Image.alpha_composite(ground, upright.convert("RGBA"))
        return upright.convert(mode)


def read_alone(path: Path, channels: int) -> Image.Image:
    """A picture that belongs to no set, with 8 bits a channel: decoding 2, where a deep grey one has its own range.

    Black is 0 and white the largest value of the number of bits that it uses; of floats, its own least and largest.

    Args:
        path: its file.
        channels: 3 or 1.

    Raises:
        Unreadable: not a picture, damaged, or not there.
    """
    try:
        found = facts(path.read_bytes())
    except OSError as error:
        raise Unreadable((error.strerror or "it cannot be read").lower()) from None
    value_range: ValueRange | Literal["bytes"] = "bytes"
    if found.kind == "integers":
        value_range = (min(found.low, 0.0), 2.0 ** (bit_depth(found.high) or 32) - 1)
    elif found.kind == "floats":
        value_range = (found.low, max(found.high, found.low + 1e-6))
    return read(path, channels, value_range, DECODING)


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its camera noted; a note that cannot be read turns nothing."""
    from PIL.Image import Transpose

    image.load()  # first: of a TIFF, this turns it and takes the note away
    try:
        noted = image.getexif().get(0x0112)
    except Exception:  # what damaged EXIF raises is any of a dozen errors, and no viewer minds
        noted = None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[noted]) if noted in turns else image


def bit_depth(largest: float) -> int | None:
    """The smallest usual number of bits that holds a value; None above 32."""
    return next((bits for bits in DEPTHS if largest < 2**bits), None)


def _kind(image: Image.Image) -> Kind:
    if image.mode == "F":
        return "floats"
    if image.mode == "I" or image.mode.startswith("I;"):
        return "integers"
    return "colour16" if any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) else "bytes"


def _largest(image: Image.Image) -> int:
    """The largest byte of any channel but alpha."""
    return max(int(image.getchannel(band).getextrema()[1]) for band in image.getbands() if band not in "Aa")  # type: ignore[arg-type]


def _scaled(values: NDArray[Any], value_range: ValueRange) -> NDArray[np.uint8]:
    """Values as bytes: the ends of the range are 0 and 255, and what lies outside a range given by hand is its end."""
    import numpy as np

    low, high = value_range
    share = (values.astype(np.float64) - low) / (high - low)
    scaled: NDArray[np.uint8] = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    return scaled
