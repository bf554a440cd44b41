"""`var-scaling report`: a study as one HTML page, of what `fit-laws` left and what lies in the run folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling.cli.options import Json, Runs
from var_scaling.cli.rows import Rows, problems_as_requests
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import RequestProblem
from var_scaling.runs import layout

if TYPE_CHECKING:
    from analysis.report.page import About, Reconstruction

FILE = "report.html"
SHOWN_VERSIONS = ("numpy", "scipy", "pandas", "matplotlib")


def register(app: typer.Typer) -> None:
    """Add `report` to `var-scaling`."""
    app.command("report")(report)


def report(
    sweep: Annotated[Path | None, typer.Argument(help="A sweep, by name or folder. Default: the newest.")] = None,
    runs: Runs = Path("runs"),
    file: Annotated[
        Path | None, typer.Option("--out", help="Where to write. Default: laws/report.html of the sweep.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: Json = False,
) -> None:
    """Write one HTML page of a study that can be sent to anybody: laws, figures, rows, samples, tokenizer, settings.

    It holds all that it shows (no network, below 5 MB), and is read on a phone and in print. Laws are fitted anew only
    where rows have come since `fit-laws`. `var-sweep sync` sends it to MLflow with the laws.

    Examples:
      var-scaling report

      var-scaling report depth --open

      var-scaling report depth --out depth.html
    """
    rows = Rows(source=sweep, runs=runs)
    with problems_as_requests():
        from analysis.report.page import write_page

        where = rows.locate()
        if not layout.study(where).is_file():
            raise RequestProblem(f"{where} is no sweep; a page is of a sweep, by its name or folder")
        places = _fitted(rows, where)
        written = write_page(about_sweep(where), places, file or layout.laws(where) / FILE)
    size = written.stat().st_size
    if json:
        print_json({"schema": 1, "file": str(written), "bytes": size})
    else:
        out.print(f"report: {written} ({count(size)}B, one file to open or to send)", soft_wrap=True)
    if open_:
        import webbrowser

        if not webbrowser.open(written.resolve().as_uri()):
            err.print(f"no browser here; open {written} in one", soft_wrap=True)


def _fitted(rows: Rows, where: Path) -> dict[str, Path]:
    """By family the folder of laws, fitted and drawn anew where rows have come or figures are not there."""
    kinds = rows.kinds(where)
    laws = layout.laws(where)
    places = {kind: laws / kind for kind in kinds} or {"": laws}
    newest = max((path.stat().st_mtime for path in _rows_of(where)), default=0.0)
    stale = [kind for kind, folder in places.items() if not _current(folder, newest)]
    if stale:
        from analysis.report.files import import_figures, write_laws

        with err.status(f"fitting {where}"):
            for kind in stale:
                part = replace(rows, source=where, family=kind or None)
                write_laws(part.laws(where, None, meanwhile=import_figures), places[kind])
    return places


def _current(folder: Path, newest: float) -> bool:
    from var_scaling.runs import store

    laws = folder / layout.laws_document(folder).name
    if not laws.is_file() or laws.stat().st_mtime < newest or not any(folder.glob("*.png")):
        return False
    return "answer" in (store.read_json(laws) or {}) and (folder / "rows.csv").is_file()


def _rows_of(where: Path) -> Iterator[Path]:
    from var_scaling.runs import store

    yield layout.study(where)
    for entry in (store.read_json(layout.study(where)) or {}).get("trials", []):
        for row in layout.rows(layout.trial(_runs_of(where), entry["folder"])).values():
            yield row
            yield from layout.evaluations(row.parent).glob("*")


def _runs_of(where: Path) -> Path:
    return where.parents[1]


def about_sweep(where: Path) -> About:
    """What the page says of a sweep beside its laws: symptoms, what is missing, settings, versions, tokenizers."""
    from analysis.report.page import About
    from analysis.rows.load import load_runs
    from var_scaling.about import citation
    from var_scaling.runs import store
    from var_scaling.runs.symptoms import of_sweep

    runs, study = _runs_of(where), store.read_json(layout.study(where)) or {}
    file = layout.study_source(where)
    rows = load_runs(where)
    left = rows.attrs.get("left_out", [])
    return About(
        name=str(study.get("name") or where.name),
        description=str(study.get("description") or ""),
        launched=str(study.get("launched") or "")[:16].replace("T", " "),
        look=of_sweep(runs, study),
        missing=[f"{each['folder']} at {each['images_asked']:,} images: {each['cause']}" for each in left],
        settings=file.read_text(encoding="utf-8", errors="replace") if file.is_file() else "",
        versions=_versions(rows),
        reconstructions=list(_reconstructions(runs, study)),
        citation=citation(),
        trials=layout.trials(runs),
    )


def _versions(rows: Any) -> dict[str, str]:
    """What trained the rows, as they say it, and what fitted them."""
    from var_scaling.about import NAME, version_of

    found = {NAME: version_of()}
    for name, words in (
        ("torch", "torch"),
        ("python", "Python"),
        ("device", "devices"),
        ("precision", "precision"),
        ("code", "code of the workers"),
        ("data_name", "data"),
        ("recipe", "recipe"),
        ("schedule", "schedule"),
    ):
        if name in rows:
            found[words] = ", ".join(map(str, rows[name].dropna().unique()[:6]))
    if "seconds" in rows:
        found["training"] = f"{rows['seconds'].sum() / 3600:.2f} hours of workers, added up over rows"
    return found | {f"{name} of the fits": version_of(name) for name in SHOWN_VERSIONS}


def _reconstructions(runs: Path, study: Mapping[str, Any]) -> Iterator[Reconstruction]:
    """Each tokenizer of a study with its numbers, once."""
    from analysis.report.page import Reconstruction
    from var_scaling.runs import store

    seen: set[str] = set()
    for entry in study.get("trials", []):
        stages = {layout.kind_of_stage(stage): stage for stage in entry.get("stages", [])}
        stage = stages.get("reconstruction")
        if stage is None or stage in seen:
            continue
        seen.add(stage)
        found = store.read_json(layout.report(layout.result(runs / stage)))
        if found is None:
            continue
        trained = store.read_json(layout.report(layout.result(runs / stages.get("tokenizer", stage)))) or {}
        numbers = {"images": f"{found['images']:,}", "PSNR": f"{found['psnr']:.2f} dB"}
        for key, words in (("rfid_train_corrected", "rFID against training images"), ("rfid_validation", "rFID")):
            if key in found:
                low, high = found.get("rfid_train_low"), found.get("rfid_train_high")
                interval = f" ({low:.2f} to {high:.2f})" if key == "rfid_train_corrected" and low is not None else ""
                numbers[words] = f"{found[key]:.2f}{interval}"
        if "usage" in found:
            numbers["codes in use"] = f"{100 * found['usage']:.0f} %"
        if "images" in trained:
            numbers["trained on"] = f"{trained['images']:,} images"
        scales = []
        while f"usage_scale_{len(scales) + 1}" in found:
            scale = len(scales) + 1
            scales.append(
                (
                    str(scale),
                    f"{100 * found[f'usage_scale_{scale}']:.1f} %",
                    f"{found.get(f'perplexity_scale_{scale}', float('nan')):.1f}",
                )
            )
        name = layout.short_name(stages.get("tokenizer", stage))
        picture = layout.reconstructions(layout.result(runs / stage))
        yield Reconstruction(name, numbers, tuple(scales), picture)
