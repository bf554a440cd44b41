"""What columns, axes and numbers are called for people."""

from __future__ import annotations

import math
from typing import Literal

from analysis.rows.columns import Columns
from analysis.rows.counting import COMPUTE_WORDS, PARAMS_WORDS

AGAINST_WORDS = {
    "params": "N",
    "data": "D",
    "compute": "C (frontier)",
    "compute, trajectories": "C (frontier of unfinished trajectories)",
    "params, data": "N and D",
    "params, data, epochs": "N, D and epochs",
    "loss": "loss",
}
TARGET_WORDS = {
    "loss_all_scales": "loss, all scales",
    "loss_last_scale": "loss, last scale",
    "error_all_scales": "token error, all scales",
    "error_last_scale": "token error, last scale",
    "train_loss": "training loss on the trunk, unfinished",
}


def target_words(target: str) -> str:
    """How a column is called on tables and axes."""
    if target.startswith("fid_corrected_"):
        return f"FID ({target.removeprefix('fid_corrected_')} features, corrected)"
    return TARGET_WORDS.get(target, target)


def target_axis(target: str) -> str:
    """A target on an axis: a study's own in words, a CSV's as its column is called."""
    if target.startswith("fid_corrected_"):
        return f"FID, corrected\n({target.removeprefix('fid_corrected_')})"
    if target not in TARGET_WORDS:
        return no_math(target)
    words = target_words(target)
    return words[0].upper() + words[1:] + (" (nats/token)" if target.startswith("loss") else "")


def axis(columns: Columns, part: Literal["params", "data", "compute"]) -> str:
    """What a part is called on an axis: a study's own counts in words, a CSV's column by its name."""
    words = {}
    if (columns.run, columns.data) == ("trial", "images_seen"):  # a study's rows
        words = {name: "Parameters $N$" for name in PARAMS_WORDS}
        words |= {name: "Training compute $C$ (FLOPs)" for name in COMPUTE_WORDS}
    column, letter = {
        "params": (columns.params, "N"),
        "data": (columns.data, "D"),
        "compute": (columns.compute, "C"),
    }[part]
    return words.get(column, f"{no_math(column)} (${letter}$)")


def no_math(name: str) -> str:
    return name.replace("$", r"\$")


def number(value: float, digits: int = 4) -> str:
    """A number for people: significant digits, powers of ten beyond a million."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{max(digits - 2, 1)}e}"
    return f"{value:.{digits}g}"


def span(low: float, high: float, digits: int = 4) -> str:
    """An interval for people."""
    return " to ".join(ends(low, high, digits))


def ends(low: float, high: float, digits: int = 4) -> tuple[str, str]:
    """Both in `digits` significant digits; in up to eight where those show two digits of their distance."""
    if 0 < high - low < math.inf:
        place = math.floor(math.log10(max(-low, high))) - math.floor(math.log10(high - low))
        digits = max(digits, place + 2) if place + 2 <= 8 else digits
    return number(low, digits), number(high, digits)


def carried(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A value and its interval in as many digits as the interval carries: one of half its width, two if that is small.

    The rule is the Review of Particle Physics': two digits of an uncertainty below 0.355, one from there to 0.949,
    times any power of ten. What has no interval, or an infinite one, keeps three significant digits.
    """
    if not 0 < high - low < math.inf:
        return number(value, 3), number(low, 3), number(high, 3)
    # where one side is much the shorter, it is what the value is known to; a side of nothing adds one digit at most
    half = max(min(value - low, high - value), (high - low) / 20)
    power = math.floor(math.log10(half))
    leading = half / 10**power  # 1 to 10
    places = -power + (1 if leading < 3.55 or leading >= 9.5 else 0) - (1 if leading >= 9.5 else 0)
    if places > 8 or max(abs(value), abs(low), abs(high)) >= 1e6:
        return number(value, 3), *ends(low, high, 3)
    # up to two more where the sign of an end would be lost: whether an interval holds zero is its first message
    places += _to_see(low, high, places)
    texts = (f"{round(each, places):.{max(places, 0)}f}" for each in (value, low, high))
    shown, bottom, top = (text[1:] if text.startswith("-") and not float(text) else text for text in texts)
    return shown, bottom, top


def _to_see(low: float, high: float, places: int) -> int:
    """How many more decimals, up to two, no end rounds to zero in."""
    for more in range(2):
        if all(not end or round(end, places + more) for end in (low, high)):
            return more
    return 2


def percent(share: float, digits: int = 2) -> str:
    """A share as signed per cent, without the unit; what rounds to nothing has no sign."""
    text = f"{100 * share:+.{digits}f}"
    return text if float(text) else text[1:]
