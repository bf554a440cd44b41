"""What the rows themselves say before any fit: do losses fall, does the recipe stay, are conventions one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import checks
from analysis.counting import amount, amount_name, counted
from analysis.errors import Note
from analysis.table import (
    ENOUGH_SIZES,
    ONE_AMOUNT,
    ONE_SIZE,
    SIX_ND,
    Columns,
    most_unique,
    plain_name,
    shared_computes,
    usual,
)

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
MOST_KINDS = 20  # a text column of more names runs, where most of its names stand in one row
MANY_SIZES, TWELFTHS = 24, 12  # a ladder of more sizes is compared by twelfths: neighbours differ by their luck
# How people call hyper-parameters in a table of their own, as guesses compare names.
HYPERS = frozenset(
    "lr learningrate maxlr peaklr baselr initlr lrmax minlr bs batch batchsize globalbatchsize tokensperbatch wd "
    "weightdecay warmup warmupsteps warmuptokens warmupratio beta1 beta2 adambeta1 adambeta2 eps epsilon momentum "
    "dropout droppath labelsmoothing gradclip clip ema emadecay initstd sigma temperature".split()
)
RULED = ("learning_rate", "weight_decay", "gamma_init", "drop_path")  # what recipes set as a power of depth
RULE_HOLDS = 0.01  # in logs, at every row
MOVES = 1.001  # a hyper-parameter whose largest value over its smallest is below this has not moved


@dataclass(frozen=True)
class FallCheck:
    """Whether a loss falls along one direction.

    Attributes:
        target: the loss column.
        along: "size", "budget", or of a table that knows no sizes its column of data.
        pairs: neighbouring pairs compared (means over seeds).
        violations: sentences, worst first; empty where it falls everywhere.
        worst: largest relative rise, 0 where it falls everywhere.
        budget: what sentences call the budget: a CSV's column by its name; empty of one ladder.
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
        if not self.pairs:
            return f"{self.target}: nothing to compare along {along}"
        if self.holds:
            every = "" if not other else f" at every {other if other in ('size', 'budget') else f'value of {other}'}"
            return f"{self.target} falls with {along}{every} ({self.pairs} pairs)"
        return (
            f"{self.target} {'rises' if self.worst else 'does not fall'} with {along}: "
            + "; ".join(self.violations[:4])
            + (f"; and {len(self.violations) - 4} more" if len(self.violations) > 4 else "")
        )


def fall_checks(rows: pd.DataFrame, columns: Columns) -> list[FallCheck]:
    """Each target along its one ladder; or against size at every budget, and against budget at every size.

    On means over seeds, of a ladder of many sizes on means over a twelfth of them. Where data repeat, only among rows
    of one amount of unique data.
    """
    if columns.budget is None and columns.x is not None:
        return [_along_ladder(rows.dropna(subset=[target]), columns, target) for target in columns.targets]
    if columns.params is None or columns.budget is None or columns.budgets == ():
        return []
    if columns.budgets:
        rows = rows[rows[columns.budget].isin(columns.budgets)]
    label = columns.depth or columns.params
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
                if along == "size":
                    name, at = label, f" at {amount(columns.budget, counted(fixed))}"
                    series = series.rename(names)
                else:
                    name, at = amount_name(columns.budget), f" at {label} {names[fixed]:g}"
                more, compared = _rises(series.dropna(), name, at)
                rises, pairs = rises + more, pairs + compared
            found.append(_fall_check(target, along, pairs, rises, budget))
    return found


def _along_ladder(rows: pd.DataFrame, columns: Columns, target: str) -> FallCheck:
    x = rows[columns.x].astype(float)
    codes = checks.group_sizes(x.to_numpy())
    if codes.max(initial=0) >= MANY_SIZES:
        codes = codes * TWELFTHS // (codes.max() + 1)
    unique = _amounts_of_unique(rows, columns).to_numpy()
    places = pd.DataFrame({"x": x, "y": rows[target]}).groupby([unique, codes]).agg({"x": "median", "y": "mean"})
    rises, pairs, name = [], 0, columns.depth or columns.x
    depths = rows[columns.depth].groupby(x).first() if columns.depth else None
    for _, part in places.groupby(level=0):
        series = part.set_index("x")["y"]
        if depths is not None and series.index.isin(depths.index).all():
            series = series.rename(depths)
        more, compared = _rises(series, columns.x if series.index.name == "x" else name, "")
        rises, pairs = rises + more, pairs + compared
    return _fall_check(target, "size" if columns.against == "params" else columns.x, pairs, rises, "")


def _rises(series: pd.Series, name: str, at: str) -> tuple[list[tuple[float, str]], int]:
    """Neighbours of which the second is not lower: by how much, and in words; and how many were compared."""
    rises = []
    places, values = series.index.to_numpy(float), series.to_numpy(float)
    for before, after, low, high in zip(places, places[1:], values, values[1:], strict=False):
        if high > low:
            less, more = _told_apart(low, high)
            words = f"from {name} {before:.4g} ({less}) to {after:.4g} ({more}){at}, {100 * (high / low - 1):.2g} %"
            rises.append((high / low - 1, words))
        elif high == low:
            rises.append((0.0, f"{low:.4g} stays from {name} {before:.4g} to {after:.4g}{at}"))
    return rises, max(len(values) - 1, 0)


def _fall_check(target: str, along: str, pairs: int, rises: list[tuple[float, str]], budget: str) -> FallCheck:
    rises = sorted(rises, key=lambda entry: -entry[0])
    worst = rises[0][0] if rises else 0.0
    return FallCheck(target, along, pairs, tuple(text for _, text in rises), worst, budget)


def _amounts_of_unique(rows: pd.DataFrame, columns: Columns) -> pd.Series:
    """An integer code of each amount of unique data; one for all rows where nothing is known to repeat."""
    codes = checks.bins(rows[columns.unique].to_numpy(float), ONE_AMOUNT) if columns.unique else 0
    return pd.Series(codes, rows.index, name="amount of unique data")


def _told_apart(low: float, high: float) -> tuple[str, str]:
    """Two losses in as many digits as tell them apart."""
    digits = next((digits for digits in (4, 7) if f"{low:.{digits}g}" != f"{high:.{digits}g}"), 12)
    return f"{low:.{digits}g}", f"{high:.{digits}g}"


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
    label = columns.depth or columns.params
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
    """`rows_left_out`: rows whose D has too few sizes for a law against N, or one law too many, or that repeat more."""
    if columns.unique and columns.budget and columns.budgets != ():
        most = rows.groupby(columns.budget, group_keys=False)[rows.columns.to_list()].apply(most_unique, columns)
        if len(most) < len(rows):
            words = (
                f"laws at one {amount_name(columns.budget)} take its rows of most {columns.unique}: "
                f"{len(rows) - len(most)} rows of fewer, some seen again, are in no such law; the law of repeated data "
                "has them all"
            )
            return (Note("rows_left_out", words, len(rows) - len(most)),)
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
        if most >= 1 + ONE_SIZE:
            like = "one" if part != "compute" else "like"
            apart = f"up to {most:.3g} times" if most >= 2 else f"by up to {100 * (most - 1):.2g} %"
            words = f"rows of {like} size differ in {name} ({apart}) and no law uses it; see {option}"
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
        if len(found) < 2 or not (own or plain_name(name) in HYPERS or _chosen(tried[name])):
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


def run_notes(rows: pd.DataFrame, columns: Columns) -> tuple[Note, ...]:
    """`mixed_conventions`: a column that looks like the names of runs, whose rows then are no independent ones.

    Each of its values is one size at several amounts of data, some sizes have several, and no fit knows of it.
    """
    if columns.run is not None or columns.params is None or columns.data is None:
        return ()
    for name in rows:
        parts = (columns.params, columns.data, columns.compute, columns.budget, *columns.targets, *columns.derived)
        if name in parts or pd.api.types.is_float_dtype(rows[name]) or plain_name(str(name)) in HYPERS:
            continue
        values = rows[[name, columns.params, columns.data]].dropna()
        runs = values.groupby(name)
        if len(values) < 2 * runs.ngroups or runs[columns.params].nunique().max() > 1:
            continue
        if values.duplicated([name, columns.data]).any() or runs.ngroups <= values[columns.params].nunique():
            continue
        words = (
            f"each value of {name} is one size at several {columns.data}, as checkpoints of one run are; counted as "
        )
        words += f"independent they make intervals too narrow: name the runs with --group {name}"
        return (Note("mixed_conventions", words, runs.ngroups),)
    return ()


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
        most = max(MOST_KINDS, rows[name].count() // 2)
        if not 2 <= len(found) <= most or len(found) == rows[name].count():
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
