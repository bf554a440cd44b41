"""The feature network of `classifier` metrics: a small CNN trained once on the data set at hand.

Published feature networks need their weights and expect photographs of 224 pixels or more; on small sets without a
network this one ranks models by what tells the classes apart. No tokenizer is ever trained on it.

Dimension key: B batch, C channels, H height, W width, F features, Y classes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ClassifierConfig
from var_scaling.data.images import Images
from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import layout, store

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt


class Classifier(nn.Module):
    """Stages of strided and plain 3x3 convolutions, mean over positions, a linear feature layer, a linear head."""

    def __init__(self, *, image_channels: int, channels: tuple[int, ...], features: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = image_channels
        for stage, width in enumerate(channels):
            layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if stage > 0:  # at the first stage's size a second convolution doubles the cost and adds 0.5 % (measured)
                layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.body = nn.Sequential(*layers)
        self.feature_layer = nn.Linear(before, features)
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
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    count = images.count("train")
    steps_per_epoch = -(-count // config.batch_size)
    steps = steps_per_epoch * config.epochs
    epoch, seconds = 0, 0.0
    saved = attempt.load_checkpoint("classifier")
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        epoch, seconds = saved["epoch"], saved["seconds"]
    labels = torch.from_numpy(images.train_labels)
    while epoch < config.epochs:
        start = time.monotonic()
        model.train()
        order = randomness.permutation(config.seed, "classifier-order", epoch, count)
        total = torch.zeros((), device=device)
        for step in range(steps_per_epoch):
            rows = order[step * config.batch_size : (step + 1) * config.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _one_cycle((epoch * steps_per_epoch + step) / steps)
            batch = images.batch(rows).to(device)
            loss = F.cross_entropy(model(batch), labels[rows].to(device), label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            if step % 20 == 0:
                attempt.progress(epoch * count + step * config.batch_size, config.epochs * count, "classifier images")
            if attempt.stop_requested():
                raise attempt.stopped()  # an epoch is seconds: the next attempt repeats it
        epoch += 1
        seconds += time.monotonic() - start
        attempt.check_owner()
        attempt.journal.write(phase="classifier", images=epoch * count, **{"train/loss": float(total) / count})
        attempt.save_checkpoint(
            "classifier",
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "seconds": seconds},
        )
    report = {
        "accuracy": accuracy(model, images, device),
        "validation_images": images.count("validation"),
        "epochs": config.epochs,
        "images": count,
        "seconds": seconds,
        "data_hash": images.content_hash,
    }
    attempt.journal.write(phase="classifier", images=config.epochs * count, **{"val/accuracy": report["accuracy"]})
    store.write_weights(layout.weights(out), model.state_dict())
    store.write_json(layout.report(out), report)
    attempt.drop_checkpoint("classifier")
    return report


def _one_cycle(share: float) -> float:
    """Learning rate over its peak: up for a fifth of training, then down along a line."""
    return min(share / 0.2, (1 - share) / 0.8) if share < 1 else 0.0


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
    model = build_classifier(config, data)
    try:
        model.load_state_dict(load_file(layout.weights(folder)))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise EnvironmentProblem(
            f"the classifier in {folder} cannot be read ({error}); delete the folder and launch again"
        ) from None
    return model.to(device).eval()
