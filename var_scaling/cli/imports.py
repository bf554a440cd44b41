"""`var-scaling import | export`: weights under published names, into the store and out of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.options import Json, Runs
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.runs import layout, store

if TYPE_CHECKING:
    from var_scaling.planning.imported import Known
    from var_scaling.planning.works import Work
    from var_scaling.state_dicts import Given
    from var_scaling.tokenizers.base import TokenizerConfig

Sides = Annotated[str | None, typer.Option("--patch-nums", help="Sides of the token maps, coarse to fine: 1,2,3,4.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `var-scaling`."""
    app.command("import")(import_)
    app.command()(export)


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Weights: .pth, .safetensors or .npz.")],
    patch_nums: Sides = None,
    heads: Annotated[
        int | None, typer.Option(help="Attention heads of a model, where nothing shows them.", min=1)
    ] = None,
    norm_groups: Annotated[
        int | None, typer.Option(help="Groups of a tokenizer's GroupNorms (published: 32).", min=1)
    ] = None,
    phi_ratio: Annotated[
        float | None, typer.Option(help="Share of the convolution in phi (published: 0.5).", min=0, max=1)
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Image side for a continuous tokenizer (default: 256).", min=1)
    ] = None,
    latent_scale: Annotated[
        float | None, typer.Option(help="Factor on continuous latents (published: 0.18215).")
    ] = None,
    target: Annotated[str | None, typer.Option(help="What a DiT predicts: noise (published) or velocity.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Of an imported model: an imported or trained tokenizer, by name or file.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Of an imported model: the set that it was trained on.")] = None,
    image_folder: Annotated[str | None, typer.Option(help="The same, a folder of pictures.")] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Read published weights of VAR, its tokenizer, DiT or AutoencoderKL; family and sizes are read from the tensors.

    What is read can be named like what was trained here: `evaluate`, `sample`, `edit` and `export` take a model, and
    `tokenizer: {weights: NAME}` lets a study stand on a tokenizer.

    Examples:

      var-scaling import vae_ch160v4096z32.pth var_d16.pth --patch-nums 1,2,3,4,5,6,8,10,13,16

      var-scaling import var_d30.pth --tokenizer vae_ch160v4096z32

      var-scaling import DiT-XL-2-256x256.pt --tokenizer diffusion_pytorch_model.safetensors
    """
    extras.need("train")
    from var_scaling.planning.imported import Imports
    from var_scaling.state_dicts import Given

    given = Given(
        patch_nums=_sides(patch_nums),
        heads=heads,
        norm_groups=norm_groups,
        phi_ratio=phi_ratio,
        resolution=resolution,
        latent_scale=latent_scale,
        target=target,
    )
    imports = Imports(runs, build=True, tell=lambda text: err.print(text, soft_wrap=True))
    found = _read(runs, files, given)
    tokenizers = {known.weights: _tokenizer(known) for known in found if known.what == "tokenizer"}
    if tokenizer is not None:
        named = imports.find(tokenizer, given.as_dict())
        if named is None or named.what != "tokenizer":
            what = (
                f"is a {named.name}, no tokenizer" if named else "is no file here and no tokenizer of this runs folder"
            )
            raise RequestProblem(f"--tokenizer {tokenizer} {what}; give one that was imported or trained, or its file")
        choice = [_tokenizer(named)]
    else:
        choice = list(tokenizers.values())
    told = []
    for known in found:
        if known.what == "tokenizer":
            told.append(_place_tokenizer(runs, known, tokenizers[known.weights]))
        else:
            told.append(_place_model(runs, known, choice, tokenizer is not None, data, image_folder))
    if json:
        print_json({"schema": 1, "imports": [each.as_dict() for each in told]})
        return
    for each in told:
        each.say()


def _read(runs: Path, files: list[Path], given: Given) -> list[Known]:
    """What is in the files; a tokenizer whose scales nobody gave takes those of the one model beside it."""
    from var_scaling.work.importing import Untold, import_file

    found: dict[Path, Known] = {}
    open_yet: dict[Path, Untold] = {}
    for file in files:
        try:
            found[file] = import_file(runs, file, given)[0]
        except Untold as problem:
            open_yet[file] = problem
    sides = {tuple(known.config["patch_nums"]) for known in found.values() if "patch_nums" in known.config}
    for file, problem in open_yet.items():
        if len(sides) != 1:
            raise problem
        found[file] = import_file(runs, file, replace(given, patch_nums=next(iter(sides))))[0]
    return [found[file] for file in files]


@dataclass(frozen=True)
class _Told:
    """What is said of one import."""

    known: Known
    work: Work
    sizes: dict[str, Any]
    tokenizer: str | None = None  # folder of a model's
    data: str | None = None

    @property
    def name(self) -> str:
        return self.work.folder.rpartition("/")[2]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "what": self.known.what,
            "kind": self.known.name,
            "folder": self.work.folder,
            "weights": self.known.weights,
            "source": self.known.source,
            "parameters": self.known.parameters,
            "sizes": self.sizes,
            "tokenizer": self.tokenizer,
            "data": self.data,
            "said": list(self.known.said),
        }

    def say(self) -> None:
        known = self.known
        what = f"tokenizer ({known.name})" if known.what == "tokenizer" else known.name
        out.print(
            f"{known.source}: {what}, {count(known.parameters)} parameters ({known.parameters:,})", soft_wrap=True
        )
        for words in known.said:
            out.print(f"  {words}", soft_wrap=True)
        for name, value in self.sizes.items():
            out.print(f"  {name:<20}{','.join(map(str, value)) if isinstance(value, list) else value}", soft_wrap=True)
        if known.what == "tokenizer":
            out.print(f"  its name            {self.name} (in {self.work.folder})")
            out.print(f"  next: tokenizer: {{weights: {self.name}}} in a study, or")
            out.print(f"        var-scaling tokenizer evaluate --weights {self.name}")
            return
        out.print(f"  its name            {self.name}")
        if self.tokenizer is None:
            out.print(
                "  next: import it again with --tokenizer NAME, or together with its tokenizer's file: what it draws "
                "are latents, which only that turns into images",
                soft_wrap=True,
            )
            return
        out.print(f"  tokenizer           {self.tokenizer}\n  data                {self.data}")
        out.print(f"  next: var-scaling sample {self.name} | var-scaling evaluate {self.name}", soft_wrap=True)


def _sides(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.strip("[]() ").split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise RequestProblem(f"--patch-nums {text}: write the side of each token map, as in --patch-nums 1,2,3,4")
    sides = tuple(map(int, parts))
    if any(a >= b for a, b in zip(sides, sides[1:], strict=False)):
        raise RequestProblem(f"--patch-nums {text}: sides must grow from coarse to fine, as in --patch-nums 1,2,3,4")
    return sides


def _tokenizer(known: Known) -> TokenizerConfig:
    """The resolved config of an imported tokenizer, at the size that it was read with."""
    from var_scaling.config import yaml
    from var_scaling.tokenizers.registry import kinds

    raw = {**yaml.tuples(dict(known.config)), "weights": known.weights}
    return kinds()[known.name].config.model_validate(raw)


def _place_tokenizer(runs: Path, known: Known, config: TokenizerConfig) -> _Told:
    from var_scaling.planning.trial import TrialConfig
    from var_scaling.planning.works import tokenizer_work

    work = tokenizer_work(TrialConfig().model_copy(update={"tokenizer": config}))
    _place(runs, work)
    return _Told(known, work, _shown_sizes(known))


def _place_model(
    runs: Path, known: Known, choice: list[TokenizerConfig], named: bool, data: str | None, image_folder: str | None
) -> _Told:
    from var_scaling.planning.imported_models import config_of_import, misfits, model_config
    from var_scaling.planning.works import works_of_import
    from var_scaling.tokenizers.registry import kind_of

    model = model_config(known)
    choice = [kind_of(config).standing(config, model) for config in choice]
    fitting = [config for config in choice if not misfits(model, config)]
    if named and not fitting:
        why = "; ".join(misfits(model, choice[0]))
        raise RequestProblem(f"{known.source} does not stand on that tokenizer: {why}; name the one it was trained on")
    if len(fitting) > 1:
        raise RequestProblem(
            f"{len(fitting)} of the tokenizers given fit {known.source}; name the one that it was trained on with "
            "--tokenizer"
        )
    try:
        config = config_of_import(model, fitting[0] if fitting else None, data, image_folder)
    except ValueError as problem:
        raise RequestProblem(f"--data: {problem}") from None
    works = works_of_import(config, known.weights)
    for work in (*works.stages, works.trial):
        _place(runs, work)
    stages = [work.folder for work in works.stages]
    size = f" at {config.data.resolution} px" if config.data.resolution else ""
    said = f"{config.data.name}{size}, {config.data.classes} classes"
    return _Told(known, works.trial, _shown_sizes(known), stages[0] if stages else None, said)


def _place(runs: Path, work: Work) -> None:
    from var_scaling.launch.folders import write_work
    from var_scaling.work.importing import place

    try:
        write_work(runs, work)
    except OSError as error:
        raise EnvironmentProblem(
            f"the runs folder {runs} cannot be written ({error.strerror or error}); free space, mend its permissions, "
            "or choose another with --runs"
        ) from None
    place(runs, work)


def _shown_sizes(known: Known) -> dict[str, Any]:
    """What was read from the shapes, or given."""
    hidden = {"family", "preset", "weights", "train", "gamma_init", "drop_path", "initial_values", "commitment"}
    return {name: value for name, value in known.config.items() if name not in hidden}


def export(
    name: Annotated[
        str, typer.Argument(help="A trial, an imported model or a tokenizer, by a start of its name or id.")
    ],
    to: Annotated[Path, typer.Option("--out", help="File to write: .safetensors, or .pth.")],
    images: Annotated[int | None, typer.Option(help="Which budget, in images (default: the largest).")] = None,
    of_tokenizer: Annotated[bool, typer.Option("--tokenizer", help="The tokenizer that it stands on instead.")] = False,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Write a model or a tokenizer under the published names; it is read back and compared before the file counts.

    What no shape tells (scale list, groups of norms, heads) goes into the metadata of a .safetensors; a .pth, which the
    published code loads, has no place for it, and the options that it needs to be read again are said.

    Examples:

      var-scaling export var-d6-s0 --out var_d6.safetensors

      var-scaling export var-d6-s0 --tokenizer --out vae.pth
    """
    extras.need("train")
    from var_scaling.cli.trained import trained
    from var_scaling.launch.status import find_work
    from var_scaling.work.exporting import export_model, export_tokenizer

    folder = find_work(runs, name)
    if layout.has_budgets(folder):
        folder, budget = trained(runs, name, images)
        if of_tokenizer:
            needs = store.read_json(layout.needs(folder))
            results = [layout.result(runs / need) for need in needs if layout.kind_of_stage(need) == "tokenizer"]
            if not results:
                raise RequestProblem(f"{folder.name} was imported without its tokenizer, so there is none to export")
            done = export_tokenizer(results[0], to)
        else:
            done = export_model(folder, budget, to)
    elif folder.parent.name == "tokenizer":
        if not layout.result(folder).exists():
            raise RequestProblem(f"{folder.parent.name}/{folder.name} is not trained yet; `var-sweep status` says more")
        done = export_tokenizer(layout.result(folder), to)
    else:
        raise RequestProblem(
            f"{folder.parent.name}/{folder.name} is neither a model nor a tokenizer; export takes those two"
        )
    again = f"var-scaling import {shlex.quote(str(to))}{_options(done.needed)}"
    if json:
        given = done.given.as_dict()
        print_json({"schema": 1, "file": str(to), "parameters": done.parameters, "given": given, "import": again})
        return
    out.print(f"wrote {to}: {done.parameters:,} parameters under published names, read back and equal", soft_wrap=True)
    out.print(f"to read it again: {again}", soft_wrap=True)


def _options(given: Given) -> str:
    return "".join(
        f" --{name.replace('_', '-')} {','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in given.as_dict().items()
    )
