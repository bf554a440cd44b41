"""`var-scaling fit-laws`: all laws of a study or a table, written and told."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling.cli.answer import LINES_OF_SEVERAL, show_answer, show_next
from var_scaling.cli.options import Json
from var_scaling.cli.rows import CSV_ONLY, Rows, problems_as_requests, with_rows
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.cli.tables import Column, fitting_table
from var_scaling.errors import RequestProblem
from var_scaling.runs import layout

HOLDS, BROKEN = ("holds  ", "green"), ("broken ", "yellow")

LAW_COLUMNS = (
    Column("against"),
    Column("form"),
    Column("rows", True, worth=3),
    Column("exponent [95 %]"),
    Column("E [95 %]", worth=5),
    Column("more [95 %]", worth=7),
    Column("r", True, worth=1),
    Column("largest held out", True, worth=4),
    Column("predicted [95 %]", worth=6),
    Column("error", True, worth=8),
    Column("notes", worth=2),
)

if TYPE_CHECKING:
    from rich.text import Text

    from analysis.study.record import LawRecord, StudyLaws


def register(app: typer.Typer) -> None:
    """Add `fit-laws` to `var-scaling`."""
    app.command("fit-laws")(with_rows(fit_laws))


def fit_laws(
    rows: Rows,
    y: Annotated[list[str], typer.Option("--y", help="Column of losses or errors; may be repeated.")] = [],  # noqa: B006
    holdout: Annotated[int, typer.Option("--holdout", help="Hide the largest sizes, predict them.", min=0)] = 1,
    holdout_by: Annotated[
        str, typer.Option("--holdout-by", help="Joint laws hide the largest: size or budget.")
    ] = "size",
    offset: Annotated[list[float], typer.Option("--offset", help="A fixed offset to show beside the fitted.")] = [],  # noqa: B006
    fix: Annotated[
        list[str],
        typer.Option(
            "--fix",
            help="A coefficient that is given and not fitted: NAME=NUMBER (E=1.69, alpha=0.34) or FORM.NAME=NUMBER "
            "(offset.E=0.8). Intervals are conditional on it. May be repeated.",
            metavar="NAME=NUMBER",
        ),
    ] = [],  # noqa: B006
    delta: Annotated[
        float,
        typer.Option("--delta", help="Huber's delta of the law in size and data; inf: least squares, 0: absolute."),
    ] = float("inf"),
    published: Annotated[
        str | None, typer.Option("--published", help="Draw published laws beside these: var.", metavar="NAME")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    style: Annotated[
        str, typer.Option("--style", help="Of the figures: screen, or paper (captions beside them, in paper/).")
    ] = "screen",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write. Default: laws/ beside the rows.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Print every law, check, refusal and note.")] = False,
    json: Json = False,
) -> None:
    """Fit the scaling laws of a study or of any table; write laws.json, tables and figures.

    Prints the answer: each quantity's law, its exponent with a 95 % interval, the largest model as the others predict
    it, what the rows leave open, what held. With --all everything that is in laws.json.

    Examples:
      var-scaling fit-laws

      var-scaling fit-laws depth --all

      var-scaling fit-laws runs/sweeps/depth --holdout 2 --params params_blocks

      var-scaling fit-laws results.csv --x params --y loss --group run

      var-scaling fit-laws results.csv --x n_params --data n_tokens --y loss --offset 1.69

      var-scaling fit-laws results.csv --x n_params --data n_tokens --y loss --fix E=1.69

      var-scaling fit-laws wide.csv --x params --wide tokens

      var-scaling fit-laws depth --style paper
    """
    from rich.text import Text

    from analysis.engine.parallel import no_collection

    if holdout_by not in ("size", "budget"):
        raise RequestProblem(f"--holdout-by is {holdout_by!r}; it is size or budget")
    if style not in ("screen", "paper"):
        raise RequestProblem(f"--style is {style!r}; it is screen or paper")
    if not delta >= 0:
        raise RequestProblem(f"--delta is {delta:g}; it is 0 (absolute deviations), a positive number, or inf")
    for value in offset:
        if not (math.isfinite(value) and value >= 0):
            raise RequestProblem(f"--offset is {value:g}; a fixed offset is finite and not negative")
    with no_collection(), problems_as_requests():
        from analysis.report.files import document, import_figures, plain, write_laws
        from analysis.study.fixing import read_fixes

        fixes = read_fixes(fix)

        where = rows.locate()
        is_csv = where.is_file()
        target = folder or (where.with_name(where.stem + "_laws") if is_csv else layout.laws(where))
        kinds = rows.kinds(where)  # losses of two families share no law: each has its own, in a folder of its own
        asked = [(replace(rows, family=kind), target / kind) for kind in kinds] or [(rows, target)]
        found: list[tuple[StudyLaws, list[Path]]] = []
        with err.status(Text(f"fitting {where}")) as status:

            def progress(part: str) -> None:
                status.update(Text(f"{part} of {where}"))

            look = [] if is_csv or json else _symptoms(where)

            def tell() -> None:
                status.stop()
                if all_:
                    show_study(study)
                elif len(asked) == 1:
                    show_answer(study, look)
                else:
                    show_answer(study, lines=LINES_OF_SEVERAL, brief=True)
                status.start()

            for part, place in asked:
                study = part.laws(
                    where,
                    tuple(y) or None,
                    holdout=holdout,
                    holdout_by=holdout_by,
                    offsets=tuple(offset),
                    delta=delta,
                    fix=fixes,
                    progress=progress,
                    meanwhile=import_figures if figures else None,
                )
                written: list[Path] = []
                if study.fitted or not is_csv:
                    shown = None if json else tell
                    written = write_laws(
                        study,
                        place,
                        figures=figures,
                        published=published,
                        style=style,
                        progress=progress,
                        meanwhile=shown,
                    )
                found.append((study, written))
    documents = [document(study) | {"files": [str(path) for path in written]} for study, written in found if json]
    if json:
        whole = {"families": dict(zip(kinds, documents, strict=True))} if kinds else documents[0]
        print_json(plain(whole))
    else:
        for study, written in found:
            if not written:
                show_study(study)
        if kinds:
            out.print("families beside one another, by FID: var-scaling compare", soft_wrap=True)
        if all_ or kinds:
            for words in look:
                out.print(f"look: {words}", soft_wrap=True)
        if any(written for _, written in found):
            show_next(
                next_steps(asked[0][0], where, found[0][0], y), [path for _, written in found for path in written]
            )
    study = found[0][0]
    if is_csv and not study.fitted:
        laws: dict[tuple[str, str], list[str]] = {}
        for record in study.refused:
            laws.setdefault((record.refusal.code, record.refusal.sentence), []).append(record.name)
        raise RequestProblem(
            *(f"refused ({code}): {'; '.join(names)}: {words}" for (code, words), names in laws.items())
        )


def next_steps(rows: Rows, where: Path, study: StudyLaws, targets: Sequence[str] = ()) -> list[str]:
    """Commands that go on from here: what is missing first, then a prediction beyond the rows, then the page."""
    said = "" if rows.source is None else f" {shlex.quote(str(rows.source))}"
    said += "" if rows.runs == Path("runs") else f" --runs {shlex.quote(str(rows.runs))}"
    columns, steps = study.columns, []
    if study.rows.attrs.get("left_out"):
        steps.append(f"var-sweep status {where.name}")
    if columns.depth is not None and layout.study_source(where).is_file():
        kind = "" if rows.family is None else f" --family {shlex.quote(rows.family)}"
        steps.append(f"var-scaling predict{said}{kind} --depth {int(study.rows[columns.depth].max()) + 2}")
    elif columns.params is not None:
        named = "".join(
            f" --{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
            for name in (*CSV_ONLY, "compute", "params", "family")
            if (value := getattr(rows, name))
        )
        named += f" --y {shlex.quote(targets[0])}" if targets else ""
        steps.append(f"var-scaling predict{said}{named} --size {2 * float(study.rows[columns.params].max()):.2g}")
    if layout.study(where).is_file():
        steps.append(f"var-scaling report{said}")
    return steps


def _symptoms(folder: Path) -> list[str]:
    """What is wrong with the work that the laws stand on, where it is a sweep's."""
    from var_scaling.runs import store
    from var_scaling.runs.symptoms import of_sweep

    study = store.read_json(layout.study(folder))
    return of_sweep(folder.parent.parent, study) if study else []


def show_study(study: StudyLaws) -> None:
    """The laws on a terminal: what falls, each law with interval and held-out size, refusals, notes."""
    from rich.text import Text

    from analysis.rows.words import target_words

    out.print(
        Text.assemble(
            (f"Laws of {study.name}", "bold"), f": {len(study.rows)} rows. {'; '.join(study.conventions.values())}"
        ),
        soft_wrap=True,
    )
    left_out: list[str] = []
    for target in dict.fromkeys(record.target for record in study.records):
        lines = [_law_cells(record) for record in study.find(target)]
        table, without = fitting_table(target_words(target), LAW_COLUMNS, lines, out.width)
        left_out += without
        out.print(table)
    if left_out:
        names = ", ".join(dict.fromkeys(left_out))
        out.print(f"left out for want of width: {names}; they are in table.csv", soft_wrap=True)
    _show_deepest(study)
    for check in study.falls:
        if check.pairs and not check.holds:
            out.print(Text.assemble(BROKEN, check.sentence), soft_wrap=True)
    holding = [check for check in study.falls if check.holds]
    for words, group in groupby(holding, lambda check: check.sentence.removeprefix(check.target)):
        targets = ", ".join(check.target for check in group)
        out.print(Text.assemble(HOLDS, targets + words), soft_wrap=True)
    for sentence in study.other_sentences():
        out.print(sentence, soft_wrap=True)
    seen: set[str] = set()
    for record in study.records:
        if record.refusal is not None and record.refusal.code not in seen:
            seen.add(record.refusal.code)
            out.print(
                Text.assemble(
                    ("refused ", "yellow"), f"{record.name} ({record.refusal.code}): {record.refusal.sentence}"
                ),
                soft_wrap=True,
            )
    for note in study.notes:
        out.print(f"note {note}", soft_wrap=True)
    told: set[str] = set()
    for record in study.fitted:
        for note in record.law.notes:
            if note.code not in told:
                told.add(note.code)
                words = f"note {note.code} ({record.name}): {note.sentence}"
                out.print(words, soft_wrap=True)


def _show_deepest(study: StudyLaws) -> None:
    """The largest model predicted from the others: each of the first target; of the others what fails, and a count."""
    from rich.text import Text

    from analysis.report.sentences import deepest_sentence
    from analysis.rows.budgets import MOST_BUDGETS
    from analysis.rows.checks import spread
    from analysis.rows.words import AGAINST_WORDS
    from analysis.study.comparison import deepest_checks

    for (target, against), group in groupby(deepest_checks(study), itemgetter("target", "against")):
        checks = list(group)
        good = sum(check["holds"] for check in checks)
        shown = [checks[place] for place in spread(len(checks), MOST_BUDGETS)]
        if target != study.columns.targets[0]:
            shown = [check for check in shown if not check["holds"]]
        for check in shown:
            words = Text.assemble(HOLDS if check["holds"] else BROKEN, deepest_sentence(study, check))
            out.print(words, soft_wrap=True)
        if len(shown) < len(checks):
            law = AGAINST_WORDS[against]
            words = f"{target} by laws of {law}: {good} of {len(checks)} such predictions hold; all are in laws.json"
            out.print(words, soft_wrap=True)


def _law_cells(record: LawRecord) -> list[str | Text]:
    """One law, or its refusal, as the cells of a terminal table."""
    from rich.text import Text

    from analysis.rows.words import AGAINST_WORDS, number, percent, span
    from analysis.study.reading import exponents

    against = AGAINST_WORDS[record.against] + ("" if record.budget is None else f" at {count(record.budget)}")
    if record.law is None:
        refused: list[str | Text] = [against, record.form, "", Text(f"refused: {record.refusal.code}", "yellow")]
        return refused + [""] * (len(LAW_COLUMNS) - len(refused))
    law = record.law
    form = ", ".join([record.form, *(f"{name} given" for name in law.given)])
    read_for = [
        (
            name.endswith("^"),
            f"{name}{'' if name.endswith('^') else ' '}{number(value, 3)} "
            + ("[given]" if law.given and interval[0] == interval[1] else f"[{span(*interval, 3)}]"),
        )
        for name, _, value, interval in exponents(record)
    ]
    floor = law.kind.floor
    offset = "" if floor is None else number(law.coefficients[floor])
    if floor is not None and law.kind.floor_fitted:
        offset += f" [{span(*law.interval(floor), 3)}]"
    r = getattr(law, "correlation", None)
    held: list[str | Text] = ["", "", record.backtest_refusal.code if record.backtest_refusal else ""]
    if record.backtests:
        test = record.backtests[-1]
        colour = "green" if test.inside else "red"
        held = [
            number(test.measured),
            f"{number(test.predicted)} [{span(test.low, test.high)}]",
            Text(f"{percent(test.error)} % {'inside' if test.inside else 'outside'}", colour),
        ]
    return [
        against,
        form,
        str(law.rows_used),
        "\n".join(words for is_exponent, words in read_for if is_exponent),
        offset,
        "\n".join(words for is_exponent, words in read_for if not is_exponent),
        "" if r is None else "--" if math.isnan(r) else f"{r:.4f}",
        *held,
        " ".join(dict.fromkeys(note.code for note in law.notes)),
    ]
