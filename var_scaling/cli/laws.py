"""`var-scaling fit-laws | predict | allocate | expect | design`: laws from rows, and plans from laws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import EnvironmentProblem, RequestProblem

if TYPE_CHECKING:
    from analysis.study import LawRecord, StudyLaws

Runs = Annotated[Path, typer.Option("--runs", help="Folder of trials, stages and sweeps.", envvar="VAR_SCALING_RUNS")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Source = Annotated[
    Path | None, typer.Argument(help="A sweep, a folder of trials, or a CSV. Default: the newest sweep.")
]


def register(app: typer.Typer) -> None:
    """Add the five commands to `var-scaling`."""
    app.command("fit-laws")(fit_laws)


@contextmanager
def problems_as_requests() -> Iterator[None]:
    """Whatever a user can cause becomes a sentence and exit code 2; a disk that cannot be written becomes 3."""
    from analysis import CannotFit

    try:
        yield
    except CannotFit as refusal:
        raise RequestProblem(f"refused ({refusal.code}): {refusal.sentence}") from refusal
    except FileNotFoundError as error:
        raise RequestProblem(str(error)) from error
    except OSError as error:
        raise EnvironmentProblem(f"{error}; choose another folder with --out") from error
    except ValueError as error:
        raise RequestProblem(str(error)) from error


def fit_laws(
    source: Source = None,
    runs: Runs = Path("runs"),
    x: Annotated[str | None, typer.Option("--x", help="CSV: column of model sizes (or of compute).")] = None,
    y: Annotated[list[str], typer.Option("--y", help="Column of losses or errors; may be repeated.")] = [],  # noqa: B006
    data: Annotated[str | None, typer.Option("--data", help="CSV: column of tokens or images seen.")] = None,
    compute: Annotated[str | None, typer.Option("--compute", help="Column of training FLOPs.")] = None,
    group: Annotated[str | None, typer.Option("--group", help="CSV: column that names the run of a row.")] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="CSV: column; each of its values gets laws of its own.")
    ] = None,
    params: Annotated[str, typer.Option("--params", help="Which count of parameters is N.")] = "params_total",
    holdout: Annotated[int, typer.Option("--holdout", help="Hide the largest sizes, predict them.", min=0)] = 1,
    offset: Annotated[list[float], typer.Option("--offset", help="A fixed offset to show beside the fitted.")] = [],  # noqa: B006
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="CSV: equal rows are runs of their own.")
    ] = False,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write. Default: laws/ beside the rows.")
    ] = None,
    json: Json = False,
) -> None:
    """Fit the scaling laws of a study or of any table; write laws.json, tables and figures.

    Examples:
      var-scaling fit-laws

      var-scaling fit-laws runs/sweeps/depth --holdout 2 --params params_blocks

      var-scaling fit-laws results.csv --x params --y loss --group run

      var-scaling fit-laws results.csv --x n_params --data n_tokens --y loss --offset 1.69
    """
    from analysis.load import newest_sweep
    from analysis.output import plain

    with problems_as_requests():
        where = source if source is not None else newest_sweep(runs)
        is_csv = where.is_file()
        with err.status(f"fitting {where}") as status:

            def progress(part: str) -> None:
                status.update(f"{part} of {where}")

            if is_csv:
                study, written = _fit_csv(
                    where,
                    x or (None if params == "params_total" else params),
                    tuple(y),
                    data,
                    compute,
                    group,
                    budget,
                    holdout,
                    tuple(offset),
                    keep_duplicates,
                    figures,
                    folder,
                    progress,
                )
            else:
                from analysis.output import laws_of

                study, written = laws_of(
                    where,
                    folder,
                    holdout=holdout,
                    params=params,
                    compute=compute or "train_flops",
                    targets=tuple(y) or None,
                    offsets=tuple(offset),
                    figures=figures,
                    progress=progress,
                )
    if json:
        print_json(plain(study.as_dict() | {"files": [str(path) for path in written]}))
    else:
        show_study(study, written)
    if is_csv and not study.fitted:
        raise RequestProblem(
            *(f"refused ({record.refusal.code}): {record.name}: {record.refusal.sentence}" for record in study.refused)
        )


def _fit_csv(
    where: Path, x, y, data, compute, group, budget, holdout, offsets, keep_duplicates, figures, folder, progress
):
    from analysis.load import load_runs
    from analysis.output import write_laws
    from analysis.study import fit_study
    from analysis.table import check_table, csv_columns

    table = load_runs(where)
    columns = csv_columns(table, x, y, data, compute, group, budget)
    table = check_table(table, columns, keep_duplicates)
    study = fit_study(
        table, columns, name=where.stem, source=str(where), holdout=holdout, offsets=offsets, progress=progress
    )
    if not study.fitted:
        return study, []
    return study, write_laws(
        study, folder or where.with_suffix("").with_name(where.stem + "_laws"), figures=figures, progress=progress
    )


def show_study(study: StudyLaws, written: list[Path]) -> None:
    """The laws on a terminal: what falls, each law with interval and held-out size, refusals, notes."""
    from rich.table import Table

    from analysis.lawtable import target_words

    out.print(
        f"[bold]Laws of {study.name}[/bold]: {len(study.rows)} rows. " + "; ".join(study.conventions.values()),
        highlight=False,
        soft_wrap=True,
    )
    for target in dict.fromkeys(record.target for record in study.records):
        table = Table(box=None, pad_edge=False, header_style="bold", title=target_words(target), title_justify="left")
        for name, right in (
            ("against", False),
            ("form", False),
            ("rows", True),
            ("exponent [95 %]", False),
            ("E [95 %]", False),
            ("r", True),
            ("largest held out", True),
            ("predicted [95 %]", False),
            ("error", True),
            ("notes", False),
        ):
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for record in study.find(target):
            table.add_row(*_law_cells(record))
        out.print(table, highlight=False)
    for check in study.falls:
        out.print(
            ("[green]holds[/green]  " if check.holds else "[yellow]broken[/yellow] ") + check.sentence,
            highlight=False,
            soft_wrap=True,
        )
    seen: set[str] = set()
    for record in study.records:
        if record.refusal is not None and record.refusal.code not in seen:
            seen.add(record.refusal.code)
            out.print(
                f"[yellow]refused[/yellow] {record.name} ({record.refusal.code}): {record.refusal.sentence}",
                highlight=False,
                soft_wrap=True,
            )
    for note in study.notes:
        out.print(f"note {note}", highlight=False, soft_wrap=True)
    told: set[str] = set()
    for record in study.fitted:
        for note in record.law.notes:
            if note.code not in told:
                told.add(note.code)
                out.print(f"note {note.code} ({record.name}): {note.sentence}", highlight=False, soft_wrap=True)
    if written:
        out.print(f"{len(written)} files in {written[0].parent}", highlight=False, soft_wrap=True)


def _law_cells(record: LawRecord) -> list[str]:
    """One law, or its refusal, as the cells of a terminal table."""
    from analysis.lawtable import AGAINST_WORDS, exponent_names, number, span

    against = AGAINST_WORDS[record.against] + ("" if record.budget is None else f" at {count(record.budget)}")
    if record.law is None:
        return [against, record.form, "", f"[yellow]refused: {record.refusal.code}"]
    law = record.law
    names = exponent_names(law)
    exponents = [
        ("" if len(names) == 1 else f"{key} ") + f"{number(law.coefficients[key], 3)} [{span(*law.interval(key), 3)}]"
        for key in names
    ]
    offset = "" if record.form == "power" else number(law.coefficients["E"])
    if record.form != "power" and "fixed" not in record.form:
        offset += f" [{span(*law.interval('E'), 3)}]"
    r = getattr(law, "correlation", None)
    held = ["", "", record.backtest_refusal.code if record.backtest_refusal else ""]
    if record.backtests:
        test = record.backtests[-1]
        colour = "[green]" if test.inside else "[red]"
        held = [
            number(test.measured),
            f"{number(test.predicted)} [{span(test.low, test.high)}]",
            f"{colour}{100 * test.error:+.2f} % {'inside' if test.inside else 'outside'}",
        ]
    return [
        against,
        record.form,
        str(law.rows_used),
        "\n".join(exponents),
        offset,
        "" if r is None else f"{r:.4f}",
        *held,
        " ".join(dict.fromkeys(note.code for note in law.notes)),
    ]
