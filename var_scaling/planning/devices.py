"""Cards in one table: peak arithmetic by precision, memory; what an estimate assumes and MFU divides by. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "tf32", "bfloat16"]
USABLE = 0.95  # of a card's memory: the rest is the driver's, NCCL's and the allocator's slack


@dataclass(frozen=True)
class Card:
    """One GPU by NVIDIA's data sheet: dense matrix products, without sparsity. float32 uses no tensor core."""

    bfloat16: float  # TFLOP/s
    tf32: float
    float32: float
    memory: float  # GiB that programs see, a little below the number in the name


# A name is the words that torch and cluster profiles use; the entry with the most of them wins.
_CARDS = {
    "GB200": Card(2500, 1250, 80, 184),
    "B200": Card(2250, 1125, 75, 178),
    "GH200": Card(989, 495, 67, 94),
    "H200": Card(989, 495, 67, 139),
    "H200 NVL": Card(835, 418, 60, 139),
    "H100": Card(989, 495, 67, 79),
    "H100 NVL": Card(835, 418, 60, 93),
    "H100 PCIe": Card(756, 378, 51, 79),
    "H800": Card(989, 495, 67, 79),
    "H20": Card(148, 74, 44, 95),
    "A100": Card(312, 156, 19.5, 39),
    "A800": Card(312, 156, 19.5, 79),
    "A40": Card(149.7, 74.8, 37.4, 44),
    "A30": Card(165, 82, 10.3, 23),
    "A10": Card(125, 62.5, 31.2, 22),
    "RTX A6000": Card(154.8, 77.4, 38.7, 47),
    "RTX 6000 Ada": Card(364, 182, 91.1, 47),
    "RTX 4090": Card(165.2, 82.6, 82.6, 23.5),
    "RTX 3090": Card(71, 35.6, 35.6, 23.5),
    "L40S": Card(362, 183, 91.6, 44),
    "L4": Card(121, 60, 30.3, 22),
}


def known(name: str) -> tuple[str, Card] | None:
    """A card's entry, or None where it is not in the table: nothing is guessed of one that nobody looked up.

    Args:
        name: as torch says it ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB") or a profile ("H100").
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    fitting = [card for card in _CARDS if words.issuperset(card.lower().split())]
    best = max(fitting, key=lambda card: len(card.split()), default=None)
    return None if best is None else (best, _CARDS[best])


def peak(name: str, precision: Precision) -> float | None:
    """FLOP/s of a card, or None where it is not in the table."""
    found = known(name)
    return None if found is None else getattr(found[1], precision) * 1e12


def memory_bytes(name: str) -> int | None:
    """Memory of a card: what its name says (one card may be sold with several), or the table, or None."""
    said = re.search(r"(?<!\d)(\d{1,3}) ?gi?b", name.lower())
    if said and int(said[1]) < 300:  # a GH200 names the memory of its host
        return int((int(said[1]) - 1) * 2**30)
    found = known(name)
    return None if found is None else int(found[1].memory * 2**30)
