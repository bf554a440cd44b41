"""How sizes and compute may be counted, in the words that tables and figures print."""

from __future__ import annotations

PARAMS_WORDS = {
    "params_total": "N: all parameters (the paper's total count)",
    "params_blocks": "N: parameters of the blocks only",
}
COMPUTE_WORDS = {
    "train_flops": "C: training FLOPs of the row's own path, exact, dense attention",
    "train_flops_visible": "C: training FLOPs of the row's own path, exact, visible attention pairs only",
    "flops_6nd": "C: 6 x all parameters x tokens seen",
    "forward_macs": "C: forward multiply-accumulates",
}


def amount(column: str, value: str) -> str:
    """``61,440 images``, or ``tokens = 61,440`` of a column whose unit only its owner knows."""
    return f"{value} images" if amount_name(column) == "images" else f"{column} = {value}"


def amount_name(column: str) -> str:
    """What a column of data counts: images, or what the column is called."""
    return "images" if column.startswith("images") else column


def counted(value: float) -> str:
    """An amount in digits that tell it: 184,320; 66.35 (of a column in billions); 1.667e+22."""
    return f"{value:,.0f}" if 1e3 <= value < 1e15 else f"{value:.4g}"
