"""A row as a run of its own: its name, what it may be sorted by, and what is drawn of it. Pure.

N, C and D are the paper's letters: parameters, training FLOPs of the row's own path, images seen. Losses and errors of
two families, and FIDs of two settings, are different measurements and never share a metric, so their names say which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

PREFIX = "budget"
N, C, D = f"{PREFIX}/N_params", f"{PREFIX}/C_train_flops", f"{PREFIX}/D_images"
LOG10 = {
    N: f"{PREFIX}/log10_N",
    C: f"{PREFIX}/log10_C",
    D: f"{PREFIX}/log10_D",
}  # the axes of MLflow's scatters are linear


def headline(row: Mapping[str, Any]) -> str | None:
    """The column of the validation loss that counts: the first that the family's validation gave."""
    return next((name for name in row if name.startswith(("loss", "noise_"))), None)


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a row has what a run of its own needs; one of a worker that trained nothing has not."""
    return {"family", "depth", "seed", "params_total", "images_seen", "train_flops", "finished"} <= row.keys()


def of_family(name: str, family: str) -> str:
    """A metric's name for one family."""
    return f"{name}_{family}"


def loss_metric(family: str) -> str:
    return of_family(f"{PREFIX}/loss", family)


def error_metric(family: str) -> str:
    return of_family(f"{PREFIX}/error", family)


def fid_metric(label: str) -> str:
    return f"{PREFIX}/fid_{label}"


def short(value: float) -> str:
    """30_720 -> `30.7k`."""
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:g}"


def flops_text(value: float) -> str:
    """4_199_000_000_000 -> `4.2e12`."""
    number, _, power = f"{value:.1e}".partition("e")
    return f"{number}e{int(power)}"


def row_name(row: Mapping[str, Any], axes: Mapping[str, Any]) -> str:
    """What it is called in a table: depth, seed and where it stands on the grid's other axes, images, FLOPs."""
    where = "".join(f" {name}={short(v) if isinstance(v, int | float) else v}" for name, v in axes.items())
    return (
        f"{row['family']} d{row['depth']} s{row['seed']}{where} · {short(row['images_seen'])} images · "
        f"{flops_text(row['train_flops'])} FLOPs"
    )


def row_params(row: Mapping[str, Any], axes: Mapping[str, Any]) -> dict[str, str]:
    """What a table shows and filters by."""
    found = {"family": row["family"], "depth": row["depth"], "seed": row["seed"], "images": row["images_seen"]}
    found["FLOPs"] = flops_text(row["train_flops"])
    return {name: str(value) for name, value in {**found, **axes}.items()}


def row_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """N, C, D, their logarithms, losses and errors."""
    family = str(row["family"])
    found = {N: float(row["params_total"]), C: float(row["train_flops"]), D: float(row["images_seen"])}
    found |= {LOG10[name]: math.log10(value) for name, value in found.items()}
    if (loss := headline(row)) is not None:
        found[loss_metric(family)] = float(row[loss])
    for column, name in (
        ("loss_last_scale", "loss_last_scale"),
        ("error_all_scales", "error"),
        ("error_last_scale", "error_last_scale"),
    ):
        if column in row:
            found[of_family(f"{PREFIX}/{name}", family)] = float(row[column])
    return found


def evaluation_metrics(label: str, evaluation: Mapping[str, Any]) -> dict[str, float]:
    """FID with its interval, and the tokenizer's own, which is its floor."""
    names = {
        "fid_corrected": "",
        "fid_low": "_low",
        "fid_high": "_high",
        "tokenizer_rfid": "_floor",
        "fid_spread": "_spread",
    }
    return {
        fid_metric(label) + end: float(evaluation[name])
        for name, end in names.items()
        if isinstance(evaluation.get(name), int | float)
    }
