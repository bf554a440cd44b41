"""How predictions from laws look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from var_scaling.cli.run import out
from var_scaling.cli.tables import Column, fitting_table

if TYPE_CHECKING:
    from analysis.errors import Note
    from analysis.plans.predict import Prediction


def print_predictions(answers: Sequence[Prediction]) -> None:
    """A line a quantity, of whole numbers in any width; then by which law each, and notes."""
    from analysis.report.answer import quantities
    from analysis.rows.words import carried, number

    names = quantities(answer.target for answer in answers)
    columns = (
        Column("quantity"),
        Column("predicted", True),
        Column("95 % for one run", worth=8),
        Column("95 % of the law", worth=7),
    )
    rows = []
    for answer in answers:
        value, low, high = carried(answer.value, answer.low, answer.high)
        value = number(answer.value) if len(value) < len(number(answer.value)) else value
        _, law_low, law_high = carried(answer.value, answer.law_low, answer.law_high)
        rows.append([names[answer.target], value, f"[{low}, {high}]", f"[{law_low}, {law_high}]"])
    out.print(fitting_table("", columns, rows, out.width)[0])
    laws: dict[str, list[str]] = {}
    for answer in answers:
        laws.setdefault(answer.law.removeprefix(f"{answer.target} "), []).append(names[answer.target])
    for law, whose in laws.items():
        words = f"law {law}" + ("" if len(laws) == 1 else f": {'; '.join(whose)}")
        out.print(words, soft_wrap=True)
    print_notes([note for answer in answers for note in answer.notes])


def print_notes(notes: Sequence[Note]) -> None:
    """Each note once."""
    for note in {note.sentence: note for note in notes}.values():
        out.print(f"note {note}", soft_wrap=True)
