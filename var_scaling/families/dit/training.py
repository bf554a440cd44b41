"""What a diffusion transformer learns from, and what it is judged by: noised latents, each at an addressed time.

Dimension key: B batch, C latent channels, H = W side of the latent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.families.dit.config import TIMESTEPS, DiTConfig
from var_scaling.families.dit.diffusion import GaussianDiffusion
from var_scaling.families.dit.model import DiT

full_schedule = lru_cache(GaussianDiffusion)

VALIDATION_SEED = 0  # of the noises of the validation images: one for every model that is ever compared
GOLDEN_RATIO = (5**0.5 - 1) / 2


def draws(config: DiTConfig, positions: NDArray[np.int64], *, seed: int, label_drop: float) -> dict[str, Tensor]:
    """The random part of the batch at these positions of a run, on the CPU; each row a function of its address alone.

    Returns:
        "times" (B) int64, uniform over the schedule; "noises" (B, C, H, W) float32; "dropped" (B) bool, the images
        that are learnt without their class.
    """
    return {
        "times": torch.from_numpy(randomness.integers(seed, "diffusion-time", TIMESTEPS, positions)),
        "noises": noises(config, seed, "diffusion-noise", positions),
        "dropped": torch.from_numpy(randomness.uniform(seed, "label-drop", positions) < label_drop),
    }


def noises(config: DiTConfig | DiT, seed: int, stream: str, *counters: NDArray[np.int64] | int) -> Tensor:
    """(B, C, H, W) unit normal, each row a function of its address alone."""
    channels = config.latent_channels if isinstance(config, DiTConfig) else config.channels
    assert channels is not None and config.latent_size is not None, "resolve the config first"
    shape = (channels, config.latent_size, config.latent_size)
    numbers = randomness.normal(seed, stream, channels * config.latent_size**2, *counters)
    return torch.from_numpy(numbers.reshape(-1, *shape))


def loss(
    forward: nn.Module, config: DiTConfig, labels_B: Tensor, latents_BCHW: Tensor, draws: dict[str, Tensor]
) -> Tensor:
    """Mean training loss of a batch: mean square of the target, and the variances' bound where they are learned.

    Args:
        forward: the model, or its wrapper.
        config: resolved.
        labels_B: (B) int64 true classes.
        latents_BCHW: (B, C, H, W) clean latents.
        draws: of `draws`, on the device of the rest.
    """
    labels_B = labels_B.masked_fill(draws["dropped"], config.num_classes)
    diffusion = full_schedule(target=config.target)
    return diffusion.training_losses(forward, latents_BCHW, draws["times"], draws["noises"], labels_B)["loss"].mean()


@torch.no_grad()
def validate(module: DiT, labels_B: Tensor, latents_BCHW: Tensor, positions: NDArray[np.int64]) -> dict[str, Tensor]:
    """Losses of validation images, one noised copy each, no label dropped: the same weights give the same numbers.

    The times of any run of neighbouring positions lie evenly over the schedule (multiples of the golden ratio), so a
    mean over images carries almost no chance of which times were met: that is most of the error of a random draw.

    Args:
        module: in evaluation mode or not, it makes no difference.
        labels_B: (B) int64.
        latents_BCHW: (B, C, H, W) of the plain view.
        positions: (B) numbers of the images in the validation set; time and noise of an image follow from its own.

    Returns:
        (B) float32 each. "noise_mse": mean square error of the noise, whatever the target, to compare budgets and
        depths by (it does not rank depths by FID, and its level depends on the tokenizer); "loss": of training; "vb"
        in bits, where variances are learned.
    """
    device = latents_BCHW.device
    shares = np.modf((np.asarray(positions) + 0.5) * GOLDEN_RATIO)[0]
    t_B = torch.from_numpy((shares * TIMESTEPS).astype(np.int64)).to(device)
    noises_BCHW = noises(module, VALIDATION_SEED, "diffusion-validation", positions).to(device)
    diffusion = full_schedule(target=module.target)
    losses = diffusion.training_losses(module, latents_BCHW, t_B, noises_BCHW, labels_B)
    mse_B = losses.pop("mse")
    if module.target == "velocity":  # at a given noisy latent the noise is off by sqrt(a) times the velocity
        mse_B = mse_B * torch.from_numpy(diffusion.alphas_cumprod).float().to(device)[t_B]
    return {"noise_mse": mse_B, **losses}


def groups(module: nn.Module) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: weights of linear maps, and the rest (biases, the label table)."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = [p for name, p in named if p.ndim > 1 and "embedding_table" not in name]
    rest = [p for name, p in named if p.ndim <= 1 or "embedding_table" in name]
    return [{"params": decayed, "decayed": True}, {"params": rest, "decayed": False, "weight_decay": 0.0}]
