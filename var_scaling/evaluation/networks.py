"""What the feature networks that are trained on the data at hand share: their stages, their training, their loading.

Dimension key: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.config.evaluate import NetworkConfig
from var_scaling.data.images import Images
from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import layout

if TYPE_CHECKING:
    from var_scaling.runs.store import Attempt

M = TypeVar("M", bound=nn.Module)


def stages(image_channels: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Strided and plain 3x3 convolutions; each stage halves the side."""
    layers: list[nn.Module] = []
    before = image_channels
    for stage, width in enumerate(channels):
        layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if stage > 0:  # at the first stage's size a second convolution doubles the cost and adds 0.5 % (measured)
            layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers)


def train(
    model: nn.Module,
    loss_of: Callable[[NDArray[np.int64], int], Tensor],
    recipe: NetworkConfig,
    images: Images,
    name: str,
    attempt: Attempt,
    device: torch.device,
) -> float:
    """Trains on the training images, in an order addressed by the recipe's seed; resumes bit-exactly at epochs.

    Args:
        model: on `device`.
        loss_of: mean loss of some rows of the training split in an epoch.
        recipe: epochs, batch, rates.
        images: of the whole set.
        name: of the phase and the checkpoint.
        attempt: journal, checkpoints, stop flag.
        device: where it runs.

    Returns:
        Seconds, of all attempts.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
    )
    count = images.count("train")
    steps_per_epoch = -(-count // recipe.batch_size)
    steps = steps_per_epoch * recipe.epochs
    epoch, seconds = 0, 0.0
    saved = attempt.load_checkpoint(name)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        epoch, seconds = saved["epoch"], saved["seconds"]
    while epoch < recipe.epochs:
        start = time.monotonic()
        model.train()
        order = randomness.permutation(recipe.seed, f"{name}-order", epoch, count)
        total = torch.zeros((), device=device)
        for step in range(steps_per_epoch):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _one_cycle((epoch * steps_per_epoch + step) / steps)
            loss = loss_of(rows, epoch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
            if step % 20 == 0:
                attempt.progress(epoch * count + step * recipe.batch_size, recipe.epochs * count, f"{name} images")
            if attempt.stop_requested():
                raise attempt.stopped()  # an epoch is seconds: the next attempt repeats it
        epoch += 1
        seconds += time.monotonic() - start
        attempt.check_owner()
        attempt.journal.write(phase=name, images=epoch * count, **{"train/loss": float(total) / count})
        attempt.save_checkpoint(
            name, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "seconds": seconds}
        )
    return seconds


def _one_cycle(share: float) -> float:
    """Learning rate over its peak: up for a fifth of training, then down along a line."""
    return min(share / 0.2, (1 - share) / 0.8) if share < 1 else 0.0


def load(model: M, name: str, folder: Path, device: torch.device | str) -> M:
    """A fresh network with the weights of a store folder, in eval mode.

    Raises:
        EnvironmentProblem: no weights there, or not of this recipe.
    """
    try:
        model.load_state_dict(load_file(layout.weights(folder)))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise EnvironmentProblem(
            f"the {name} in {folder} cannot be read ({error}); delete the folder and launch again"
        ) from None
    return model.to(device).eval()
