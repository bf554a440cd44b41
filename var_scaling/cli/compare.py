"""`var-scaling compare`: families side by side, where they reach equal FID, and the paper's claims beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling.cli.options import Json, Runs
from var_scaling.cli.rows import problems_as_requests
from var_scaling.cli.run import out, print_json
from var_scaling.errors import RequestProblem
from var_scaling.runs import layout

if TYPE_CHECKING:
    from analysis.study.families import Comparison


def register(app: typer.Typer) -> None:
    """Add `compare` to `var-scaling`."""
    app.command("compare")(compare)


def compare(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Sweeps, folders of trials or CSVs. Default: the newest sweep.", show_default=False),
    ] = None,
    runs: Runs = Path("runs"),
    features: Annotated[
        str | None, typer.Option("--features", help="Compare in these FID features, where rows have several.")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    style: Annotated[
        str, typer.Option("--style", help="Of the figures: screen, or paper (captions beside them, in paper/).")
    ] = "screen",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to write. Default: compare/ beside the first rows.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare families (VAR, raster, DiT): FID by compute, images, size and sampling; where they meet, or never.

    Losses of different families are never compared: each has its own law.

    Examples:
      var-scaling compare

      var-scaling compare depth raster

      var-scaling compare runs/sweeps/compare --no-figures --json

      var-scaling compare ours.csv theirs.csv --out figures

    A CSV has the columns family, fid, train_flops, images_seen and, where known, params_total, depth, seed, fid_low,
    fid_high, tokenizer_rfid, sample_seconds, sample_flops, features, reference.
    """
    if style not in ("screen", "paper"):
        raise RequestProblem(f"--style is {style!r}; it is screen or paper")
    with problems_as_requests():
        from analysis.report.compare import write_comparison
        from analysis.report.files import plain
        from analysis.rows.load import newest_sweep
        from analysis.study.families import compare_families

        places = [located(source, runs) for source in sources or [newest_sweep(runs)]]
        comparison = compare_families(places, features)
        first = places[0]
        target = folder or (first.with_name(first.stem + "_compare") if first.is_file() else layout.comparison(first))
        written = write_comparison(comparison, target, figures=figures, style=style)
    if json:
        print_json(plain(comparison.as_dict() | {"files": [str(path) for path in written]}))
        return
    show(comparison)
    out.print(f"{len(written)} files in {target}", soft_wrap=True)


def located(source: Path, runs: Path) -> Path:
    """A path, else a sweep by its name."""
    named = layout.sweep(runs, source)
    if not source.exists() and named.is_dir():
        return named
    if not source.exists():
        known = layout.sweep_names(runs)
        have = f"; sweeps under {runs}: {', '.join(known)}" if known else f", and {runs} holds no sweep"
        raise RequestProblem(f"{source} is neither a path nor a sweep{have}")
    return source


def show(comparison: Comparison) -> None:
    """The comparison on a terminal: best rows and floors, meetings, laws apart, the paper beside ours."""
    from rich.text import Text

    from analysis.study.families import FID, amount

    head = f": {len(comparison.points)} FIDs, {comparison.space}"
    out.print(Text.assemble((f"{', '.join(comparison.contenders)}", "bold"), head), soft_wrap=True)
    table = _table("", ("contender", "best FID [95 %]", "floor (rFID)", "depth", "images", "FLOPs", "parameters"))
    for name, part in comparison.means.groupby("contender", sort=False):
        best = part.loc[part["fid"].idxmin()]
        table.add_row(
            str(name),
            f"{best['fid']:.2f} [{best['fid_low']:.2f}, {best['fid_high']:.2f}]",
            _number(best["floor"], "{:.2f}".format),
            _number(best["depth"], "{:g}".format),
            *(_number(best[column], amount) for column in ("images", "compute", "params")),
        )
    out.print(table)
    for words in comparison.sentences():
        out.print(words, soft_wrap=True)
    for title, fid in (
        ("FID against training FLOPs, each on its own frontier", True),
        ("own losses, never compared", False),
    ):
        table = _table(title, ("contender", "of", "form", "rows", "exponent [95 %]", "E [95 %]"))
        for line in (law.as_dict() for law in comparison.laws if (law.target == FID) is fid):
            table.add_row(*_law_cells(line))
        if table.row_count:
            out.print(table)
    slopes = [line for line in comparison.differences.to_dict("records") if line["form"] == "power"]
    for line in slopes:  # of the law without a floor: what the rows show; the other form's are in exponents.csv
        apart = "apart" if line["low"] > 0 or line["high"] < 0 else "not told apart"
        out.print(
            f"exponent of FID, {line['first']} minus {line['second']}: {line['difference']:+.3f} "
            f"[{line['low']:+.3f}, {line['high']:+.3f}], {apart}",
            soft_wrap=True,
        )
    if len(comparison.claims):
        names = ("the paper's claim", "contender", "proceedings", "README", "ours", "what differs")
        table = _table("beside the paper: ratios only, since a FID of ours says nothing beside one of theirs", names)
        for line in comparison.claims.itertuples():
            values = (_number(value, "{:.3g}".format) for value in (line.proceedings, line.readme, line.ours))
            table.add_row(line.claim, line.contender, *values, line.differs)
        out.print(table)
    for note in comparison.notes:
        out.print(f"note {note.sentence}", soft_wrap=True)


def _table(title: str, names: tuple[str, ...]):
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _number(value: float, how) -> str:
    return how(value) if value == value else "-"


def _law_cells(line: dict) -> list[str]:
    head = [line["contender"], line["target"], line["form"]]
    if "refused" in line:
        return [*head, "", f"refused: {line['refused']}"]
    offset = f"{line['E']:.3g} [{line['E_low']:.3g}, {line['E_high']:.3g}]" if "E" in line else ""
    return [*head, str(line["rows"]), f"{line['exponent']:.3f} [{line['low']:.3f}, {line['high']:.3f}]", offset]
