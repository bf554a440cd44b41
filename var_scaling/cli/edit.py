"""`var-scaling edit`: a part of a picture drawn anew by a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from var_scaling import extras, pictures
from var_scaling.cli.options import Json, Runs
from var_scaling.cli.progress import progress
from var_scaling.cli.run import Failed, err, out, print_json
from var_scaling.cli.trained import (
    Guidance,
    Sampler,
    Trial,
    at,
    class_names_of,
    class_number,
    config_of,
    load,
    settings,
    trained,
)
from var_scaling.errors import EnvironmentProblem, RequestProblem

if TYPE_CHECKING:
    from var_scaling.evaluation.canvas import Canvas, Part

SHOWN = 20  # rows of the figure


def register(app: typer.Typer) -> None:
    """Add the command to `var-scaling`."""
    app.command()(edit)


def edit(
    trial: Trial,
    picture: Annotated[Path, typer.Argument(help="A picture, or a folder of them.")],
    box: Annotated[
        str | None, typer.Option("--box", help="Draw this rectangle anew: left,top,right,bottom in pixels.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="A picture of the same size: white is drawn anew. Or a folder of one for each."),
    ] = None,
    expand: Annotated[
        str | None, typer.Option("--expand", help="Draw beyond the edges: left,top,right,bottom pixels to add.")
    ] = None,
    class_: Annotated[
        str | None, typer.Option("--class", help="What to draw, by name or number (default: no class).")
    ] = None,
    candidates: Annotated[int, typer.Option("--candidates", help="Answers for each picture.", min=1, max=64)] = 4,
    tries: Annotated[
        int,
        typer.Option(
            "--tries", help="Draws for each answer, of which the one that suits what is kept is taken.", min=1
        ),
    ] = 4,
    to: Annotated[Path, typer.Option("--out", help="Folder for the edited pictures and the figure.")] = Path("edited"),
    images: Annotated[int | None, typer.Option(help="Which budget, in images (default: the largest).")] = None,
    guidance: Guidance = None,
    sampler: Sampler = [],  # noqa: B006
    seam: Annotated[str, typer.Option(help="membrane (no step at the rim) or paste.")] = "membrane",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Draw a part of a picture anew: in-painting, out-painting, or another class into a box.

    Kept pixels stay as they are, to the bit. Nothing of what lay in the part reaches the model.

    Examples:

      var-scaling edit var-d6-s0 coat.png --box 8,8,24,24

      var-scaling edit var-d6-s0 coat.png --box 0,0,32,16 --class dress

      var-scaling edit dit-d4-s0 photos/ --mask masks/ --candidates 8 --out edited

      var-scaling edit var-d6-s0 coat.png --expand 8,8,8,8
    """
    extras.need("train")
    part = _part(box, mask, expand)
    if seam not in ("membrane", "paste"):
        raise RequestProblem(f"--seam {seam} is neither membrane nor paste")
    if not picture.exists():
        raise RequestProblem(f"{picture} is not there; give a picture or a folder of pictures")
    folder, budget = trained(runs, trial, images)
    asked = settings(guidance, sampler)
    number = None if class_ is None else class_number(class_, class_names_of(folder))
    canvases, problems = _canvases(_files(picture), part, folder)
    if not canvases:
        raise RequestProblem(*problems)
    model, drawn = load(runs, folder, budget, asked)
    from var_scaling.evaluation.editing import edit as draw_edits

    for path, canvas in canvases.items():
        for note in canvas.notes:
            err.print(f"{path.name}: {note}", soft_wrap=True)
    if problem := model.cannot_edit():
        raise RequestProblem(problem)
    import numpy as np

    originals = np.stack([canvas.image_CSS for canvas in canvases.values()])
    masks = np.stack([canvas.mask_SS for canvas in canvases.values()])
    labels = None if number is None else np.full(len(canvases), number, np.int64)
    how: Literal["membrane", "paste"] = "membrane" if seam == "membrane" else "paste"
    err.print(f"editing {len(canvases)} picture(s) with {at(folder, budget)}")
    with progress("drawn") as beat:
        edited = draw_edits(
            model, originals, masks, labels, drawn, candidates=candidates, tries=tries, seed=seed, seam=how, beat=beat
        )
    try:
        written = _write(to, list(canvases), originals, masks, edited)
    except OSError as error:
        raise EnvironmentProblem(f"{to} cannot be written: {error.strerror}; choose another place with --out") from None
    if json:
        how_it = {"guidance": drawn.guidance, "seed": seed, "seam": seam, "class": number}
        print_json(
            {"schema": 1, "trial": folder.name, "images": budget, **how_it, "files": written, "problems": problems}
        )
    else:
        out.print(f"wrote {len(canvases) * candidates} edited pictures and {to / 'edits.png'}", soft_wrap=True)
    for problem in problems:
        err.print(f"not edited: {problem}", soft_wrap=True)
    if problems:
        raise Failed


def _part(box: str | None, mask: Path | None, expand: str | None) -> Part:
    """What is to be drawn, of the three ways to say it."""
    from var_scaling.evaluation.canvas import Box, Margins, Mask

    if sum(given is not None for given in (box, mask, expand)) != 1:
        raise RequestProblem("say what is to be drawn anew: one of --box x0,y0,x1,y1, --mask FILE and --expand l,t,r,b")
    if mask is not None:
        if not mask.exists():
            raise RequestProblem(f"--mask {mask} is not there")
        return Mask(mask)
    if box is not None:
        return Box(*_four("--box", box))
    assert expand is not None
    return Margins(*_four("--expand", expand))


def _four(option: str, text: str) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = (int(number) for number in text.split(","))
    except ValueError:
        raise RequestProblem(
            f"{option} {text}: give four whole numbers of pixels, left,top,right,bottom, as in {option} 8,8,24,24"
        ) from None
    return left, top, right, bottom


def _files(picture: Path) -> list[Path]:
    if not picture.is_dir():
        return [picture]
    found = sorted(p for p in picture.iterdir() if p.suffix.lower() in pictures.SUFFIXES)
    if not found:
        raise RequestProblem(f"there is no picture in the folder {picture}")
    return found


def _canvases(files: list[Path], part: Part, trial: Path) -> tuple[dict[Path, Canvas], list[str]]:
    """The pictures as the model takes them, and a sentence for each that cannot be."""
    from var_scaling.evaluation.canvas import canvas

    data = config_of(trial).data
    assert data.resolution is not None and data.channels is not None
    found: dict[Path, Canvas] = {}
    problems: list[str] = []
    for path in files:
        try:
            found[path] = canvas(path, part, data.resolution, data.channels)
        except (pictures.Unreadable, ValueError) as problem:
            problems.append(f"{path}: {problem}")
    return found, problems


def _write(to: Path, files: list[Path], originals: Any, masks: Any, edited: Any) -> dict[str, list[str]]:
    """Each candidate as a PNG, and the figure: original, what was masked, candidates."""
    import numpy as np
    import torch
    from PIL import Image

    from var_scaling.evaluation.generation import save_grid

    to.mkdir(parents=True, exist_ok=True)
    stems = [path.stem for path in files]
    written: dict[str, list[str]] = {}
    for path, candidates in zip(files, edited, strict=True):
        name = path.stem if stems.count(path.stem) == 1 else path.name
        written[str(path)] = []
        for number, pixels in enumerate(candidates, 1):
            target = to / f"{name}-{number}.png"
            Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(target)
            written[str(path)].append(str(target))
    masked = np.where(masks[:, None], np.uint8(128), originals)
    rows = np.concatenate([originals[:, None], masked[:, None], edited], axis=1)[:SHOWN]
    columns = rows.shape[1]
    names = ["original", "masked", *(str(number) for number in range(1, columns - 1))]
    flat = torch.from_numpy(rows.reshape(-1, *rows.shape[2:]))
    save_grid(flat, to / "edits.png", columns=columns, names=names)
    return written
