"""A study's own sensitivity and collapse: which fits are repeated, with what left out or counted differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import CannotFit
from analysis.laws.isoflop import IsoFlop, fit_isoflop
from analysis.laws.law import Law
from analysis.laws.parametric import fit_chinchilla
from analysis.laws.power import fit_power_law
from analysis.rows import checks
from analysis.rows.budgets import ENOUGH_SIZES, ONE_COMPUTE, most_unique
from analysis.rows.columns import SIX_ND, Columns, run_names
from analysis.rows.counting import COMPUTE_WORDS, PARAMS_WORDS
from analysis.study import sensitivity
from analysis.study.collapse import Collapse, collapse, read_curves
from analysis.study.frontier import cell_frontier

SAME_SIX_ND = 0.01  # derived from what was planned to agree, so it agrees
APART = 4  # widths of a budget between one budget and the next
LEAST_MINIMA = 3  # that make a law


def study_sensitivity(
    rows: pd.DataFrame, columns: Columns, delta: float, fix: Mapping[str, float]
) -> tuple[dict[str, pd.DataFrame], str]:
    """The first target's law, over all budgets if they carry one, repeated; and which law that is, in words."""
    target = columns.targets[0]
    table = rows[rows[target].notna()]
    tables: dict[str, pd.DataFrame] = {}
    try:
        if columns.data is None:
            raise CannotFit("too_few_sizes", "no data column", 0)
        _joint(table, columns, target, columns.params, np.ones(len(table), bool), delta, fix)
        names, of = ("E", "alpha", "beta", "a_opt"), f"E + A/N^alpha + B/D^beta of {target}, all budgets"

        def fit(mask: np.ndarray, params: str = columns.params, delta: float = delta) -> Law:
            return _joint(table, columns, target, params, mask, delta, fix)

        tables["delta"] = sensitivity.deltas(lambda delta: fit(np.ones(len(table), bool), delta=delta), names)
    except CannotFit:
        names, of = ("E", "alpha"), f"E + (beta N)^alpha of {target}"
        if columns.budgets == ():  # no law against N to repeat
            return {}, ""
        if columns.budget is not None:
            largest = max(columns.budgets or table[columns.budget])
            table = most_unique(table[table[columns.budget] == largest], columns)
            of += f" at {largest:g}"

        def fit(mask: np.ndarray, params: str = columns.params) -> Law:
            part = table[mask]
            return fit_power_law(part[params], part[target], "fit", run_names(part, columns))

    everything = np.ones(len(table), bool)
    tables["drop_worst"] = sensitivity.drop_worst(fit, table[target].to_numpy(float), names)
    tables["drop_each_size"] = sensitivity.drop_each_size(fit, table[columns.params].to_numpy(float), names)
    counts = [name for name in PARAMS_WORDS if name in table]
    if len(counts) > 1:
        fits = {name: (lambda name=name: fit(everything, name)) for name in counts}
        tables["params_convention"] = sensitivity.conventions(fits, names)
    if columns.compute:
        tables["compute_convention"] = _compute_conventions(rows[rows[target].notna()], columns, target)
    return tables, of


def study_collapse(rows: pd.DataFrame, columns: Columns, folders: Path) -> Collapse | None:
    """Normalised training curves of the largest budget; None where the rows have no folders or too few curves."""
    if columns.budget is None or columns.params is None or "folder" not in rows:
        return None
    last = most_unique(rows[rows["images_seen"] == rows["images_seen"].max()], columns)
    seeds = last["seed"] if "seed" in last else pd.Series(0, index=last.index)
    trials = [
        (folders / folder, float(size), seed)
        for folder, size, seed in zip(last["folder"], last[columns.params], seeds, strict=True)
    ]
    return collapse(read_curves(trials, int(last["images_seen"].iloc[0])))


def study_isoflop(rows: pd.DataFrame, columns: Columns) -> IsoFlop | CannotFit | None:
    """Minima of the first target over size at equal compute; the refusal where there are none, None without columns."""
    if columns.params is None or columns.compute is None:
        return None
    target = columns.targets[0]
    table = rows[rows[target].notna()]
    try:
        table = _equal_compute(table, columns)
        data = None if columns.data is None else table[columns.data]
        return fit_isoflop(table[columns.compute], table[columns.params], table[target], data=data)
    except CannotFit as refusal:
        return refusal


def _equal_compute(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Rows whose compute agrees at four sizes or more; other tables hold such rows by chance, which are no valleys.

    Raises:
        CannotFit: ``too_few_sizes`` where that is less than half of all rows, or budgets lie next to one another.
    """
    width = SAME_SIX_ND if columns.compute == SIX_ND else ONE_COMPUTE
    budgets = pd.Series(checks.bins(table[columns.compute].to_numpy(), width), table.index)
    kept = table[table.groupby(budgets)[columns.params].transform("nunique") >= ENOUGH_SIZES]
    if len(kept) < len(table) / 2:
        raise CannotFit(
            "too_few_sizes",
            f"{len(kept)} of {len(table)} rows lie at a compute that {ENOUGH_SIZES} sizes share (within {width:.0%}): "
            f"they are no isoFLOP grid{_way_out(table, columns)}",
            len(kept),
        )
    apart = np.diff(np.log(kept.groupby(budgets)[columns.compute].median()))
    gap = float(np.median(apart)) if len(apart) else np.inf
    if gap < APART * width:
        raise CannotFit(
            "too_few_sizes",
            f"computes lie {100 * np.expm1(gap):.0f} % apart: the rows are points all over the plane, no isoFLOP grid",
            gap,
        )
    return kept


def _way_out(table: pd.DataFrame, columns: Columns) -> str:
    """What would make it one: a column of planned compute, at whose values larger sizes saw less; else other runs."""
    used = (
        columns.params,
        columns.data,
        columns.compute,
        columns.unique,
        columns.epochs,
        columns.run,
        *columns.targets,
    )
    for name in table.select_dtypes("number") if columns.data else ():
        if name in used or not (table[name] > 0).all():
            continue
        shared = table.groupby(name)
        sizes = shared[columns.params].nunique()
        found = table[table[name].map(sizes) >= ENOUGH_SIZES]
        if found[name].nunique() < LEAST_MINIMA or len(found) < len(table) / 2:
            continue
        product = (found[columns.params] * found[columns.data]).groupby(found[name])
        size = found.groupby(name)[columns.params]
        if (product.max() / product.min()).max() >= (size.max() / size.min()).min():
            continue  # more parameters at one value cost more: it is no compute
        sizes = sizes[sizes >= ENOUGH_SIZES]
        each = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
        words = f"; {name} holds {len(sizes)} values that {each} sizes share, like planned compute"
        return f"{words}: name it with --compute {name}"
    return f"; train {ENOUGH_SIZES} sizes at each of {LEAST_MINIMA} computes, or read the joint law"


def _joint(table: pd.DataFrame, columns: Columns, target: str, params: str, mask: np.ndarray, delta: float, fix) -> Law:
    part = table[mask]
    return fit_chinchilla(part[params], part[columns.data], part[target], delta, run_names(part, columns), fix=fix)


def _compute_conventions(table: pd.DataFrame, columns: Columns, target: str) -> pd.DataFrame:
    """The frontier's exponent, with a fitted offset and without, under each count of compute that the rows carry."""
    lines = []
    for name in dict.fromkeys([columns.compute, *COMPUTE_WORDS]):
        if name not in table:
            continue
        points = cell_frontier(table, replace(columns, compute=name), target)
        line: dict = {"convention": name}
        for key, offset in (("alpha", "fit"), ("alpha_without_offset", "none")):
            try:
                line[key] = fit_power_law(points["x"], points["y"], offset).coefficients["alpha"]
            except CannotFit:
                line[key] = np.nan
        lines.append(line)
    return pd.DataFrame(lines)
