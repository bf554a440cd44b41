"""`var-scaling tokenizer train | evaluate | compare`: the first stage by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.model import built, plan_of_one, stage
from var_scaling.cli.options import Base, Cores, Json, Overrides, Runs, features_named, tell
from var_scaling.cli.run import out, print_json
from var_scaling.cli.tables import new_table
from var_scaling.errors import RequestProblem
from var_scaling.runs import layout, store

tokenizer = typer.Typer(help="Train, measure and compare tokenizers.", no_args_is_help=True, rich_markup_mode=None)

Features = Annotated[
    str | None,
    typer.Option(help="Of the rFID: classifier, shape, inception, dinov2 or clip (default: the file's, or ours)."),
]
# What a report says that the answer and the table of scales do not.
SHOWN = {"images", "rfid_train", "rfid_validation", "samples_per_dimension", "perplexity", "features", "network"}
Weights = Annotated[str | None, typer.Option("--feature-weights", help="Folder with the feature network's weights.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `var-scaling`."""
    app.add_typer(tokenizer, name="tokenizer")


@tokenizer.command("train")
def train(
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Train a tokenizer, or find it trained.

    Examples:

      var-scaling tokenizer train --set tokenizer.preset=small

      var-scaling tokenizer train --set data.name=cifar10 --set tokenizer.train.images=200000
    """
    stage("tokenizer", base, set_, runs, cores, json)


@dataclass(frozen=True)
class Measured:
    """A tokenizer's own figures on a data set."""

    name: str
    folder: str  # of the reconstruction, below the runs folder
    result: Path
    report: dict[str, Any]
    sides: tuple[int, ...]
    vocab_size: int | None

    @property
    def answer(self) -> str:
        """What counts, in one line."""
        report, parts = self.report, [f"{self.report['psnr']:.2f} dB PSNR"]
        if "rfid_train" in report:
            low, high = report["rfid_train_low"], report["rfid_train_high"]
            parts.append(f"rFID {report['rfid_train_corrected']:.3g} ({low:.3g} to {high:.3g}) against training images")
        if "usage" in report:
            parts.append(f"{report['usage']:.0%} of {self.vocab_size} codes used")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        picture = str(layout.reconstructions(self.result))
        return {"name": self.name, "stage": self.folder, **self.report, "picture": picture}


@tokenizer.command("evaluate")
def evaluate(
    weights: Annotated[
        str | None, typer.Option("--weights", help="Imported or trained, by name or file, at its own image size.")
    ] = None,
    features: Features = None,
    feature_weights: Weights = None,
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """PSNR, rFID against training and validation images, and use of the codebook at each scale, on any data set.

    With --weights a tokenizer is measured that need not have the data's size: images are brought to its own, and back.

    Examples:

      var-scaling tokenizer evaluate --set tokenizer.preset=small

      var-scaling tokenizer evaluate --weights vae_ch160v4096z32 --set data.name=imagenet --features inception

      var-scaling tokenizer evaluate --weights vae_ch160v4096z32 --set data.name=fashion-mnist-mini
    """
    found = _measure(weights, features, feature_weights, base, set_, runs, cores)
    sanity = store.read_json(layout.sanity(found.result))
    if json:
        print_json({"schema": 1, **found.as_dict(), "sanity": sanity})
        return
    out.print(f"{found.name}: {found.answer}", soft_wrap=True)
    if how := found.report.get("resized"):
        out.print(f"its images were resized for it: {how}", soft_wrap=True)
    out.print(f"truth above its reconstruction: {layout.reconstructions(found.result)}", soft_wrap=True)
    if found.sides:
        table = new_table("", "scale", "side", "codes used", "perplexity")
        for scale, side in enumerate(found.sides, start=1):
            usage, perplexity = found.report[f"usage_scale_{scale}"], found.report[f"perplexity_scale_{scale}"]
            table.add_row(str(scale), str(side), f"{usage:.1%}", f"{perplexity:.1f}")
        out.print(table)
    for key, value in found.report.items():
        if key in SHOWN:
            out.print(f"  {key:<26}{value:.4f}" if isinstance(value, float) else f"  {key:<26}{value}", soft_wrap=True)
    if sanity:
        out.print(
            "what the same FID says of images whose quality is known (validation images against training images;\n"
            "corrected for their number, with 95 %):"
        )
        for row in sanity:
            low, high = row["fid_low"], row["fid_high"]
            out.print(f"  {row['images']:<24}{row['fid_corrected']:8.3f}  ({low:.3f} to {high:.3f})")
    for words in _symptoms(runs, found, sanity):
        out.print(f"look: {words}", soft_wrap=True)


@tokenizer.command("compare")
def compare(
    a: Annotated[str, typer.Argument(help="A tokenizer: imported or trained, by name or file; or a preset.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    features: Features = None,
    feature_weights: Weights = None,
    base: Base = None,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Cores = None,
    json: Json = False,
) -> None:
    """Two tokenizers on the same images: which is better, by how much, and whether the difference is certain.

    A preset is trained on the data first, if it is not there yet.

    Examples:

      var-scaling tokenizer compare vae_ch160v4096z32 tiny --set data.name=fashion-mnist-mini

      var-scaling tokenizer compare tiny small --from sweeps/depth.yaml
    """
    from var_scaling.evaluation.paired import paired_difference

    pair = [_measure_named(name, features, feature_weights, base, set_, runs, cores) for name in (a, b)]
    difference = paired_difference(*(each.result / "psnr.npy" for each in pair))
    if json:
        print_json({"schema": 1, "a": pair[0].as_dict(), "b": pair[1].as_dict(), "psnr_difference": difference})
        return
    out.print(_verdict(pair, difference), soft_wrap=True)
    table = new_table("", "", pair[0].name, pair[1].name, left=("",))
    for key in dict.fromkeys([*pair[0].report, *pair[1].report]):
        values = [each.report.get(key) for each in pair]
        if any(isinstance(value, float) for value in values) and "_scale_" not in key:
            table.add_row(key, *("-" if value is None else f"{value:.4f}" for value in values))
    out.print(table)
    for each in pair:
        if how := each.report.get("resized"):
            out.print(f"{each.name}: images were resized for it: {how}", soft_wrap=True)
    for each in pair:
        out.print(f"{each.name}: {layout.reconstructions(each.result)}", soft_wrap=True)


def _verdict(pair: list[Measured], difference: dict[str, float] | None) -> str:
    """Which of two is better, measure by measure."""
    parts = []
    if difference is not None:
        mean, low, high = (difference[name] for name in ("mean", "low", "high"))
        better = pair[0 if mean > 0 else 1].name
        certain = low > 0 or high < 0
        bounds = sorted((abs(low), abs(high))) if certain else [low, high]
        words = f"{better} by {abs(mean):.2f} dB PSNR (of the same images, 95 %: {bounds[0]:.2f} to {bounds[1]:.2f})"
        parts.append(words if certain else f"no certain difference in PSNR ({mean:.2f} dB, {low:.2f} to {high:.2f})")
    floors = [each.report for each in pair]
    if all("rfid_train_low" in floor for floor in floors):
        first, second = sorted(floors, key=lambda floor: floor["rfid_train_corrected"])
        name = pair[floors.index(first)].name
        numbers = f"{first['rfid_train_corrected']:.3g} against {second['rfid_train_corrected']:.3g}"
        apart = first["rfid_train_high"] < second["rfid_train_low"]
        parts.append(f"{name} by rFID ({numbers}, intervals apart)" if apart else f"rFIDs overlap ({numbers})")
    return "better is " + "; ".join(parts) if parts else "neither could be measured beside the other"


def _measure_named(
    name: str,
    features: str | None,
    weights: str | None,
    base: Path | None,
    set_: list[str],
    runs: Path,
    cores: int | None,
) -> Measured:
    from var_scaling.tokenizers.registry import presets

    if name in presets() and not Path(name).exists():
        return _measure(None, features, weights, base, [*set_, f"tokenizer.preset={name}"], runs, cores, name)
    return _measure(name, features, weights, base, set_, runs, cores)


def _measure(
    named: str | None,
    features: str | None,
    feature_weights: str | None,
    base: Path | None,
    overrides: list[str],
    runs: Path,
    cores: int | None,
    name: str | None = None,
) -> Measured:
    """Measure a tokenizer, or find it measured."""
    extras.need("train")
    from var_scaling.config.evaluate import FidConfig
    from var_scaling.planning.imported_models import plan_of_reconstruction

    space = None if features is None else features_named(features)
    planned, text = plan_of_one(base, overrides, runs, 10**9, {"features": space or "classifier"})
    asked = planned.study.evaluate
    if space is not None:
        asked = asked.model_copy(update={"fid": FidConfig(features=space)})
    config = planned.trials[0].config
    if named is not None:
        config = config.model_copy(update={"tokenizer": _at_its_own_size(named, runs)})
    if feature_weights:
        placement = config.placement.model_copy(update={"feature_weights": feature_weights})
        config = config.model_copy(update={"placement": placement})
    work, report = built(plan_of_reconstruction(runs, config, asked), text, "reconstruction", runs, cores)
    sides = getattr(config.tokenizer, "patch_nums", None) if "usage_scale_1" in report else None
    vocab_size = getattr(config.tokenizer, "vocab_size", None)
    shown = name or named or config.tokenizer.preset
    return Measured(Path(shown).name, work.folder, layout.result(runs / work.folder), report, sides or (), vocab_size)


def _at_its_own_size(named: str, runs: Path) -> Any:
    """The resolved config of an imported or trained tokenizer, with the image size that it was read with."""
    from var_scaling.config import yaml
    from var_scaling.planning.imported import Imports
    from var_scaling.tokenizers.registry import kinds

    known = Imports(runs, build=True, tell=tell).find(named)
    if known is None or known.what != "tokenizer":
        what = f"is a {known.name}, no tokenizer" if known else "is no file here, and no tokenizer of these runs"
        raise RequestProblem(f"{named} {what}; `var-scaling import FILE` reads one")
    raw = {**yaml.tuples(dict(known.config)), "weights": known.weights}
    return kinds()[known.name].config.model_validate(raw)


def _symptoms(runs: Path, found: Measured, sanity: Any) -> list[str]:
    from var_scaling.runs.symptoms import of_reconstructions, of_tokenizer

    needs = store.read_json(layout.needs(found.result.parent))
    trained = next(layout.result(runs / need) for need in needs if layout.kind_of_stage(need) == "tokenizer")
    report = store.read_json(layout.report(trained)) or {}
    collapsed = of_tokenizer(report, found.vocab_size) if found.vocab_size else ()
    return [*collapsed, *of_reconstructions(found.report, sanity)]
