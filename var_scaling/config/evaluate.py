"""What is measured on a finished model besides its loss: FID and its relatives, in named features. Torch-free.

A metric is trained and referenced on the whole named set (`metric_data`), never on a study's subset or views: models of
different `unique_images` are then compared in one space against one reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from var_scaling.config.base import Neutral, Strict
from var_scaling.config.data import NAMED_SETS, DataConfig
from var_scaling.config.image_manifest import counts_of

Features = Literal["classifier", "shape", "inception", "dinov2", "clip"]
Reference = Literal["train", "validation"]
Choice = Literal["each", "pool"]

# Networks behind the names, and their feature sizes: torch-fidelity's. ViT-L/14 tracks human judgement best among 17
# metrics (arXiv:2306.04675); ViT-B/32 is what FID in CLIP features is usually reported with.
NETWORKS = {"inception": "inception-v3-compat", "dinov2": "dinov2-vit-l-14", "clip": "clip-vit-b-32"}
FEATURE_DIMENSIONS = {"inception": 2048, "dinov2": 1024, "clip": 512}
SAMPLES_PER_DIMENSION = 5  # below it the corrected interval does not cover (68 % at 2.6; benchmarks/fid_coverage.py)


class ClassifierConfig(Strict):
    """The recipe of the small network whose features `classifier` metrics use; all of it identity.

    It is trained once on the whole set, and is never used to train a tokenizer.
    """

    features: int = Field(default=64, ge=2, le=2048)
    channels: tuple[int, ...] = (16, 32, 96)  # of the stages, each at half the side of the one before
    epochs: int = Field(default=5, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=8e-3, gt=0)
    weight_decay: float = Field(default=5e-2, ge=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    numerics: int = 1  # raised by hand when a change of code alters the weights


class ShapeConfig(Strict):
    """The recipe of the self-supervised network whose features `shape` metrics use; all of it identity.

    It learns to know an image again after a small move and a change of its colours, among other images and the same
    image with its parts exchanged, so it has to see where things are. It needs no classes, and is never used to train a
    tokenizer.
    """

    features: int = Field(default=128, ge=2, le=2048)
    channels: tuple[int, ...] = (16, 32, 96)  # of the stages, each at half the side of the one before
    epochs: int = Field(default=2, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=4e-3, gt=0)
    weight_decay: float = Field(default=5e-2, ge=0)
    temperature: float = Field(default=0.2, gt=0)
    move: float = Field(default=0.1, ge=0, lt=0.5)  # most pixels up, down, left or right, as a share of the side
    colour: float = Field(default=0.3, ge=0, lt=1)  # most change of a channel's gain and offset
    seed: int = Field(default=0, ge=0, lt=2**31)
    numerics: int = 1  # raised by hand when a change of code alters the weights


NetworkConfig = ClassifierConfig | ShapeConfig  # of the networks that are trained on the data at hand


# Another seed, other sizes, another rate: what it likes is not what the metric's network happens to like.
JUDGE = ClassifierConfig(features=48, channels=(12, 24, 72), epochs=4, learning_rate=6e-3, seed=1)


class FidConfig(Strict):
    """One FID measurement of a model, with KID, Inception score, precision and recall from the same samples.

    Any other key is a setting of the family's sampler (`guidance`, `top_k`, `steps`, ...), checked by
    `planning.resolve.fid_of`, where a family is known; a study of several families may give settings of each.
    """

    model_config = ConfigDict(extra="allow")

    samples: int = Field(default=2_000, ge=2)
    features: Features = "classifier"
    reference: Reference = "train"
    seed: int = Field(default=0, ge=0, lt=2**31)
    labels: Literal["reference", "balanced"] = "reference"  # shares of the classes among the samples
    precision: Annotated[Literal["float32", "bfloat16"], Neutral("float32")] = "float32"  # of drawing the samples
    numerics: int = 2  # raised by hand when a change of code alters the number
    # Candidates for each sample, of which a judging classifier keeps the best (`evaluation.selection`).
    candidates: Annotated[int, Field(ge=1, le=1024), Neutral(1)] = 1
    choice: Annotated[Choice, Neutral("each")] = "each"

    @property
    def sampler(self) -> dict[str, Any]:
        """The settings of a sampler that were given."""
        return dict(self.model_extra or {})


class EvaluateConfig(Strict):
    """What a study asks for at each of its budgets; no part of a trial's identity."""

    fid: FidConfig | tuple[FidConfig, ...] | None = None
    samples_grid: Annotated[int, Field(ge=1, le=64)] | Literal["off"] = 8  # images of each class, saved with a budget
    classifier: ClassifierConfig = ClassifierConfig()
    judge: ClassifierConfig = JUDGE  # keeps the best of several candidates; never the metric's own network
    shape: ShapeConfig = ShapeConfig()

    def network(self, features: Features) -> NetworkConfig | str:
        """What computes these features: a recipe of ours, or the name of a published network."""
        ours: dict[str, NetworkConfig] = {"classifier": self.classifier, "shape": self.shape}
        return ours.get(features) or NETWORKS[features]

    @property
    def fids(self) -> tuple[FidConfig, ...]:
        if self.fid is None:
            return ()
        return self.fid if isinstance(self.fid, tuple) else (self.fid,)


class FidEvaluation(Strict):
    """One evaluation with all that its number depends on besides the model; `evaluations/fid-<hash>.json`."""

    kind: Literal["fid"] = "fid"
    fid: FidConfig
    data: DataConfig  # of the reference, see `metric_data`
    extractor: NetworkConfig | str  # the recipe of ours, or the name of a published network
    judge: Annotated[ClassifierConfig | str, Neutral("none")] = "none"  # of candidates, where there are several


def metric_data(data: DataConfig) -> DataConfig:
    """The set that metrics are trained and referenced on: all of it, plain views; independent of a study's subset."""
    assert data.version is not None
    if data.name in NAMED_SETS:
        counts: tuple[int, int] | None = (NAMED_SETS[data.name].images, NAMED_SETS[data.name].validation_images)
    else:
        counts = counts_of(data.version)
    whole = {} if counts is None else {"unique_images": counts[0], "validation_images": counts[1]}
    return data.model_copy(update={**whole, "views": 1, "crop": "centre", "flip": False})


def fid_evaluations(config: EvaluateConfig, data: DataConfig) -> tuple[FidEvaluation, ...]:
    """Every FID that a study asks for on resolved data, checked.

    Raises:
        ValueError: too few samples for the features, or balanced samples that do not divide over the classes.
    """
    problems = [problem for fid in config.fids if (problem := _problem(fid, config.network(fid.features), data))]
    problems += list(_judging(config, data))
    if problems:
        raise ValueError("; ".join(problems))
    reference = metric_data(data)
    return tuple(
        FidEvaluation(
            fid=fid,
            data=reference,
            extractor=config.network(fid.features),
            judge=config.judge if fid.candidates > 1 else "none",
        )
        for fid in config.fids
    )


def _judging(config: EvaluateConfig, data: DataConfig) -> Iterator[str]:
    """Why the candidates that are asked for cannot be judged."""
    several = [fid for fid in config.fids if fid.candidates > 1]
    if several and config.judge == config.classifier and any(fid.features == "classifier" for fid in several):
        yield (
            f"evaluate.fid.candidates {several[0].candidates} with evaluate.judge equal to evaluate.classifier: a "
            "network that picks the samples would then grade its own choice; give evaluate.judge another seed or "
            "recipe, or leave it out"
        )
    if several and data.classes == 1:
        yield (
            f"evaluate.fid.candidates {several[0].candidates}: the judge keeps what looks most like its class, and the "
            "data have 1 class; leave candidates out"
        )
    for fid in config.fids:
        if fid.candidates == 1 and fid.choice != "each":
            yield (
                f"evaluate.fid.choice {fid.choice} with 1 candidate a sample: there is nothing to choose from; give "
                "evaluate.fid.candidates 2 or more, or leave choice out"
            )


def feature_dimension(features: Features, network: NetworkConfig | str) -> int:
    """Size of a feature vector."""
    return FEATURE_DIMENSIONS[features] if isinstance(network, str) else network.features


def images_needed(features: Features, network: NetworkConfig | str) -> int:
    """Fewest images that a Frechet distance in these features may stand on: of samples, and of a reference."""
    return SAMPLES_PER_DIMENSION * feature_dimension(features, network)


def too_few_images(evaluation: FidEvaluation) -> dict[Reference, str]:
    """What cannot be measured because a split has too few images, as a sentence by split. Nothing else is lost."""
    features, network, data = evaluation.fid.features, evaluation.extractor, evaluation.data
    needed, size = images_needed(features, network), feature_dimension(features, network)
    found: dict[Reference, str] = {}
    counts: tuple[tuple[Reference, int | None], ...] = (
        ("train", data.unique_images),
        ("validation", data.validation_images),
    )
    for split, images in counts:
        if images is None or images >= needed:
            continue
        lost = ["the tokenizer's rFID"] + (["FID"] if split == evaluation.fid.reference else [])
        fewer = images // SAMPLES_PER_DIMENSION
        way = f" or evaluate.{features}.features {fewer} or fewer" if not isinstance(network, str) and fewer > 1 else ""
        found[split] = (
            f"{images:,} {split} images are {images / size:.1f} for each of the {size} dimensions of {features} "
            f"features: without {' and '.join(lost)}, which need {needed:,} {split} images ({SAMPLES_PER_DIMENSION} a "
            f"dimension){way}"
        )
    return found


def _problem(fid: FidConfig, network: NetworkConfig | str, data: DataConfig) -> str | None:
    classes = data.classes or 0
    dimension = feature_dimension(fid.features, network)
    least = images_needed(fid.features, network)
    if fid.features == "classifier" and classes == 1:
        return (
            "evaluate.fid.features classifier: a network that learns to tell classes apart learns nothing of 1 class; "
            "use shape, which needs no classes, or inception, dinov2 or clip (published weights)"
        )
    if fid.samples < least:
        enough = -(-least // (2 * classes)) * 2 * classes if fid.labels == "balanced" else least
        return (
            f"evaluate.fid.samples {fid.samples} is {fid.samples / dimension:.1f} for each of the {dimension} "
            f"dimensions of {fid.features} features; below {SAMPLES_PER_DIMENSION} neither the number nor its interval "
            f"means anything: use {enough} or more, or smaller features"
        )
    if fid.labels == "balanced" and fid.samples % (2 * classes):  # the corrected value compares with two halves
        nearest = max(round(fid.samples / (2 * classes)), -(-least // (2 * classes))) * 2 * classes
        return (
            f"evaluate.fid.samples {fid.samples} does not divide into two halves balanced over {classes} classes; "
            f"use {nearest}"
        )
    return None
