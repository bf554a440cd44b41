"""A row as a run of its own: its name, what it may be sorted by, and what is drawn of it. Pure.

N, C and D are the paper's letters: parameters, training FLOPs of the row's own path, images seen. Losses and errors of
two families, and FIDs of two settings, are different measurements and never share a metric, so their names say which.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from var_scaling.families.registry import families

PREFIX = "budget"
N, C, D = f"{PREFIX}/N_params", f"{PREFIX}/C_train_flops", f"{PREFIX}/D_images"
LOG10 = {
    N: f"{PREFIX}/log10_N",
    C: f"{PREFIX}/log10_C",
    D: f"{PREFIX}/log10_D",
}  # the axes of MLflow's scatters are linear


def losses(row: Mapping[str, Any]) -> list[str]:
    """Columns of what a row says of the validation set as a whole; the first is the family's headline.

    A family that is not installed here (a tracker is filled from anywhere) is read by the names of its columns.
    """
    family = families().get(str(row.get("family")))
    names = [c.name for c in family.losses] if family else [n for n in row if n.startswith(("loss", "error"))]
    return [name for name in names if name in row and not re.search(r"_scale_\d+$", name)]


def headline(row: Mapping[str, Any]) -> str | None:
    """The column of the validation loss that counts."""
    return next(iter(losses(row)), None)


def loss_names(row: Mapping[str, Any]) -> dict[str, str]:
    """Each of `losses` -> what it is called here: the headline is `loss`, an error over all is `error`."""
    first = headline(row)
    return {c: "loss" if c == first else c.replace("error_all_scales", "error") for c in losses(row)}


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
    return found | {of_family(f"{PREFIX}/{name}", family): float(row[c]) for c, name in loss_names(row).items()}


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
