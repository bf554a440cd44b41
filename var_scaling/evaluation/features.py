"""Feature networks of the metrics, all behind torch-fidelity's registration, and features of reference sets.

`classifier` and `shape` are trained here; `inception`, `dinov2` and `clip` are torch-fidelity's, with weights from a
folder that the user gives (for clusters without a network) or its own download. Every image is rounded to 8 bits first,
as if it had gone through a PNG file.

Dimension key: B batch, n images, D features, Y classes of the feature network.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor
from torch_fidelity.utils import create_feature_extractor

from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import NETWORKS, ClassifierConfig, Features, FidEvaluation, NetworkConfig, ShapeConfig
from var_scaling.data.images import Images, Split
from var_scaling.errors import EnvironmentProblem
from var_scaling.evaluation.classifier import Classifier, load_classifier
from var_scaling.evaluation.frechet import Gaussian, Moments
from var_scaling.evaluation.shape import load_shape
from var_scaling.state_dicts import weights_hash

CLASSIFIER_NAME = "var-scaling-classifier"
BATCH = 100  # images in one pass of a feature network; fixed, so that features do not depend on a machine's memory
KEPT_FEATURES = 10_000  # of a reference set, for KID, precision and recall; FID's moments take all of it
# Names under which the weights are looked for in the user's folder: those that their publishers gave them.
WEIGHT_FILES = {
    "inception": "weights-inception-2015-12-05-6726825d.pth",
    "dinov2": "dinov2_vitl14_pretrain.pth",
    "clip": "ViT-B-32.pt",
}
_LAYERS = {"inception": ("2048", "logits_unbiased"), "dinov2": ("dinov2",), "clip": ("clip",)}


class ClassifierExtractor(FeatureExtractorBase):
    """Our classifier as torch-fidelity wants it: uint8 images in, features and logits out."""

    def __init__(self, name: str, features_list: list[str], *, classifier: Classifier, **_: Any) -> None:
        super().__init__(name, features_list)
        self.classifier = classifier

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        features_BD = self.classifier.features(images_BCHW.float() / 127.5 - 1)
        found = {"features": features_BD, "logits": self.classifier.head(features_BD)}
        return tuple(found[name] for name in self.features_list)


if CLASSIFIER_NAME not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor(CLASSIFIER_NAME, ClassifierExtractor)


@dataclass(frozen=True)
class Extractor:
    """A feature network, ready to run.

    `identity` names network and weights: what a cached feature may depend on. `logits` says whether it classifies, so
    that an Inception score can be had.
    """

    features: Features
    identity: str
    network: Callable[[Tensor], tuple[Tensor, ...]]
    channels: int
    logits: bool
    device: torch.device

    @torch.no_grad()
    def __call__(self, images_BCHW: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Features (B, D) and logits (B, Y) of uint8 images."""
        assert images_BCHW.dtype == torch.uint8
        images_BCHW = images_BCHW.to(self.device)
        if self.channels == 3 and images_BCHW.shape[1] == 1:
            images_BCHW = images_BCHW.expand(-1, 3, -1, -1)
        found = [f.float().cpu().numpy() for f in self.network(images_BCHW)]
        return found[0], (found[1] if self.logits else None)


def load_extractor(
    features: Features,
    *,
    data: DataConfig,
    recipe: NetworkConfig | None = None,
    folder: Path | None = None,
    weights_folder: str | Path | None = None,
    device: torch.device | str = "cpu",
) -> Extractor:
    """Opens a feature network.

    Args:
        features: which.
        data: of the images (`metric_data`).
        recipe: of the network in `folder`, where it was trained here; None: the default one.
        folder: published by `train_classifier` or `train_shape`.
        weights_folder: holds the published networks' weights (`WEIGHT_FILES`); None: torch-fidelity's own download.
        device: where it runs.

    Raises:
        EnvironmentProblem: weights are missing, cannot be read, or cannot be downloaded.
    """
    device = torch.device(device)
    if features in ("classifier", "shape") and folder is None:
        raise EnvironmentProblem(f"{features} features need a trained {features} network; build that stage first")
    if features == "shape":
        assert folder is not None and not isinstance(recipe, ClassifierConfig)
        seeing = load_shape(folder, recipe or ShapeConfig(), data, device)
        return Extractor(
            "shape",
            f"shape-{weights_hash(seeing)[:16]}",
            lambda images_BCHW: (seeing.features(images_BCHW.float() / 127.5 - 1),),
            0,
            False,
            device,
        )
    if features == "classifier":
        assert folder is not None and not isinstance(recipe, ShapeConfig)
        model = load_classifier(folder, recipe or ClassifierConfig(), data, device)
        network = create_feature_extractor(
            CLASSIFIER_NAME, ["features", "logits"], cuda=False, classifier=model, verbose=False
        )
        return Extractor("classifier", f"classifier-{weights_hash(model)[:16]}", network, 0, True, device)
    path = None
    if weights_folder is not None:
        path = Path(weights_folder) / WEIGHT_FILES[features]
        if not path.is_file():
            raise EnvironmentProblem(
                f"{features} features need the weights {WEIGHT_FILES[features]} in {weights_folder}, and they are not "
                "there; put them there, or name no folder (placement.feature_weights, --weights) to download them"
            )
    network = _published(features, path, device)
    weights = weights_hash(network)[:16] if isinstance(network, torch.nn.Module) else ""
    return Extractor(features, f"{NETWORKS[features]}-{weights}", network, 3, len(_LAYERS[features]) > 1, device)


def evaluation_extractor(
    evaluation: FidEvaluation,
    extractor_folder: Path | None,
    weights: str | Path | None,
    device: torch.device | str = "cpu",
) -> Extractor:
    """The feature network of an evaluation; see `load_extractor`."""
    recipe = evaluation.extractor
    return load_extractor(
        evaluation.fid.features,
        data=evaluation.data,
        recipe=None if isinstance(recipe, str) else recipe,
        folder=extractor_folder,
        weights_folder=weights,
        device=device,
    )


def _published(features: Features, path: Path | None, device: torch.device) -> FeatureExtractorBase:
    try:
        if features == "dinov2" and path is not None:
            from var_scaling.evaluation.dinov2 import DinoExtractor  # torch-fidelity reads no local DINOv2 weights

            return DinoExtractor(path).to(device).eval()
        if features == "inception" and path is not None:
            torch.load(path, map_location="cpu", weights_only=True)  # refuses code, which torch-fidelity would run
        return create_feature_extractor(
            NETWORKS[features],
            list(_LAYERS[features]),
            cuda=device.type == "cuda",
            feature_extractor_weights_path=None if path is None else str(path),
            verbose=False,
        )
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        where = f"read from {path}" if path is not None else "downloaded"
        raise EnvironmentProblem(
            f"the weights of {features} features cannot be {where} ({error}); name a folder that holds "
            f"{WEIGHT_FILES[features]} (placement.feature_weights in a study, --weights of a command), or use "
            "features: classifier or shape"
        ) from None


def to_bytes(images_BCHW: Tensor) -> Tensor:
    """Images in [0, 1] rounded to uint8."""
    return (images_BCHW.clamp(0, 1) * 255).round().to(torch.uint8)


def image_bytes(images: Images, split: Split, rows: NDArray[np.int64]) -> Tensor:
    """Plain views as uint8 (B, C, H, W), exactly the set's pixels."""
    return ((images.batch(rows, 0, split) + 1) * 127.5).round().to(torch.uint8)


def batches(count: int, size: int = BATCH) -> Iterator[NDArray[np.int64]]:
    """Row numbers, `size` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


@dataclass(frozen=True)
class ReferenceFeatures:
    """Moments of all images of a split; features and labels of `KEPT_FEATURES` with the same class shares.

    They lie so that every prefix has these shares too.
    """

    gaussian: Gaussian
    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def alike_order(labels_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows in an order in which every prefix has the classes' shares; a class keeps its own order.

    The k-th of a class of n stands at (k + 1/2) / n of the way. Rows that cycle through the classes stay as they are.
    """
    counts = np.bincount(labels_n)
    order = np.argsort(labels_n, kind="stable")
    ranks = np.empty(len(labels_n), np.int64)
    ranks[order] = np.arange(len(labels_n)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.lexsort((labels_n, (ranks + 0.5) / counts[labels_n]))


def reference_features(
    images: Images,
    split: Split,
    extractor: Extractor,
    *,
    cache: Path | None = None,
    beat: Callable[[int, int], None] = lambda done, total: None,
) -> ReferenceFeatures:
    """Features of a reference split, kept in `cache` under a hash of the network's weights and the images' content.

    Args:
        images: the set.
        split: which part is the reference.
        extractor: the network.
        cache: a folder of the store, or None.
        beat: called with (images done, images in all).
    """
    key = hashlib.sha256(f"2\0{extractor.identity}\0{images.content_hash}\0{split}".encode()).hexdigest()[:16]
    path = cache / f"{extractor.features}-{split}-{key}.npz" if cache is not None else None
    kept_rows = alike_order(images.labels(split))[:KEPT_FEATURES]
    labels = images.labels(split)[kept_rows]
    if path is not None and (kept := _read_reference(path, labels)) is not None:
        return kept
    moments, total = Moments(), images.count(split)
    place = np.full(total, -1)
    place[kept_rows] = np.arange(len(kept_rows))
    kept_nD = np.zeros((0, 0), np.float32)
    for rows in batches(total):
        features_BD, _ = extractor(image_bytes(images, split, rows))
        moments.add(features_BD)
        if not len(kept_nD):
            kept_nD = np.empty((len(kept_rows), features_BD.shape[1]), features_BD.dtype)
        places = place[rows]
        kept_nD[places[places >= 0]] = features_BD[places >= 0]
        beat(int(rows[-1]) + 1, total)
    found = ReferenceFeatures(moments.gaussian(), kept_nD, labels)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
        gaussian = found.gaussian
        np.savez(
            partial, mean=gaussian.mean, covariance=gaussian.covariance, count=gaussian.count, features=found.features
        )
        os.replace(partial, path)
    return found


def _read_reference(path: Path, labels: NDArray[np.int64]) -> ReferenceFeatures | None:
    try:
        with np.load(path) as kept:
            gaussian = Gaussian(kept["mean"], kept["covariance"], int(kept["count"]))
            return ReferenceFeatures(gaussian, kept["features"], labels)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # none yet, or damaged: computed again
