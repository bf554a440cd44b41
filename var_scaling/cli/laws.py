"""`var-scaling fit-laws | predict | allocate | expect | design`: laws from rows, and plans from laws."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import EnvironmentProblem, RequestProblem

if TYPE_CHECKING:
    import pandas as pd

    from analysis.errors import Note
    from analysis.planning import Prediction
    from analysis.study import LawRecord, StudyLaws

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
CSV_ONLY = ("x", "data", "group", "budget", "epochs", "keep_duplicates", "drop_missing")


@dataclass(frozen=True)
class Rows:
    """Where the rows are and what their columns are called: the options that all five commands share."""

    source: Annotated[
        Path | None, typer.Argument(help="A sweep, a folder of trials, or a CSV. Default: the newest sweep.")
    ] = None
    runs: Annotated[
        Path, typer.Option("--runs", help="Folder of trials, stages and sweeps.", envvar="VAR_SCALING_RUNS")
    ] = Path("runs")
    x: Annotated[str | None, typer.Option("--x", help="CSV: column of model sizes (or of compute).")] = None
    data: Annotated[str | None, typer.Option("--data", help="CSV: column of tokens or images seen.")] = None
    compute: Annotated[str | None, typer.Option("--compute", help="Column of training FLOPs.")] = None
    group: Annotated[str | None, typer.Option("--group", help="CSV: column that names the run of a row.")] = None
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="CSV: column; each of its values gets laws of its own. Default: D, where sizes have several.",
        ),
    ] = None
    epochs: Annotated[
        str | None,
        typer.Option(
            "--epochs",
            help="CSV: column of passes over the unique data; fits the law of repeated data. --data is the data seen, "
            "or (a column called unique_...) the unique data.",
        ),
    ] = None
    params: Annotated[
        str | None, typer.Option("--params", help="Which count of parameters is N. Default: params_total.")
    ] = None
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="CSV: equal rows are runs of their own.")
    ] = False
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="CSV: leave out rows whose loss is empty, and name them.")
    ] = False

    def locate(self) -> Path:
        """What was named: a path, else a sweep by its name, else the newest sweep.

        Raises:
            RequestProblem: options that what was named has no use for.
        """
        from analysis.load import newest_sweep

        where = self.source
        if where is None:
            where = newest_sweep(self.runs)
        elif not where.exists() and (self.runs / "sweeps" / where).is_dir():
            where = self.runs / "sweeps" / where
        unused = [f"--{name.replace('_', '-')}" for name in CSV_ONLY if getattr(self, name)]
        if unused and where.is_dir():
            raise RequestProblem(f"{where} holds trials, whose columns are known: leave out {', '.join(unused)}")
        if self.x and self.params and where.is_file():
            raise RequestProblem("--x and --params both name the CSV's column of sizes; give one of them")
        return where

    def laws(self, where: Path, targets: tuple[str, ...] | None, **fit: Any) -> StudyLaws:
        """The laws of what :meth:`locate` found.

        Args:
            where: a folder or a CSV.
            targets: columns to fit; None takes all that a study has, or the usual one of a CSV.
            **fit: options of both :func:`analysis.output.study_of` and :func:`analysis.output.study_of_csv`.
        """
        from analysis.output import study_of, study_of_csv

        if not where.is_file():
            params, compute = self.params or "params_total", self.compute or "train_flops"
            return study_of(where, params=params, compute=compute, targets=targets, **fit)
        named = {name: getattr(self, name) for name in CSV_ONLY} | {"x": self.x or self.params}
        return study_of_csv(where, y=targets or (), compute=self.compute, **named, **fit)


def with_rows(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter, `rows`, is made of the options of :class:`Rows`."""
    shared = inspect.signature(Rows).parameters
    hints = get_type_hints(command, include_extras=True) | get_type_hints(Rows, include_extras=True)

    @wraps(command)
    def called(**given: Any) -> None:
        rows = Rows(**{name: given.pop(name) for name in shared})
        command(rows, **given)

    own = list(inspect.signature(command).parameters.values())[1:]
    signature = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name])
        for each in (*shared.values(), *own)
    ]
    called.__signature__ = inspect.Signature(signature)  # what typer reads
    called.__annotations__ = {each.name: each.annotation for each in signature}
    return called


def register(app: typer.Typer) -> None:
    """Add the five commands to `var-scaling`."""
    for name, command in (
        ("fit-laws", fit_laws),
        ("predict", predict),
        ("allocate", allocate),
        ("expect", expect),
        ("design", design),
    ):
        app.command(name)(with_rows(command))


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
    rows: Rows,
    y: Annotated[list[str], typer.Option("--y", help="Column of losses or errors; may be repeated.")] = [],  # noqa: B006
    holdout: Annotated[int, typer.Option("--holdout", help="Hide the largest sizes, predict them.", min=0)] = 1,
    holdout_by: Annotated[
        str, typer.Option("--holdout-by", help="Joint laws hide the largest: size or budget.")
    ] = "size",
    offset: Annotated[list[float], typer.Option("--offset", help="A fixed offset to show beside the fitted.")] = [],  # noqa: B006
    delta: Annotated[
        float,
        typer.Option("--delta", help="Huber's delta of the law in size and data; inf: least squares, 0: absolute."),
    ] = float("inf"),
    published: Annotated[
        str | None, typer.Option("--published", help="Draw published laws beside these: var.", metavar="NAME")
    ] = None,
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
    from analysis.parallel import no_collection

    if holdout_by not in ("size", "budget"):
        raise RequestProblem(f"--holdout-by is {holdout_by!r}; it is size or budget")
    if not delta >= 0:
        raise RequestProblem(f"--delta is {delta:g}; it is 0 (absolute deviations), a positive number, or inf")
    with no_collection(), problems_as_requests():
        from analysis.output import document, import_figures, plain, write_laws

        where = rows.locate()
        is_csv = where.is_file()
        with err.status(f"fitting {where}") as status:

            def progress(part: str) -> None:
                status.update(f"{part} of {where}")

            def tell() -> None:
                status.stop()
                show_study(study)
                status.start()

            study = rows.laws(
                where,
                tuple(y) or None,
                holdout=holdout,
                holdout_by=holdout_by,
                offsets=tuple(offset),
                delta=delta,
                progress=progress,
                meanwhile=import_figures if figures else None,
            )
            target = folder or (where.with_name(where.stem + "_laws") if is_csv else where / "laws")
            written: list[Path] = []
            if study.fitted or not is_csv:
                shown = None if json else tell
                written = write_laws(
                    study, target, figures=figures, published=published, progress=progress, meanwhile=shown
                )
    if json:
        print_json(plain(document(study) | {"files": [str(path) for path in written]}))
    elif written:
        out.print(f"{len(written)} files in {written[0].parent}", highlight=False, soft_wrap=True)
    else:
        show_study(study)
    if is_csv and not study.fitted:
        raise RequestProblem(
            *(f"refused ({record.refusal.code}): {record.name}: {record.refusal.sentence}" for record in study.refused)
        )


Target = Annotated[
    str | None, typer.Option("--target", "--y", help="Which loss, error or FID column. Default: the first.")
]
Depth = Annotated[int | None, typer.Option("--depth", help="Depth of the model.", min=1)]
Size = Annotated[float | None, typer.Option("--size", help="Parameters, in place of a depth.", min=0)]
Images = Annotated[
    float | None, typer.Option("--images", help="Images seen. Default: the study's largest budget.", min=0)
]


def predict(
    rows: Rows,
    depth: Depth = None,
    images: Images = None,
    size: Size = None,
    target: Annotated[
        str | None, typer.Option("--target", "--y", help="Which loss, error or FID column. Default: all of a study.")
    ] = None,
    json: Json = False,
) -> None:
    """Predict loss, error and FID of a model that was not trained, with intervals.

    Examples:

      var-scaling predict --depth 36

      var-scaling predict runs/sweeps/depth --depth 10 --images 200000 --json
    """
    from analysis import CannotFit
    from analysis.counting import amount
    from analysis.planning import predict_run

    _one_model(depth, size)
    with problems_as_requests():
        study, where = _study(rows, target, every=True)
        params, seen = _point(study, where, depth, size, images)
        answers, refusals = [], []
        for column in study.columns.targets:
            try:
                answers.append(predict_run(study, column, params, seen))
            except CannotFit as refusal:
                refusals.append((column, refusal))
        if not answers:
            raise refusals[0][1]
    if json:
        print_json(
            {
                "params": params,
                "images": seen,
                "predictions": [answer.as_dict() for answer in answers],
                "refused": [{"target": column} | refusal.as_dict() for column, refusal in refusals],
            }
        )
        return
    words = f"{count(params)} parameters, {amount(study.columns.data, count(seen))}"
    out.print(f"{words} ({study.conventions['N']})", highlight=False)
    _print_predictions(answers)
    for column, refusal in refusals:
        out.print(
            f"[yellow]refused[/yellow] {column} ({refusal.code}): {refusal.sentence}", highlight=False, soft_wrap=True
        )


def allocate(
    rows: Rows,
    flops: Annotated[float, typer.Option("--flops", help="Training FLOPs to spend, e.g. 1e21.")],
    device: Annotated[
        str | None, typer.Option("--device", help="For GPU-hours: a device of the rows, or h100, a100.")
    ] = None,
    target: Target = None,
    top: Annotated[int, typer.Option("--top", help="How many candidates to show.", min=1)] = 7,
    json: Json = False,
) -> None:
    """Spend a compute budget: best depth (with its recipe), images, expected loss, device hours.

    Examples:

      var-scaling allocate --flops 1e21 --device h100

      var-scaling allocate runs/sweeps/depth --flops 1e14
    """
    from analysis.counting import amount, amount_name
    from analysis.output import plain
    from analysis.planning import allocate as best_allocation
    from analysis.planning import device_rate

    if not flops > 0:
        raise RequestProblem(f"the budget is {flops:g} FLOPs; give a positive number")
    with problems_as_requests():
        study, where = _study(rows, target)
        candidates, origin = _candidates(study, where)
        plan = best_allocation(study, candidates, flops, study.columns.targets[0])
        rate = device_rate(study.rows, device)
    hours = None if rate is None else flops / rate[0] / 3600
    if json:
        document = {
            "flops": flops,
            "depth": plan.depth,
            "images": plan.images,
            "prediction": plan.prediction.as_dict(),
            "best_size": dict(zip(("params", "low", "high"), plan.continuous, strict=True)),
            "device_hours": hours,
            "device_rate": None if rate is None else {"flops_per_second": rate[0], "source": rate[1]},
            "candidates": origin,
            "notes": [note.as_dict() for note in plan.notes],
            "table": plan.table.to_dict("records"),
        }
        print_json(plain(document))
        return
    from rich.table import Table

    best = plan.prediction
    size, low, high = plan.continuous
    at = int(plan.table["loss"].argmin())
    chosen = f"{count(plan.table['params'][at])} parameters" if plan.depth is None else f"depth {plan.depth}"
    out.print(
        f"[bold]{chosen}, {amount(study.columns.data, f'{plan.images:,.0f}')}[/bold]: "
        f"{best.target} {best.value:.4g} "
        f"[95 %: {best.low:.4g} to {best.high:.4g} for one run]; best size {count(size)} "
        f"[{count(low)} to {count(high)}] parameters",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    near = plan.table.nsmallest(top, "loss").sort_values("params")
    for name in (
        *(["depth"] if "depth" in near else []),
        "params",
        amount_name(study.columns.data),
        *(["learning rate"] if "learning_rate" in near else []),
        "loss",
        "95 % of the law",
        "best in",
    ):
        table.add_column(name, justify="right")
    for line in near.itertuples():
        table.add_row(
            *([f"{line.depth:g}"] if "depth" in near else []),
            count(line.params),
            f"{line.images:,.0f}",
            *([f"{line.learning_rate:.3g}"] if "learning_rate" in near else []),
            f"{line.loss:.4f}",
            f"{line.low:.4f} to {line.high:.4f}",
            f"{100 * line.chance:.0f} %",
            style="green" if line.Index == at else None,
        )
    out.print(table, highlight=False)
    out.print(f"law: {best.law}; candidates from {origin}", highlight=False, soft_wrap=True)
    if rate is not None:
        out.print(f"{hours:.3g} device hours at {rate[0]:.3g} FLOP/s ({rate[1]})", highlight=False, soft_wrap=True)
    _print_notes(plan.notes)


def expect(
    rows: Rows,
    depth: Depth = None,
    images: Images = None,
    size: Size = None,
    loss: Annotated[float | None, typer.Option("--loss", help="Your value: is it normal?")] = None,
    target: Target = None,
    json: Json = False,
) -> None:
    """Answer "is my loss normal": what the law expects of a run, with the interval for one run.

    Examples:

      var-scaling expect --depth 8 --images 1e6

      var-scaling expect --depth 8 --images 1e6 --loss 3.31
    """
    from analysis.planning import expect as expectation

    _one_model(depth, size)
    with problems_as_requests():
        study, where = _study(rows, target)
        params, seen = _point(study, where, depth, size, images)
        answer = expectation(study, study.columns.targets[0], params, seen, loss)
    if json:
        print_json(
            answer.prediction.as_dict()
            | {"measured": answer.measured, "verdict": answer.verdict, "deviation": answer.deviation}
        )
        return
    _print_predictions([answer.prediction])
    if answer.measured is not None:
        colour = "green" if answer.verdict == "normal" else "yellow"
        out.print(
            f"{answer.measured:.4g} is [{colour}]{answer.verdict}[/{colour}]: {answer.deviation:+.1f} standard "
            "deviations of a new run from the law",
            highlight=False,
        )


def design(
    rows: Rows,
    quantity: Annotated[
        str, typer.Option("--quantity", help="alpha, beta, E, a_opt, ... or loss (with --depth or --size)")
    ] = "alpha",
    depth: Depth = None,
    size: Size = None,
    images: Images = None,
    most: Annotated[float | None, typer.Option("--flops", help="The most FLOPs that one new trial may cost.")] = None,
    target: Target = None,
    top: Annotated[int, typer.Option("--top", help="How many trials to propose.", min=1)] = 8,
    json: Json = False,
) -> None:
    """Propose which trial to add: the one that shrinks a quantity's interval most per FLOP.

    Examples:

      var-scaling design --quantity a_opt --flops 1e15

      var-scaling design --quantity loss --depth 36 --images 4e8
    """
    from analysis.counting import amount_name
    from analysis.output import plain
    from analysis.planning import design as best_design

    if quantity == "loss":
        _one_model(depth, size)
    with problems_as_requests():
        study, where = _study(rows, target)
        candidates, origin = _candidates(study, where)
        at = _point(study, where, depth, size, images) if quantity == "loss" else None
        found = best_design(study, candidates, quantity, study.columns.targets[0], most_flops=most, at=at)
    if json:
        print_json(plain({"quantity": quantity, "candidates": origin, "trials": found.table.to_dict("records")}))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title=f"trials that narrow {quantity} most per FLOP")
    with_depth = "depth" in found.table
    for name in (
        *(["depth"] if with_depth else []),
        "params",
        amount_name(study.columns.data),
        "FLOPs",
        "narrows the interval by",
        "per FLOP, of the best",
    ):
        table.add_column(name, justify="right")
    for line in found.table.head(top).itertuples():
        table.add_row(
            *([f"{line.depth}"] if with_depth else []),
            count(line.params),
            f"{line.images:,.0f}",
            count(line.flops),
            f"{100 * line.shrinks:.1f} %",
            f"{100 * line.per_flop:.0f} %",
        )
    out.print(table, highlight=False)
    trial = f"each with the {found.budgets} budgets of its trunk" if found.budgets > 1 else "each of one row"
    out.print(f"local design about the fitted law; candidates from {origin}; {trial}", highlight=False, soft_wrap=True)


def _study(rows: Rows, target: str | None, every: bool = False) -> tuple[StudyLaws, Path]:
    """The laws of one target, the first where none is asked for; or then with `every` of all that a study has."""
    from analysis.table import STUDY_TARGETS

    where = rows.locate()
    targets = None if target is None else (target,)
    if targets is None and not every and not where.is_file():
        targets = STUDY_TARGETS[:1]
    with err.status(f"fitting {where}"):
        return rows.laws(where, targets), where


def _one_model(depth: int | None, size: float | None) -> None:
    """Asked before the slow part: a model is named by its depth or its size."""
    if (depth is None) == (size is None):
        raise RequestProblem("say which model: --depth N, or --size PARAMETERS (one of the two)")


def _candidates(study: StudyLaws, where: Path) -> tuple[pd.DataFrame, str]:
    """Depths to choose from: the sweep's own recipe where its YAML is there, else the sizes in the rows."""
    from analysis.planning import candidates_of_rows

    file = where / "study.yaml"
    if file.is_file():
        import pandas as pd

        from var_scaling.config.study import load_study
        from var_scaling.planning.candidates import candidate_table

        _, configs = load_study(file)
        return pd.DataFrame(candidate_table(configs[0])), f"the recipe of {file}"
    return candidates_of_rows(study.rows, study.columns), "the sizes in the rows"


def _point(
    study: StudyLaws, where: Path, depth: int | None, size: float | None, images: float | None
) -> tuple[float, float]:
    """Parameters and images of a model that is asked about."""
    from analysis.planning import candidate

    if study.columns.data is None:
        raise RequestProblem("the rows name no data column (--data), so no law in size and data can answer")
    seen = float(study.rows[study.columns.data].max()) if images is None else images
    if size is not None:
        return float(size), seen
    table, _ = _candidates(study, where)
    return float(candidate(table, depth)[study.columns.params]), seen


def _print_predictions(answers: Sequence[Prediction]) -> None:
    from rich.table import Table

    from analysis.lawtable import number, span, target_words

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "predicted", "95 % for one run", "95 % of the law", "law"):
        table.add_column(name)
    for answer in answers:
        table.add_row(
            target_words(answer.target),
            number(answer.value),
            span(answer.low, answer.high),
            span(answer.law_low, answer.law_high),
            answer.law,
        )
    out.print(table, highlight=False)
    _print_notes([note for answer in answers for note in answer.notes])


def _print_notes(notes: Sequence[Note]) -> None:
    for note in {note.code: note for note in notes}.values():
        out.print(f"note {note}", highlight=False, soft_wrap=True)


def show_study(study: StudyLaws) -> None:
    """The laws on a terminal: what falls, each law with interval and held-out size, refusals, notes."""
    from rich.markup import escape
    from rich.table import Table

    from analysis.comparison import deepest_checks, deepest_sentence
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
    for deepest in deepest_checks(study):
        good = deepest["within"] and deepest["inside"]
        words = ("[green]holds[/green]  " if good else "[yellow]broken[/yellow] ") + escape(
            deepest_sentence(study, deepest)
        )
        out.print(words, highlight=False, soft_wrap=True)
    for check in study.falls:
        found = "[green]holds[/green]  " if check.holds else "[yellow]broken[/yellow] " if check.pairs else ""
        out.print(
            found + escape(check.sentence),
            highlight=False,
            soft_wrap=True,
        )
    for sentence in study.other_sentences():
        out.print(sentence, highlight=False, soft_wrap=True)
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


def _law_cells(record: LawRecord) -> list[str]:
    """One law, or its refusal, as the cells of a terminal table."""
    from analysis.lawtable import AGAINST_WORDS, floor_name, number, percent, span, told

    against = AGAINST_WORDS[record.against] + ("" if record.budget is None else f" at {count(record.budget)}")
    if record.law is None:
        return [against, record.form, "", f"[yellow]refused: {record.refusal.code}"]
    law = record.law
    values = told(law)
    exponents = [
        ("" if len(values) == 1 else f"{name} ") + f"{number(value, 3)} [{span(*law.interval(name), 3)}]"
        for name, value in values.items()
    ]
    floor = floor_name(law)
    offset = "" if floor is None else number(law.coefficients[floor])
    if floor is not None and "fixed" not in record.form:
        offset += f" [{span(*law.interval(floor), 3)}]"
    r = getattr(law, "correlation", None)
    held = ["", "", record.backtest_refusal.code if record.backtest_refusal else ""]
    if record.backtests:
        test = record.backtests[-1]
        colour = "[green]" if test.inside else "[red]"
        held = [
            number(test.measured),
            f"{number(test.predicted)} [{span(test.low, test.high)}]",
            f"{colour}{percent(test.error)} % {'inside' if test.inside else 'outside'}",
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
