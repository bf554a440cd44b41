"""What the rows themselves say before any fit: do losses fall, does the recipe stay, are conventions one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import checks
from analysis.counting import amount, amount_name
from analysis.errors import Note
from analysis.table import ENOUGH_SIZES, ONE_AMOUNT, SIX_ND, Columns, shared_computes, usual

# Columns of a row that are recipe. A study's plan shows what varies; the law has to as well.
RECIPE = (
    "learning_rate",
    "weight_decay",
    "gamma_init",
    "drop_path",
    "batch_size",
    "views",
    "unique_images",
    "epochs",
    "schedule",
    "head_dim",
)
CONVENTIONS = ("family", "tokenizer", "data", "tokens_per_image", "numerics")
LEAST_COUNT = 1e4  # the largest model, and the longest run, of a ladder have at least so many parameters and images
MOST_KINDS = 20  # a text column of more names runs
RULED = ("learning_rate", "weight_decay", "gamma_init", "drop_path")  # what recipes set as a power of depth
RULE_HOLDS = 0.01  # in logs, at every row
MOVES = 1.001  # a hyper-parameter whose largest value over its smallest is below this has not moved


@dataclass(frozen=True)
class FallCheck:
    """Whether a loss falls along one direction.

    Attributes:
        target: the loss column.
        along: "size" or "budget".
        pairs: neighbouring pairs compared (means over seeds).
        violations: sentences, worst first; empty where it falls everywhere.
        worst: largest relative rise, 0 where it falls everywhere.
        budget: what sentences call the budget: a CSV's column by its name.
    """

    target: str
    along: str
    pairs: int
    violations: tuple[str, ...]
    worst: float
    budget: str = "budget"

    @property
    def holds(self) -> bool:
        """Falls at every pair, and there was one to compare."""
        return not self.violations and self.pairs > 0

    @property
    def sentence(self) -> str:
        """For the terminal and laws.json."""
        along, other = ("size", self.budget) if self.along == "size" else (self.budget, "size")
        every = other if other in ("size", "budget") else f"value of {other}"
        if not self.pairs:
            return f"{self.target}: nothing to compare along {along}"
        if self.holds:
            return f"{self.target} falls with {along} at every {every} ({self.pairs} pairs)"
        return (
            f"{self.target} {'rises' if self.worst else 'does not fall'} with {along}: "
            + "; ".join(self.violations[:4])
            + (f"; and {len(self.violations) - 4} more" if len(self.violations) > 4 else "")
        )


def fall_checks(rows: pd.DataFrame, columns: Columns) -> list[FallCheck]:
    """Each target against size at every budget, and against budget at every size, on means over seeds.

    Where data repeat, only among rows of one amount of unique data.
    """
    if columns.params is None or columns.budget is None or columns.budgets == ():
        return []
    if columns.budgets:
        rows = rows[rows[columns.budget].isin(columns.budgets)]
    label = "depth" if "depth" in rows else columns.params
    budget = amount_name(columns.budget)
    budget = "budget" if budget == "images" else budget
    found = []
    for target in columns.targets:
        known = rows.dropna(subset=[target])
        unique = _amounts_of_unique(known, columns)  # more data may be worth less where they were seen more often
        places = known.groupby([columns.params, columns.budget, unique])[target].mean()
        names = rows.groupby(columns.params)[label].first()
        for along, level in (("size", 0), ("budget", 1)):
            rises, pairs = [], 0
            table = places.unstack(level).T
            for (fixed, _), series in table.items():
                series = series.dropna()
                for (before, low), (after, high) in zip(series.items(), list(series.items())[1:], strict=False):
                    pairs += 1
                    if high >= low:
                        step = (names[before], names[after]) if along == "size" else (before, after)
                        place = amount(columns.budget, f"{fixed:g}") if along == "size" else f"{label} {names[fixed]:g}"
                        what = label if along == "size" else amount_name(columns.budget)
                        rises.append(
                            (
                                high / low - 1,
                                f"{_step(low, high)} from {what} {step[0]:g} to {step[1]:g} at {place}",
                            )
                        )
            rises.sort(key=lambda entry: -entry[0])
            worst = rises[0][0] if rises else 0.0
            found.append(FallCheck(target, along, pairs, tuple(text for _, text in rises), worst, budget))
    return found


def _amounts_of_unique(rows: pd.DataFrame, columns: Columns) -> pd.Series:
    """An integer code of each amount of unique data; one for all rows where nothing is known to repeat."""
    codes = checks.bins(rows[columns.unique].to_numpy(float), ONE_AMOUNT) if columns.unique else 0
    return pd.Series(codes, rows.index, name="amount of unique data")


def _step(low: float, high: float) -> str:
    """Two losses in as many digits as tell them apart."""
    if low == high:
        return f"{low:.4g} stays"
    digits = next((digits for digits in (4, 7) if f"{low:.{digits}g}" != f"{high:.{digits}g}"), 12)
    return f"{low:.{digits}g} -> {high:.{digits}g}"


def recipe_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`recipe_moves`: hyper-parameters that change with the size of the model at one budget.

    One that is a power of depth at every size is the recipe's own rule: said, quietly. Anything else that moves (one
    size tuned by hand, another batch, other data) is said on every figure.
    """
    if columns.params is None:
        return ()
    moved, ruled = [], []
    largest, by_rule = 1.0, 1.0
    for name in RECIPE:
        if name not in rows:
            continue
        groups = rows.groupby(columns.budget) if columns.budget else [(None, rows)]
        for _, group in groups:
            per_size = group.groupby(columns.params)[name].first().dropna()
            if not pd.api.types.is_numeric_dtype(per_size):
                if per_size.nunique() > 1:
                    moved.append(f"{name} ({', '.join(map(str, per_size.unique()[:3]))})")
                    break
                continue
            low, high = per_size.min(), per_size.max()
            if not (len(per_size) > 1 and high > 0 and (low <= 0 or high / low > MOVES)):
                continue
            ratio = float(high / low) if low > 0 else np.inf
            rule = _rule(group, columns, name) if name in RULED else None
            if rule is not None:
                ruled.append(rule)
                by_rule = max(by_rule, ratio)
            else:
                moved.append(f"{name} ({per_size.iloc[0]:.3g} at the smallest, {per_size.iloc[-1]:.3g} at the largest)")
                largest = max(largest, ratio if np.isfinite(ratio) else largest)
            break
    notes = []
    if moved:
        words = f"size is not all that varies with size: {'; '.join(moved)}; the exponent belongs to that recipe"
        notes.append(Note("recipe_moves", words, largest))
    if ruled:
        words = f"by rule, at every size: {'; '.join(ruled)}; the exponent is that of this recipe"
        notes.append(Note("recipe_moves", words, by_rule, quiet=True))
    return tuple(notes)


def _rule(rows: pd.DataFrame, columns: Columns, name: str) -> str | None:
    """``learning_rate = 0.036 depth^-1`` where one power holds at three sizes or more, all of their rows; else None."""
    label = "depth" if "depth" in rows else columns.params
    per_size = rows.groupby(label)[name].agg(["min", "max"])
    if len(per_size) < 3 or (per_size["min"] <= 0).any():
        return None
    values = np.log(per_size.to_numpy(float))
    slope, level = np.polyfit(np.log(per_size.index.to_numpy(float)), values.mean(1), 1)
    away = np.abs(values - (level + slope * np.log(per_size.index.to_numpy(float)))[:, None]).max()
    return f"{name} = {np.exp(level):.3g} {label}^{slope:.3g}" if away < RULE_HOLDS else None


def convention_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: more than one family, tokenizer, data set or evaluation in one fit."""
    notes = []
    evaluation = [
        name
        for name in rows
        if name.startswith(
            ("fid_features_", "fid_reference_", "fid_samples_", "fid_guidance_", "fid_top_k_", "fid_top_p_")
        )
    ]
    for name in (*CONVENTIONS, *evaluation):
        if name not in rows or (name == "family" and columns.x is None and columns.compute is None):
            continue  # FID given loss is fitted one family at a time
        found = rows[name].dropna().unique()
        if len(found) > 1:
            listed = ", ".join(str(value)[:24] for value in found[:4])
            notes.append(
                Note(
                    "mixed_conventions",
                    f"{name} has {len(found)} values ({listed}) in one fit; losses and scores of "
                    "different kinds share no law: fit them apart",
                    len(found),
                )
            )
    return tuple(notes)


def budget_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`rows_left_out`: rows whose D has too few sizes for a law against N, or one law too many."""
    if not columns.budgets:
        return ()
    amounts = rows[columns.budget]
    left = amounts[~amounts.isin(columns.budgets)]
    if left.empty:
        return ()
    values = [f"{value:.6g}" for value in np.sort(left.unique())]
    one = f" and one {columns.unique}" if columns.unique else ""
    words = (
        f"{len(columns.budgets)} of {amounts.nunique()} values of {columns.budget} have laws against N (those with "
        f"most rows, evenly chosen among equals, at least {ENOUGH_SIZES} sizes{one}); in no such law: "
        f"{checks.listed(values)} ({len(left)} rows)"
    )
    return (Note("rows_left_out", words, len(left)),)


def unused_notes(rows: pd.DataFrame, columns: Columns, own: bool) -> tuple[Note, ...]:
    """`mixed_conventions`: a column that no law uses says that rows saw other data, or the same data again.

    Of a CSV also one that says that they are of several kinds.
    """
    if columns.x is None and columns.compute is None:
        return ()
    notes = [] if own else _kinds(rows, columns)
    used = (columns.data, columns.compute, columns.budget, columns.x)
    if columns.params and columns.data is None:
        notes += _unused_amount(rows, columns.params, used)
    epochs = usual(rows, "epochs")
    if epochs is not None and columns.epochs is None and epochs not in used:
        most = float(pd.to_numeric(rows[epochs], errors="coerce").max())
        if most > 1:
            way = "the reuse constant needs runs on different numbers of unique images" if own else "see --epochs"
            words = f"{epochs} reaches {most:.4g} and no law uses it: data seen again count as new ones ({way})"
            notes.append(Note("mixed_conventions", words, most, quiet=own))
    return tuple(notes)


def _unused_amount(rows: pd.DataFrame, params: str, used: tuple[str | None, ...]) -> list[Note]:
    """Of data, steps and compute the first that rows of like size differ in, unless a law uses it."""
    for part, option in (("data", "--data"), ("steps", "--data"), ("compute", "--compute")):
        name = usual(rows, part)
        if name is None or name in used:
            continue
        values = pd.to_numeric(rows[name], errors="coerce")
        of_size = values.groupby(rows[params])
        most = float((of_size.max() / of_size.min()).max())
        if part == "compute" and (values > 0).all() and shared_computes(rows[params], values) > 1:
            most = float(values.max() / values.min())
        if most > MOVES:
            like = "one" if part != "compute" else "like"
            words = f"rows of {like} size differ in {name} (up to {most:.3g} times) and no law uses it; see {option}"
            return [Note("mixed_conventions", words, most)]
    return []


def pooled_notes(rows: pd.DataFrame, columns: Columns, own: bool) -> tuple[Note, ...]:
    """`mixed_conventions`: rows of one size and amount that differ in more than their seed, a learning rate say."""
    parts = (columns.x, columns.data, columns.budget, columns.compute, columns.unique, columns.epochs)
    places = [name for name in dict.fromkeys(parts) if name]
    if columns.x is None and columns.compute is None:
        return ()
    spoken_of = (usual(rows, part) for part in ("seed", "data", "steps", "epochs", "unique", "compute"))
    known = (*places, *columns.targets, columns.run, *spoken_of)
    notes = []
    for name in RECIPE if own else rows.select_dtypes("number"):
        if name not in rows or name in known:
            continue
        kinds = rows.groupby(places)[name].transform("nunique") > 1
        tried = rows.loc[kinds, [*places, name]].dropna().drop_duplicates()
        found = sorted(tried[name].unique())
        if len(found) < 2 or not (own or _chosen(tried[name])):
            continue
        listed = ", ".join(value if isinstance(value, str) else f"{value:.4g}" for value in found[:4])
        words = f"rows of one size and amount differ in {name} ({listed}{', ...' if len(found) > 4 else ''}) and are "
        words += "fitted as repeats, their differences as noise; fit a table of each"
        notes.append(Note("mixed_conventions", words, len(found)))
    return tuple(notes)


def _chosen(tried: pd.Series) -> bool:
    """Whether numbers were chosen, not measured: few, each in several places, and not 0, 1, 2 or 42, 43, 44."""
    counts = tried.value_counts().sort_index()
    found = counts.index.to_numpy(float)
    running = (found == np.round(found)).all() and (np.diff(found) == 1).all()
    return len(found) <= MOST_KINDS and counts.min() > 1 and not running


def unit_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: sizes or data too small to be counts, where 6 N D is taken for training FLOPs."""
    if columns.compute != SIX_ND:
        return ()
    most = {name: float(rows[name].max()) for name in (columns.params, columns.data)}
    small = {name: value for name, value in most.items() if value < LEAST_COUNT}
    if not small:
        return ()
    listed = " and ".join(f"{name} is {value:.4g} at most" for name, value in small.items())
    words = f"{listed}, too few for a count: {SIX_ND} is training FLOPs only where both are in units, not in millions"
    return (Note("mixed_conventions", words, min(small.values())),)


def repeat_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: beside the law of repeated data, laws that take data seen again for new ones."""
    most = 1.0 if columns.epochs is None else float(rows[columns.epochs].max())
    if columns.params is None or most <= 1:
        return ()
    words = f"{columns.epochs} reaches {most:.4g}: laws in C, and in N and D alone, count data seen again as new ones; "
    return (Note("mixed_conventions", words + "only the law of repeated data tells them apart", most),)


def _kinds(rows: pd.DataFrame, columns: Columns) -> list[Note]:
    """Of each column of texts or truth values that names no rows, sizes or amounts: its kinds, fitted as one."""
    parts = [name for name in (columns.params, columns.data, columns.compute, columns.run, columns.budget) if name]
    notes = []
    for name in rows:
        counts = pd.api.types.is_numeric_dtype(rows[name]) and not pd.api.types.is_bool_dtype(rows[name])
        if counts or name in (*parts, *columns.targets, *CONVENTIONS):
            continue
        kinds = rows.groupby(name)
        found = list(kinds.groups)
        if not 2 <= len(found) <= MOST_KINDS or len(found) == rows[name].count():
            continue
        if (kinds[parts].nunique() <= 1).all().any():  # each kind is one size, amount or run, by another name
            continue
        listed = ", ".join(str(kind)[:40] for kind in found[:4]) + (", ..." if len(found) > 4 else "")
        words = f"rows of {len(found)} values of {name} ({listed}) are fitted as one; where they differ in more than "
        words += "size and data, fit a table of each"
        notes.append(Note("mixed_conventions", words, len(found)))
    return notes


def left_out_notes(rows: pd.DataFrame) -> tuple[Note, ...]:
    """`rows_left_out`: budgets of the study that gave no row, by cause."""
    left = rows.attrs.get("left_out", [])
    if not left:
        return ()
    causes = pd.Series([entry["cause"] for entry in left]).value_counts()
    listed = ", ".join(f"{count} {cause}" for cause, count in causes.items())
    names = ", ".join(dict.fromkeys(str(entry["folder"]) for entry in left[:6]))
    return (
        Note(
            "rows_left_out",
            f"{len(left)} budgets of this study have no row and are not in the fits ({listed}): {names}"
            + (" ..." if len(left) > 6 else ""),
            len(left),
        ),
    )
