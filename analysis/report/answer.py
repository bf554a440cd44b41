"""The first answer of a study: what was fitted, each quantity's law, what is told, what is not, what held."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analysis.errors import CannotFit
from analysis.laws.backtest import Backtest
from analysis.report.formula import formula
from analysis.rows import checks
from analysis.rows.counting import amount, amount_name, counted
from analysis.rows.names import GUESSES
from analysis.rows.words import AGAINST_WORDS, carried, number, percent, target_words
from analysis.study.comparison import ignoring_size
from analysis.study.headline import FIRST, floor_determined, headline_record, of_one_form
from analysis.study.reading import exponents, slope_known
from analysis.study.record import LawRecord, StudyLaws

Count = Callable[[float], str]


@dataclass(frozen=True)
class Told:
    """One quantity: its law and the largest model, hidden from the fit.

    Attributes:
        target: the column.
        name: in words.
        law: as a formula; empty where every fit was refused.
        test: the hidden model, predicted; None where none could be hidden.
        record: the law.
    """

    target: str
    name: str
    law: str
    test: Backtest | None
    record: LawRecord | None


@dataclass(frozen=True)
class Answer:
    """What a study says first; lines of text, without layout.

    Attributes:
        title: what was fitted.
        counts: how N, D and C are counted.
        where: at which budget the laws of `told` stand; empty where they span budgets.
        told: one a quantity.
        exponents: by heading (``N at 61,440 images``) the exponent of each quantity, by target, with its interval.
        notes: what the reader of these laws has to know, such as rows of several kinds in one fit; isoFLOP minima.
        open: what the rows do not determine, and why.
        held: what was checked and held.
        broken: what was checked and did not hold.
    """

    title: str
    counts: str
    where: str
    told: tuple[Told, ...]
    exponents: dict[str, dict[str, str]]
    notes: tuple[str, ...]
    open: tuple[str, ...]
    held: tuple[str, ...]
    broken: tuple[str, ...]

    def as_dict(self) -> dict:
        """Plain types, for laws.json."""
        return self.__dict__ | {
            "told": [
                {
                    "target": each.target,
                    "name": each.name,
                    "law": each.law,
                    "hidden": None if each.test is None else each.test.as_dict(),
                }
                for each in self.told
            ]
        }


def answer_of(study: StudyLaws, count: Count = counted) -> Answer:
    """What a study says first.

    Args:
        study: the laws.
        count: how parameters are written.
    """
    names = quantities(study.columns.targets)
    told = tuple(_told(study, target, name) for target, name in names.items())
    budgets = {each.record.budget for each in told if each.record is not None}
    budget = next(iter(budgets)) if len(budgets) == 1 else None
    held, broken = _checked(study)
    minima, none = study.isoflop_sentences(), isinstance(study.isoflop, CannotFit)
    return Answer(
        title=_title(study, count),
        counts="; ".join(
            study.conventions[name].partition(",")[0].partition(" (")[0] for name in "NDC" if name in study.conventions
        ),
        where="" if budget is None else f"at {amount(study.columns.budget, counted(budget))}",
        told=told,
        exponents=_exponents(study, count),
        notes=(*(note.sentence for note in study.notes if not note.quiet), *([] if none else minima[:1])),
        open=(
            *_open(study),
            *(minima if none and study.columns.depth is None else []),
        ),  # a ladder of depths is no grid
        held=held,
        broken=broken,
    )


def quantities(targets: Iterable[str]) -> dict[str, str]:
    """Targets in few words: ``error, last scale``; ``FID classifier``, in full where two FIDs share that word."""
    names = {}
    for target in targets:
        label = target.removeprefix("fid_corrected_")
        names[target] = target_words(target).removeprefix("token ") if label == target else f"FID {label}"
    short = {target: name.partition("-")[0] if name.startswith("FID ") else name for target, name in names.items()}
    return {target: name if list(short.values()).count(name) == 1 else names[target] for target, name in short.items()}


def _told(study: StudyLaws, target: str, name: str) -> Told:
    record = headline_record(study, target)
    if record is None:
        return Told(target, name, "", None, None)
    return Told(target, name, formula(record), _largest(record), record)


def _largest(record: LawRecord) -> Backtest | None:
    """The hidden point of the largest size, at the largest amount of data."""
    return max(record.backtests, key=lambda test: test.inputs, default=None)


def _title(study: StudyLaws, count: Count) -> str:
    columns, rows = study.columns, study.rows
    text = f"{study.name}: {len(rows)} row{'' if len(rows) == 1 else 's'}"
    if columns.params is not None:
        sizes = rows[columns.params].to_numpy(float)
        number_of = int(checks.group_sizes(sizes).max()) + 1
        low, high = float(sizes.min()), float(sizes.max())
        span = count(low) if number_of == 1 else f"{count(low)} to {count(high)}"
        depths = sorted(rows[columns.depth].unique()) if columns.depth else []
        deep = f"depth {depths[0]:g} to {depths[-1]:g}, " if len(depths) > 1 else ""
        known = "param" in columns.params.lower() or columns.params in GUESSES["params"]
        what = f"{span} parameters" if known else f"{columns.params} {span}"  # GMACs and examples are none
        text += f" of {number_of} size{'' if number_of == 1 else 's'} ({deep}{what})"
    if columns.budget is not None and columns.budgets != ():
        values = sorted(rows[columns.budget].unique() if columns.budgets is None else columns.budgets)
        listed = " and ".join(counted(value) for value in values)
        if len(values) > 2:
            listed = f"{counted(values[0])} to {counted(values[-1])}"
        name = amount_name(columns.budget)
        number_of_budgets = f"{len(values)} budgets of " if len(values) > 2 else ""
        text += f" at {number_of_budgets}{listed} {name}" if name == "images" else f" at {len(values)} values of {name}"
    if "seed" in rows:
        seeds = rows["seed"].nunique()
        text += f", {seeds} seed{'' if seeds == 1 else 's'}"
    return text


def _exponents(study: StudyLaws, count: Count) -> dict[str, dict[str, str]]:
    """By heading, by target; first those of the headline's kind, then in compute, then joint, then at less data."""
    found: dict[str, dict[str, str]] = {}
    against = dict.fromkeys(("params", "data", "compute", "params, data", "params, data, epochs"))
    for which in (*((each, -1) for each in against), ("params", 0)):
        for target in study.columns.targets:
            records = of_one_form(study, target, which[0])
            if not records:
                continue
            record = records[which[1]]
            for name, _, value, interval in exponents(record):
                if not name.endswith("^"):
                    continue
                seen = record.budget
                at = "" if seen is None else f" at {counted(seen) if seen < 1e7 else count(seen)}"
                at = " (joint law)" if record.against.startswith("params, data") else at
                text, low, high = carried(value, *interval)
                column = found.setdefault(name.removesuffix("^") + at, {})
                given = record.law is not None and record.law.given and interval[0] == interval[1]
                column.setdefault(target, f"{text} given" if given else f"{text} [{low}, {high}]")
    return found


def _open(study: StudyLaws) -> Iterable[str]:
    """What the rows do not determine: exponents that may be 0, floors without a lower limit, laws that were refused."""
    targets, name_of = study.columns.targets, quantities(study.columns.targets)
    vague: dict[str, list[str]] = {}
    bottomless: dict[str, list[str]] = {}
    for against in FIRST:
        for target in targets:
            records = of_one_form(study, target, against)
            at = AGAINST_WORDS[against].removesuffix(" (frontier)")
            if records and not slope_known(records[-1]):
                vague.setdefault(at, []).append(target)
            elif records and not floor_determined(records[-1]):
                bottomless.setdefault(at, []).append(target)
    for at, names in vague.items():
        yield f"exponent of {at}, which may be 0: {_all_of(names, name_of)}"
    for at, names in bottomless.items():
        yield f"floor against {at}, which may be 0: {_all_of(names, name_of)}"
    refused: dict[tuple[str, str], dict[str, dict[str, None]]] = {}
    for record in study.refused:
        reason = record.refusal.sentence.partition(";")[0].partition(": ")[0]
        forms = refused.setdefault((AGAINST_WORDS[record.against], reason), {})
        forms.setdefault(record.form, {})[record.target] = None
    for (at, reason), forms in refused.items():
        names = list(dict.fromkeys(name for found in forms.values() for name in found))
        whose = "" if set(names) >= set(targets) else f" of {_all_of(names, name_of)}"
        yield f"law in {at} ({', '.join(forms)}){whose}: {reason}"


def _all_of(targets: list[str], name_of: dict[str, str]) -> str:
    if len(targets) == len(name_of) > 1:
        return "each quantity"
    but = [name for target, name in name_of.items() if target not in targets]
    if len(but) == 1 and len(targets) > 2:
        return f"all but {but[0]}"
    return "; ".join(name_of[target] for target in targets)


def _checked(study: StudyLaws) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What held, in one sentence, and what did not, each in its own."""
    held, broken = [], []
    compared = [check for check in study.falls if check.pairs]
    falling = [check for check in compared if check.holds]
    if falling:
        along = dict.fromkeys(check.along if check.along == "size" else check.budget for check in falling)
        where = "" if len(falling) == len(compared) else f" in {len(falling)} of {len(compared)} directions"
        held.append(f"falls with {' and '.join(along)}{where} ({sum(check.pairs for check in falling)} pairs)")
    broken += [check.sentence for check in compared if not check.holds]
    tests, name_of = _hidden(study), quantities(study.columns.targets)
    if tests:
        inside = sum(test.inside for _, _, test, _ in tests)
        nearer = sum(flat is None or abs(test.error) < abs(flat) for _, _, test, flat in tests)
        held.append(
            f"hidden model inside its interval {inside} of {len(tests)}, nearer than its smaller neighbour "
            f"{nearer} of {len(tests)}"
        )
    for target, at, test, _ in tests:
        if not test.inside:
            broken.append(
                f"{name_of[target]}{at}: hidden {number(test.measured)} outside "
                f"[{number(test.low)}, {number(test.high)}], {percent(test.error)} %"
            )
    return ("; ".join(held),) if held else (), tuple(broken)


def _hidden(study: StudyLaws) -> list[tuple[str, str, Backtest, float | None]]:
    """Each prediction of the largest size by the laws that are told, with the miss of the next smaller model's own."""
    found = []
    for target in study.columns.targets:
        for against in ("params", "data", "params, data", "params, data, epochs"):
            for record in of_one_form(study, target, against):
                largest = max((test.inputs[0] for test in record.backtests), default=None)
                for test in record.backtests:
                    if test.inputs[0] == largest:
                        seen = record.budget if len(test.inputs) == 1 else test.inputs[1]
                        at = "" if seen is None else f" at {counted(seen)}"
                        flat = ignoring_size(record.rows, test) if against.startswith("params") else None
                        found.append((target, at, test, flat))
    return found
