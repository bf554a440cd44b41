"""`var-sweep new`: a folder of pictures becomes a commented study."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from var_scaling.cli.options import Json, Runs, plan_of, tell
from var_scaling.cli.planned import plan_json, print_plan
from var_scaling.cli.run import out, print_json
from var_scaling.config.data import DataConfig, missing_folder
from var_scaling.config.image_manifest import Manifests
from var_scaling.config.image_names import shown
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import layout


def register(app: typer.Typer) -> None:
    """Add the command to `var-sweep`."""
    app.command()(new)


def new(
    folder: Annotated[Path, typer.Argument(help="Holds the pictures: train/<class>/ and val/<class>/, or <class>/.")],
    out_: Annotated[
        Path | None, typer.Option("--out", help="The file to write (default: the folder's name + .yaml, here).")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Side in pixels (default: from the pictures, 64 at most).", min=8, max=2048)
    ] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Look at a folder of pictures, propose a study of it with reasons, write it and print its plan.

    Trains nothing, and overwrites nothing. Layouts and files that are read: docs/images.md.

    Examples:
      var-sweep new ~/photos

      var-sweep new ~/photos --out sweeps/flowers.yaml --resolution 32
    """
    from var_scaling.planning.proposal import name_of, propose

    place = folder.expanduser()
    if not place.is_dir():
        raise EnvironmentProblem(missing_folder(DataConfig(name="imagefolder"), place))
    file = out_ or Path(f"{name_of(place.resolve())}.yaml")
    if file.exists() or file.is_symlink():
        raise RequestProblem(f"{shown(file)} exists and is not overwritten; choose another with --out")
    if not file.parent.is_dir():
        raise RequestProblem(f"{shown(file.parent)} is no folder; make it, or choose another place with --out")
    if runs.resolve().is_relative_to(place.resolve()):
        raise RequestProblem(
            f"{shown(runs)} would lie among the pictures of {shown(place.resolve())}, as would the samples of your "
            "models: go elsewhere (cd ..), or say where with --runs, here and for launch"
        )
    proposal = propose(place, file, Manifests(layout.store(runs), tell=tell), resolution)
    try:
        with open(file, "x", encoding="utf-8") as stream:
            stream.write(proposal.text)
    except OSError as error:
        raise EnvironmentProblem(f"{shown(file)} cannot be written: {error.strerror}; choose another --out") from None
    try:
        planned = plan_of(file, [], runs)
    except BaseException:
        file.unlink()  # a study that cannot be planned is not left behind
        raise
    if json:
        print_json({"schema": 1, **proposal.as_dict(), "plan": plan_json(planned)})
        return
    for line in proposal.found:
        out.print(line, soft_wrap=True)
    out.print()
    for choice in proposal.choices:
        if choice.why:
            out.print(f"{choice.path[-1]} {choice.value}: {choice.why}", soft_wrap=True)
    print_plan(planned)
    out.print(f"wrote {shown(file)}; next: var-sweep launch {shlex.quote(shown(file))}", soft_wrap=True)
