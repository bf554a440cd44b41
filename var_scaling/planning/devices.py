"""Peak arithmetic of cards by precision: what an estimate assumes and what MFU divides by. No torch."""

from __future__ import annotations

import re

# Dense matrix products in FLOP/s, without sparsity, from NVIDIA's data sheets. float32 is what it says: no tensor core.
# A name is the words that torch and cluster profiles use; the entry with the most of them wins.
_PEAKS: dict[str, dict[str, float]] = {
    "B200": {"bfloat16": 2250e12, "tf32": 1125e12, "float32": 75e12},
    "H200": {"bfloat16": 989e12, "tf32": 495e12, "float32": 67e12},
    "H200 NVL": {"bfloat16": 835e12, "tf32": 418e12, "float32": 60e12},
    "GH200": {"bfloat16": 989e12, "tf32": 495e12, "float32": 67e12},
    "H100": {"bfloat16": 989e12, "tf32": 495e12, "float32": 67e12},
    "H100 NVL": {"bfloat16": 835e12, "tf32": 418e12, "float32": 60e12},
    "H100 PCIe": {"bfloat16": 756e12, "tf32": 378e12, "float32": 51e12},
    "A100": {"bfloat16": 312e12, "tf32": 156e12, "float32": 19.5e12},
    "A40": {"bfloat16": 149.7e12, "tf32": 74.8e12, "float32": 37.4e12},
    "L40S": {"bfloat16": 362e12, "tf32": 183e12, "float32": 91.6e12},
    "L4": {"bfloat16": 121e12, "tf32": 60e12, "float32": 30.3e12},
}


def peak(name: str, precision: str) -> float | None:
    """FLOP/s of a card, or None where it is not in the table.

    Args:
        name: as torch says it ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB") or a profile ("H100").
        precision: float32, tf32 or bfloat16.
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    known = [card for card in _PEAKS if words.issuperset(card.lower().split())]
    return _PEAKS[max(known, key=lambda card: len(card.split()))][precision] if known else None
