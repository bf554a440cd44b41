"""The first answer of `fit-laws` on a terminal: at most 25 lines of 76 columns, whatever the study."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from var_scaling.cli.run import count, out
from var_scaling.cli.tables import Column, fits, fitting_table

if TYPE_CHECKING:
    from analysis.report.answer import Answer, Told
    from analysis.study.record import StudyLaws

WIDTH = 76
LINES = 25
MOST_QUANTITIES = 6
AFTER = 3  # lines kept for what follows the answer: the next steps, and where the files are
LINES_OF_SEVERAL = 9  # of each family, where a study has several


def show_answer(study: StudyLaws, look: Sequence[str] = (), lines: int = LINES - AFTER, brief: bool = False) -> None:
    """What was fitted, the laws, the exponents; what does not hold, what the rows leave open, what held.

    Args:
        study: the laws.
        look: what is wrong with the work behind the rows, in sentences.
        lines: how many at most in a terminal that is wide enough; a narrow one gets more, as its lines hold less.
        brief: without the table of exponents.
    """
    from analysis.report.answer import answer_of

    answer = answer_of(study, count)
    width = min(WIDTH, out.width)
    told = answer.told[:MOST_QUANTITIES]
    parts: list[Text | Table] = [*wrapped("Laws of ", answer.title, width, "bold")]
    if answer.counts:
        parts += wrapped("", answer.counts, width)
    tables = [
        shown for shown in (_laws(answer, told, width), _exponents(answer, () if brief else told, width)) if shown[1]
    ]
    height = len(parts) + sum(tall for _, tall in tables)
    findings = [
        *((("look", "red"), words) for words in look),
        *((("broken", "yellow"), words) for words in answer.broken),
        *((("note", "yellow"), words) for words in answer.notes),
        *((("open", "cyan"), words) for words in answer.open),
        *((("held", "green"), words) for words in answer.held),
    ]
    room, hidden = round(lines * WIDTH / width) - height, len(answer.told) - len(told)
    blocks = [wrapped(f"{label:<8}", words, width, style) for (label, style), words in findings]
    airy = room - len(tables) >= sum(map(len, blocks))  # findings go before empty lines
    for table, _ in tables:
        parts += [Text(), table] if airy else [table]
    room -= len(tables) if airy else 0
    if hidden or sum(map(len, blocks)) > room:
        room -= 1  # for the line that says so
    elif sum(map(len, blocks)) < room:
        parts.append(Text())
    for block in blocks:
        if len(block) > room:
            hidden += 1
        else:
            room -= len(block)
            parts += block
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, Text), width=None if isinstance(part, Text) else width)
    if hidden:
        out.print(f"        {hidden} more: --all")


def show_next(steps: Sequence[str], files: Sequence[Path]) -> None:
    """Where to go on from here, and where the files are."""
    width = min(WIDTH, out.width)
    first = "next"
    for step in steps:
        for text in wrapped(f"{first:<8}", step, max(width, len(step) + 8), "bold"):  # a command is copied in one line
            out.print(text, soft_wrap=True)
        first = ""
    figures = sum(path.suffix == ".png" for path in files)
    words = f"{figures} figures, " if figures else ""
    folders = ", ".join(dict.fromkeys(str(path.parent) for path in files))
    out.print(Text.assemble(("files   ", "bold"), f"{words}laws.json and tables in {folders}"), soft_wrap=True)


def wrapped(label: str, words: str, width: int, style: str = "") -> list[Text]:
    """Lines with a hanging indent; the label of the first in a colour."""
    broken = textwrap.wrap(words, max(width - len(label), 20), break_long_words=False, break_on_hyphens=False) or [""]
    indent = " " * (len(label) if label.endswith("  ") else 2)
    return [Text.assemble((label, style), broken[0]), *(Text(indent + line) for line in broken[1:])]


def _laws(answer: Answer, told: Sequence[Told], width: int) -> tuple[Table, int]:
    """A line a quantity: its law, and the largest model as predicted without it and as measured; and their number."""
    from analysis.rows.words import number, percent

    rows: list[list[str | Text]] = []
    for each in told:
        cells: list[str | Text] = [each.name, each.law or "refused"]
        if each.test is None:
            rows.append([*cells, "", "", ""])
            continue
        inside = each.test.inside
        verdict = Text(f"{percent(each.test.error)} %{'' if inside else ' out'}", "green" if inside else "red")
        rows.append([*cells, number(each.test.predicted), number(each.test.measured), verdict])
    hidden = "largest model hidden:" if any(each.test for each in told) else ""
    law = f"law {answer.where}".strip()
    numbers = (Column("predicted", True), Column("measured", True), Column("error", True))
    columns = (Column(hidden), Column(law), *numbers)
    if not fits(columns, rows, width):  # a law that is too long on a line of its own, under its quantity
        label = max(len(each.name) for each in told) + 2
        lines = [f"{each.name:<{label}}{each.law or 'refused'}" for each in told]
        alone = [f"{each.name}\n  {each.law or 'refused'}" for each in told]
        heading = f"{law}\n{hidden}".strip()
        firsts = [
            line if fits((Column(heading), *numbers), [[line, *row[2:]]], width) else apart
            for line, apart, row in zip(lines, alone, rows, strict=True)
        ]
        rows = [[first, *row[2:]] for first, row in zip(firsts, rows, strict=True)]
        columns = (Column(heading), *numbers)
    tall = sum(1 + str(row[0]).count("\n") for row in rows) + 1 + columns[0].name.count("\n")
    return fitting_table("", columns, rows, width)[0], tall if any(each.law for each in told) else 0


def _exponents(answer: Answer, told: Sequence[Told], width: int) -> tuple[Table, int]:
    """A line a quantity: its exponents with their intervals, as many as fit."""
    shown = {name: column for name, column in answer.exponents.items() if any(t.target in column for t in told)}
    rows = [[each.name, *(column.get(each.target, "") for column in shown.values())] for each in told]
    columns = [Column("exponent [95 %]")]
    columns += [Column(f"of {name}", worth=9 if place == 0 else 8 - place) for place, name in enumerate(shown)]
    return fitting_table("", columns, rows, width)[0], len(rows) + 1 if shown else 0
