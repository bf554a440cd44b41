"""The feature network of `classifier` metrics: a small CNN trained once on the data set at hand.

Published feature networks need their weights and expect photographs of 224 pixels or more; on small sets without a
network this one ranks models by what tells the classes apart. No tokenizer is ever trained on it.

Dimension key: B batch, C channels, H height, W width, F features, Y classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ClassifierConfig
from var_scaling.data.images import Images
from var_scaling.evaluation import networks
from var_scaling.runs import layout, store

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt


class Classifier(nn.Module):
    """Stages of strided and plain 3x3 convolutions, mean over positions, a linear feature layer, a linear head."""

    def __init__(self, *, image_channels: int, channels: tuple[int, ...], features: int, classes: int) -> None:
        super().__init__()
        self.body = networks.stages(image_channels, channels)
        self.feature_layer = nn.Linear(channels[-1], features)
        self.head = nn.Linear(features, classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """(B, F) features, after their nonlinearity; images in [-1, 1]."""
        return F.gelu(self.feature_layer(self.body(images_BCHW).mean((2, 3))))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, Y) logits."""
        return self.head(self.features(images_BCHW))


def build_classifier(config: ClassifierConfig, data: DataConfig) -> Classifier:
    """Freshly initialised from the recipe's seed."""
    assert data.channels is not None
    assert data.classes is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Classifier(
            image_channels=data.channels, channels=config.channels, features=config.features, classes=data.classes
        )


def train_classifier(
    data: DataConfig,
    images: Images,
    config: ClassifierConfig | None = None,
    *,
    attempt: Attempt,
    out: Path,
    device: torch.device | str = "cpu",
    threads: int = 1,
) -> dict[str, Any]:
    """Trains on the training images, in an order addressed by the recipe's seed; resumes bit-exactly at epochs.

    Args:
        data: resolved; `config.evaluate.metric_data` of the study's.
        images: of `data`.
        config: the recipe.
        attempt: journal, checkpoints, stop flag.
        out: gets weights.safetensors and report.json.
        device: where it runs.
        threads: of torch, while it trains.

    Returns:
        The report: accuracy on the validation images, epochs, seconds.
    """
    config = config or ClassifierConfig()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _train(data, images, config, attempt, out, torch.device(device))
    finally:
        torch.set_num_threads(before)


def _train(
    data: DataConfig, images: Images, config: ClassifierConfig, attempt: Attempt, out: Path, device: torch.device
) -> dict[str, Any]:
    model = build_classifier(config, data).to(device)
    labels = torch.from_numpy(images.train_labels)

    def loss_of(rows: NDArray[np.int64], epoch: int) -> Tensor:
        return F.cross_entropy(model(images.batch(rows).to(device)), labels[rows].to(device), label_smoothing=0.05)

    seconds = networks.train(model, loss_of, config, images, "classifier", attempt, device)
    report = {
        "accuracy": accuracy(model, images, device),
        "validation_images": images.count("validation"),
        "epochs": config.epochs,
        "images": images.count("train"),
        "seconds": seconds,
        "data_hash": images.content_hash,
    }
    attempt.journal.write(
        phase="classifier", images=config.epochs * images.count("train"), **{"val/accuracy": report["accuracy"]}
    )
    store.write_weights(layout.weights(out), model.state_dict())
    store.write_json(layout.report(out), report)
    attempt.drop_checkpoint("classifier")
    return report


@torch.no_grad()
def accuracy(model: Classifier, images: Images, device: torch.device | str = "cpu", batch_size: int = 500) -> float:
    """Share of the validation images that get their own label."""
    model.eval()
    right = 0
    for start in range(0, images.count("validation"), batch_size):
        rows = np.arange(start, min(start + batch_size, images.count("validation")))
        predicted = model(images.batch(rows, 0, "validation").to(device)).argmax(1).cpu().numpy()
        right += int((predicted == images.validation_labels[rows]).sum())
    return right / images.count("validation")


def load_classifier(
    folder: Path, config: ClassifierConfig, data: DataConfig, device: torch.device | str = "cpu"
) -> Classifier:
    """The trained network of a store folder, in eval mode.

    Raises:
        EnvironmentProblem: no weights there, or not of this recipe.
    """
    return networks.load(build_classifier(config, data), "classifier", folder, device)
