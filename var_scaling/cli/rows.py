"""The options that name rows for `fit-laws`, `predict`, `allocate`, `expect` and `design`, and their refusals."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from var_scaling.cli.options import Runs
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import layout

if TYPE_CHECKING:
    from analysis.study.record import StudyLaws

CSV_ONLY = ("x", "data", "group", "budget", "epochs", "wide", "keep_duplicates", "drop_missing")


@dataclass(frozen=True)
class Rows:
    """Where the rows are and what their columns are called: the options that all five commands share."""

    source: Annotated[
        Path | None, typer.Argument(help="A sweep, a folder of trials, or a CSV. Default: the newest sweep.")
    ] = None
    runs: Runs = Path("runs")
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
    wide: Annotated[
        str | None,
        typer.Option(
            "--wide",
            help="CSV with one column a size or a budget (loss 1e9, loss 3e9; or 1B, 3B): what those numbers are, such "
            "as tokens or params.",
            metavar="NAME",
        ),
    ] = None
    params: Annotated[
        str | None, typer.Option("--params", help="Which count of parameters is N. Default: params_total.")
    ] = None
    family: Annotated[
        str | None, typer.Option("--family", help="Of a study of several: whose rows, by variant or family.")
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
        from analysis.rows.load import newest_sweep

        where = self.source
        if where is None or (str(where) == "last" and not where.exists()):
            where = newest_sweep(self.runs)
        elif not where.exists() and layout.sweep(self.runs, where).is_dir():
            where = layout.sweep(self.runs, where)
        unused = [f"--{name.replace('_', '-')}" for name in CSV_ONLY if getattr(self, name)]
        if unused and where.is_dir():
            raise RequestProblem(f"{where} holds trials, whose columns are known: leave out {', '.join(unused)}")
        if self.family and where.is_file():
            raise RequestProblem(f"--family is for studies; leave only rows of {self.family} in {where}")
        if self.x and self.params and where.is_file():
            raise RequestProblem("--x and --params both name the CSV's column of sizes; give one of them")
        return where

    def kinds(self, where: Path) -> list[str]:
        """Whose rows there are where a study has several families' and none was named; else none."""
        from analysis.rows.families import kinds
        from analysis.rows.load import load_runs

        return [] if self.family is not None or where.is_file() else kinds(load_runs(where))

    def laws(self, where: Path, targets: tuple[str, ...] | None, **fit: Any) -> StudyLaws:
        """The laws of what :meth:`locate` found.

        Args:
            where: a folder or a CSV.
            targets: columns to fit; None takes all that a study has, or the usual one of a CSV.
            **fit: options of both functions in :mod:`analysis.study.sources`.
        """
        from analysis.study.sources import study_of, study_of_csv

        if not where.is_file():
            params, compute = self.params or "params_total", self.compute or "train_flops"
            return study_of(where, params=params, compute=compute, targets=targets, family=self.family, **fit)
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


@contextmanager
def problems_as_requests() -> Iterator[None]:
    """What a user can cause becomes a sentence and exit code 2; a disk that cannot be written becomes 3.

    Anything else, any other ValueError among it, is a fault of ours and passes.
    """
    from analysis.errors import BadRequest, CannotFit

    try:
        yield
    except CannotFit as refusal:
        raise RequestProblem(f"refused ({refusal.code}): {refusal.sentence}") from refusal
    except BadRequest as error:
        raise RequestProblem(str(error)) from error
    except OSError as error:
        raise EnvironmentProblem(f"{error}; choose another folder with --out") from error
