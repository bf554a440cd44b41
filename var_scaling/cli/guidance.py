"""`var-scaling guidance`: each family at its own best guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from var_scaling.cli.options import Json, Runs
from var_scaling.cli.rows import problems_as_requests
from var_scaling.cli.run import count, out, print_json
from var_scaling.cli.tables import new_table


def register(app: typer.Typer) -> None:
    """Add `guidance` to `var-scaling`."""
    app.command("guidance")(guidance)


def guidance(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Sweeps or folders of trials. Default: the newest sweep.", show_default=False),
    ] = None,
    runs: Runs = Path("runs"),
    choose: Annotated[str, typer.Option(help="Reference split that chooses: train or validation.")] = "validation",
    report: Annotated[str, typer.Option(help="Reference split that is reported.")] = "train",
    json: Json = False,
) -> None:
    """The best guidance of each model, chosen against one reference split and reported against the other.

    Examples:

      var-scaling guidance guidance

      var-scaling guidance --json
    """
    with problems_as_requests():
        from analysis.report.files import plain
        from analysis.rows.load import newest_sweep
        from analysis.study.guidance import guidance_study
        from var_scaling.cli.compare import located

        found = guidance_study([located(source, runs) for source in sources or [newest_sweep(runs)]], choose, report)
    if json:
        print_json(plain(found.as_dict()))
        return
    title = f"chosen by FID against the {choose} images, reported against the {report} images"
    table = new_table(title, "contender", "d", "images", "best t", "FID [95 %]", "t = 0", left=("contender",))
    lines = found.lines[found.lines["split"] == report]
    for line in found.best.to_dict("records"):
        same = (lines[["contender", "depth", "images"]] == [line["contender"], line["depth"], line["images"]]).all(
            axis=1
        )
        off = lines[same & (lines["guidance"] == 0)]["fid_corrected"]
        table.add_row(
            line["contender"],
            f"{line['depth']:g}",
            count(line["images"]),
            f"{line['guidance']:g}" + (" (an end)" if line["at_an_end"] else ""),
            f"{line['fid']:.2f} [{line['fid_low']:.2f}, {line['fid_high']:.2f}]",
            f"{off.iloc[0]:.2f}" if len(off) else "-",
        )
    out.print(table)
