"""`var-scaling reuse`: how often data may be seen again, family by family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from var_scaling.cli.options import Json, Runs
from var_scaling.cli.rows import problems_as_requests
from var_scaling.cli.run import out, print_json
from var_scaling.cli.tables import new_table
from var_scaling.errors import RequestProblem


def register(app: typer.Typer) -> None:
    """Add `reuse` to `var-scaling`."""
    app.command("reuse")(reuse)


def reuse(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Sweeps, folders of trials or CSVs. Default: the newest sweep.", show_default=False),
    ] = None,
    runs: Runs = Path("runs"),
    caps: Annotated[str, typer.Option("--caps", help="Most epochs of a row, with commas between.")] = "8,16,32",
    json: Json = False,
) -> None:
    """The reuse constant R of each family: after how many repetitions an image is worth no more.

    Needs rows of several `data.unique_images`. R falls with the longest run that is kept, so it stands at each cap on
    epochs. Rows whose loss rises above an earlier budget of their trial are named and left out.

    Examples:

      var-scaling reuse reuse

      var-scaling reuse rows.csv --caps 4,8,16,64 --json
    """
    try:
        limits = sorted({float(word) for word in caps.split(",")})
    except ValueError:
        limits = []
    if not limits or limits[0] <= 1:
        raise RequestProblem(f"--caps {caps}: numbers of epochs above 1 with commas between, like 8,16,32")
    with problems_as_requests():
        from analysis.report.files import plain
        from analysis.rows.load import newest_sweep
        from analysis.study.reuse import reuse_constants
        from var_scaling.cli.compare import located

        found = reuse_constants([located(source, runs) for source in sources or [newest_sweep(runs)]], limits)
    if json:
        print_json(plain(found.as_dict()))
        return
    table = new_table(
        "", "contender", "loss", "epochs at most", "rows", "R [95 %]", left=("contender", "loss", "R [95 %]")
    )
    for each in found.constants:
        line = each.as_dict()
        if each.law is None:
            words = f"refused: {line['refused']}"
        else:
            low, high = (f"{line[end]:.1f}" if end in line else "no bound" for end in ("low", "high"))
            words = f"{line['R']:.1f} [{low}, {high}]"
        table.add_row(each.contender, found.loss_names[each.contender], f"{each.cap:g}", str(each.rows), words)
    out.print(table)
    for line in found.rising.to_dict("records"):
        out.print(
            f"left out, its loss rises: {line['contender']} {line['trial']}, {line['unique_images']:,.0f} images seen "
            f"{line['epochs']:.1f} times, {line['loss']:.3f} after {line['lowest_before']:.3f}",
            soft_wrap=True,
        )
