"""`var-scaling sample`: pictures drawn by a trained model, as a grid or as a set for a FID."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling import extras
from var_scaling.cli.options import Json, Runs
from var_scaling.cli.progress import progress
from var_scaling.cli.run import err, out, print_json
from var_scaling.cli.trained import Guidance, Sampler, Trial, at, class_names_of, class_number, load, settings, trained
from var_scaling.errors import EnvironmentProblem, RequestProblem

if TYPE_CHECKING:
    from var_scaling.evaluation.generation import Trained
    from var_scaling.families.base import SamplerConfig


def register(app: typer.Typer) -> None:
    """Add the command to `var-scaling`."""
    app.command()(sample)


def sample(
    trial: Trial,
    to: Annotated[Path, typer.Option("--to", help="PNG to write.")] = Path("samples.png"),
    images: Annotated[int | None, typer.Option(help="Which budget, in images (default: the largest).")] = None,
    per_class: Annotated[int, typer.Option(help="Images of each class.", min=1)] = 8,
    classes: Annotated[
        list[str], typer.Option("--class", help="Only this class, by name or number; more than once for several.")
    ] = [],  # noqa: B006
    number: Annotated[
        int | None, typer.Option("--count", help="A set of so many, as many of each class, for --out.", min=1)
    ] = None,
    set_: Annotated[
        Path | None, typer.Option("--out", help="Of a set: samples.npz (arr_0, uint8, N H W 3), or a folder of PNGs.")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="Of a set, draw the i-th of n parts: i/n.")] = "1/1",
    batch: Annotated[
        int, typer.Option("--batch", help="Of a set, images computed together; changes no image.", min=1)
    ] = 100,
    guidance: Guidance = None,
    sampler: Sampler = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0)] = 0,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Draw a grid of samples, a column for each class; or, with --count, a set.

    A set goes on where it was interrupted. Image i is a function of i and the seed alone, in however many parts the
    set is drawn; whichever process draws the last of it puts the file together.

    Examples:

      var-scaling sample var-d6-s0

      var-scaling sample var-d6-s0 --class coat --class 9 --per-class 20

      var-scaling sample var-d30 --count 50000 --out samples.npz

      var-scaling sample var-d30 --count 50000 --out samples.npz --part 3/8
    """
    extras.need("train")
    given = settings(guidance, sampler)
    folder, budget = trained(runs, trial, images)
    names = class_names_of(folder)
    chosen = [class_number(name, names) for name in classes]
    if number is None:
        if set_ is not None or part != "1/1":
            raise RequestProblem("--out and --part are of a set: say how many images, e.g. --count 50000")
        _grid(runs, folder, budget, given, chosen, names, per_class, to, seed, json)
        return
    which = _part(part)
    place = set_ or Path("samples.npz")
    if place.suffix and place.suffix != ".npz" and not place.is_dir():
        raise RequestProblem(f"--out {place}: give a file that ends in .npz, or a folder for PNG files")
    model, drawn = load(runs, folder, budget, given)
    every = chosen or list(range(model.num_classes))
    if number % len(every):
        err.print(
            f"{number:,} images do not divide over {len(every)} classes: the first {number % len(every)} have one "
            "more than the others",
            soft_wrap=True,
        )
    about = {"trial": folder.name, "images": budget}
    _set(model, drawn, place, number, every, seed, which, batch, about, json)


def _grid(
    runs: Path,
    folder: Path,
    budget: int,
    given: dict[str, object],
    chosen: list[int],
    names: tuple[str, ...],
    per_class: int,
    to: Path,
    seed: int,
    json: bool,
) -> None:
    from var_scaling.evaluation.generation import sample_grid

    err.print(f"sampling {at(folder, budget)}")
    model, drawn = load(runs, folder, budget, given)
    try:
        sample_grid(model, drawn, path=to, per_class=per_class, classes=chosen or None, names=names, seed=seed)
    except OSError as error:
        raise EnvironmentProblem(f"{to} cannot be written: {error.strerror}; choose another place with --to") from None
    if json:
        print_json({"schema": 1, "trial": folder.name, "images": budget, "file": str(to)})
    else:
        out.print(f"wrote {to}")


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise RequestProblem(f"--part {text}: give i/n with i from 1 to n, as in --part 3/8")
    return number, of


def _set(
    model: Trained,
    drawn: SamplerConfig,
    place: Path,
    number: int,
    classes: list[int],
    seed: int,
    part: tuple[int, int],
    batch: int,
    about: dict[str, object],
    json: bool,
) -> None:
    from var_scaling.evaluation.sets import draw_set

    with progress("drawn") as beat:
        try:
            found = draw_set(
                model,
                drawn,
                place,
                count=number,
                classes=classes,
                seed=seed,
                part=part,
                at_once=batch,
                about=about,
                beat=beat,
            )
        except ValueError as problem:
            raise RequestProblem(str(problem)) from None
        except OSError as error:
            raise EnvironmentProblem(
                f"{place} cannot be written: {error.strerror}; what was drawn stays, and the same command goes on"
            ) from None
    if json:
        counts = {"count": number, "there": found.samples, "complete": found.complete}
        print_json({"schema": 1, "file": str(place), **counts, "set": found.about})
    elif found.complete:
        out.print(f"{place}: {number:,} images, {found.about['images_hash'][:12]}", soft_wrap=True)
    else:
        out.print(
            f"part {part[0]}/{part[1]} is drawn; {found.samples:,} of {number:,} images are there, and whichever part "
            "ends last puts the set together",
            soft_wrap=True,
        )
