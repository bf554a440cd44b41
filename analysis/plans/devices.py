"""How fast devices are: measured where rows say, by data sheet elsewhere."""

from __future__ import annotations

import pandas as pd

from analysis.errors import BadRequest

# Peak dense 16-bit rates of the makers' data sheets; what a training reaches of them is an assumption until rows say.
DEVICE_FLOPS = {"h200": 989e12, "h100": 989e12, "a100": 312e12, "v100": 125e12, "rtx4090": 165e12}
ASSUMED_SHARE = 0.35


def device_rate(rows: pd.DataFrame, device: str | None) -> tuple[float, str] | None:
    """FLOPs a second of a device and where that number comes from: measured rows first, a data sheet second.

    Args:
        rows: a study's rows (train_flops, seconds, device).
        device: a name; None takes the device that most rows ran on.

    Raises:
        ValueError: a device that neither the rows nor the table know.
    """
    measured = (
        rows.dropna(subset=["seconds", "train_flops", "device"])
        if {"seconds", "train_flops", "device"} <= set(rows)
        else rows.iloc[:0]
    )
    if device is None and measured.empty:
        return None
    if device is None:
        device = str(measured["device"].mode().iloc[0])
    same = measured  # where nothing was timed the column may not be there
    if not measured.empty:
        same = measured[measured["device"].astype(str).str.lower().str.contains(device.lower(), regex=False)]
    if not same.empty:
        # large rows: small ones spend their time on overhead
        large = same.nlargest(max(1, len(same) // 4), "train_flops")
        rate = float(large["train_flops"].sum() / large["seconds"].sum())
        return rate, f"measured on {device} in this study's {len(large)} largest rows"
    key = device.lower().replace("-", "").replace(" ", "")
    if key not in DEVICE_FLOPS:
        raise BadRequest(
            f"no rate for device {device!r}: no row ran on it and it is not among {', '.join(DEVICE_FLOPS)}"
        )
    rate = DEVICE_FLOPS[key] * ASSUMED_SHARE
    return rate, f"{DEVICE_FLOPS[key]:.3g} FLOP/s by data sheet, {ASSUMED_SHARE:.0%} of it assumed"
