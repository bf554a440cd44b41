"""The feature network of `shape` metrics: self-supervised, trained on the data at hand, with or without classes.

A classifier's features are a mean over positions of what tells classes apart, which textures often do: on the world of
32 px, images cut into quarters and put together wrongly were 25 from the real ones, nearer than images blurred by 7x7
(74). This network has to know an image again, moved a little and in other colours, among other images (contrastive
learning as in SimCLR, Chen et al. 2020) and among *itself with its parts exchanged*; its features keep positions. There
the exchanged quarters are 221 from the real images, the blurred ones 90 (docs/evaluation.md has the ladder). Blur and
noise are no part of its training, so that it stays sensitive to both.

Dimension key: B batch, C channels, H height, W width, F features, P size of the projection, G parts along a side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ShapeConfig
from var_scaling.data.images import Images
from var_scaling.evaluation import networks
from var_scaling.runs import layout, store

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt

PLACES = 4  # positions along a side that the features keep
PARTS = (2, 4)  # along a side, when parts are exchanged: one or the other for a whole batch


class ShapeNetwork(nn.Module):
    """Stages of convolutions, a linear layer over all positions, and a projection that only training uses."""

    def __init__(self, *, image_channels: int, channels: tuple[int, ...], features: int, projection: int = 64) -> None:
        super().__init__()
        self.body = networks.stages(image_channels, channels)
        self.feature_layer = nn.Linear(channels[-1] * PLACES**2, features)
        self.projection = nn.Sequential(nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, projection))

    def features(self, images_BCHW: Tensor) -> Tensor:
        """(B, F) features, after their nonlinearity; images in [-1, 1]."""
        places = F.adaptive_avg_pool2d(self.body(images_BCHW), PLACES)
        return F.gelu(self.feature_layer(places.flatten(1)))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, P) of length one."""
        return F.normalize(self.projection(self.features(images_BCHW)), dim=1)


def build_shape(config: ShapeConfig, data: DataConfig) -> ShapeNetwork:
    """Freshly initialised from the recipe's seed."""
    assert data.channels is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ShapeNetwork(image_channels=data.channels, channels=config.channels, features=config.features)


def train_shape(
    data: DataConfig,
    images: Images,
    config: ShapeConfig | None = None,
    *,
    attempt: Attempt,
    out: Path,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Trains on the training images, without their labels.

    Args:
        data: resolved; `config.evaluate.metric_data` of the study's.
        images: of `data`.
        config: the recipe.
        attempt: journal, checkpoints, stop flag.
        out: gets weights.safetensors and report.json.
        device: where it runs.

    Returns:
        The report: how often a validation image is known again among 256 and its own rearrangement, seconds.
    """
    config, device = config or ShapeConfig(), torch.device(device)
    model = build_shape(config, data).to(device)

    def loss_of(rows: NDArray[np.int64], epoch: int) -> Tensor:
        logits_BN, logits_other_BN = _similarities(model, images.batch(rows).to(device), rows, epoch, config)
        own = torch.arange(len(rows), device=device)
        return (F.cross_entropy(logits_BN, own) + F.cross_entropy(logits_other_BN, own)) / 2

    seconds = networks.train(model, loss_of, config, images, "shape", attempt, device)
    report = {
        "known_again": _known_again(model, images, config, device),
        "epochs": config.epochs,
        "images": images.count("train"),
        "seconds": seconds,
        "data_hash": images.content_hash,
    }
    store.write_weights(layout.weights(out), model.state_dict())
    store.write_json(layout.report(out), report)
    attempt.drop_checkpoint("shape")
    return report


def load_shape(folder: Path, config: ShapeConfig, data: DataConfig, device: torch.device | str = "cpu") -> ShapeNetwork:
    """The trained network of a store folder, in eval mode.

    Raises:
        EnvironmentProblem: no weights there, or not of this recipe.
    """
    return networks.load(build_shape(config, data), "shape network", folder, device)


def _similarities(
    model: ShapeNetwork, images_BCHW: Tensor, rows: NDArray[np.int64], epoch: int, config: ShapeConfig
) -> tuple[Tensor, Tensor]:
    """(B, 2B) twice: each view beside all other views and all rearranged ones; the right answer is on the diagonal."""
    first, second, third = (_view(images_BCHW, rows, 3 * epoch + number, config) for number in range(3))
    rearranged = exchanged(third, rows, PARTS[int(rows[0]) % len(PARTS)], config.seed + epoch)
    first_BP, second_BP, rearranged_BP = model(torch.cat([first, second, rearranged])).split(len(rows))
    return (
        first_BP @ torch.cat([second_BP, rearranged_BP]).T / config.temperature,
        second_BP @ torch.cat([first_BP, rearranged_BP]).T / config.temperature,
    )


def _view(images_BCHW: Tensor, rows: NDArray[np.int64], number: int, config: ShapeConfig) -> Tensor:
    """Moved a little, the edge repeated, and each channel with another gain and offset; a function of (row, number)."""
    side = images_BCHW.shape[-1]
    most = round(config.move * side)
    padded = F.pad(images_BCHW, (most,) * 4, mode="replicate")
    down_B, right_B = (
        randomness.integers(config.seed, f"shape-move-{axis}", 2 * most + 1, rows, number) for axis in ("y", "x")
    )
    each = torch.arange(len(rows))[:, None, None]
    down = torch.from_numpy(down_B)[:, None, None] + torch.arange(side)[None, :, None]
    right = torch.from_numpy(right_B)[:, None, None] + torch.arange(side)[None, None, :]
    moved = padded.permute(0, 2, 3, 1)[each, down, right].permute(0, 3, 1, 2)
    gain, offset = (
        torch.from_numpy(
            randomness.uniform(
                config.seed, f"shape-{what}", rows[:, None], number, np.arange(images_BCHW.shape[1])[None]
            ).astype(np.float32)
        ).to(moved.device)[..., None, None]
        * 2
        - 1
        for what in ("gain", "offset")
    )
    return (moved * (1 + config.colour * gain) + config.colour * offset).clamp(-1, 1)


def exchanged(images_BCHW: Tensor, rows: NDArray[np.int64], parts: int, seed: int = 0) -> Tensor:
    """Each image cut into parts x parts squares that are put together in another order; a function of (row, seed).

    Where the side does not divide, the rest at the right and at the bottom stays.
    """
    size, count = images_BCHW.shape[-1] // parts, parts * parts
    order_BG = np.argsort(randomness.bits(seed, f"exchanged-{parts}", rows[:, None], np.arange(count)[None]), axis=1)
    same = (order_BG == np.arange(count)).all(1)
    order_BG[same] = np.roll(order_BG[same], 1, axis=1)  # one order in 24 of four parts would be the image itself
    whole = images_BCHW.clone()
    squares = images_BCHW[..., : size * parts, : size * parts].unflatten(3, (parts, size)).unflatten(2, (parts, size))
    squares_BGCSS = squares.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    chosen = squares_BGCSS[torch.arange(len(rows))[:, None], torch.from_numpy(order_BG)]
    back = chosen.unflatten(1, (parts, parts)).permute(0, 3, 1, 4, 2, 5)
    whole[..., : size * parts, : size * parts] = back.flatten(4, 5).flatten(2, 3)
    return whole


@torch.no_grad()
def _known_again(model: ShapeNetwork, images: Images, config: ShapeConfig, device: torch.device) -> float:
    """Share of up to 256 validation images whose second view is nearest to the first, their rearrangements included."""
    model.eval()
    rows = np.arange(min(256, images.count("validation")))
    logits, _ = _similarities(model, images.batch(rows, 0, "validation").to(device), rows, 0, config)
    return float((logits.argmax(1).cpu().numpy() == rows).mean())
