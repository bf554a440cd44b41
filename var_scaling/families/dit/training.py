"""The torch half of the DiT family: how a model learns, is judged and draws (`families.base.FamilyModel`).

Dimension key: B batch, C latent channels, H = W side of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Batch
from var_scaling.families.dit import sampling
from var_scaling.families.dit.config import TIMESTEPS, DiTConfig, DiTSampler
from var_scaling.families.dit.diffusion import GaussianDiffusion
from var_scaling.families.dit.model import DiT, build_dit
from var_scaling.families.dit.sampling import noises
from var_scaling.families.masks import kept_cells
from var_scaling.families.transformer.training import label_drops

reads = ("latents",)
build = build_dit

full_schedule = lru_cache(GaussianDiffusion)

VALIDATION_SEED = 0  # of the noises of the validation images: one for every model that is ever compared
GOLDEN_RATIO = (5**0.5 - 1) / 2


def draws(config: DiTConfig, train: TrainConfig, seed: int, positions: NDArray[np.int64]) -> dict[str, Tensor]:
    """Times (B) int64, uniform over the schedule, noises (B, C, H, W), and which labels are dropped (B)."""
    assert train.label_drop is not None, "resolve the config first"
    return {
        "times": torch.from_numpy(randomness.integers(seed, "diffusion-time", TIMESTEPS, positions)),
        "noises": noises(config, seed, "diffusion-noise", positions),
        "dropped": label_drops(seed, train.label_drop, positions),
    }


def loss(forward: nn.Module, config: DiTConfig, train: TrainConfig, batch: Batch) -> Tensor:
    """Mean square error of the target, and the variances' bound where they are learned."""
    assert config.num_classes is not None and config.target is not None, "resolve the config first"
    labels_B, drawn = batch.labels.masked_fill(batch.draws["dropped"], config.num_classes), batch.draws
    diffusion = full_schedule(target=config.target)
    losses = diffusion.training_losses(forward, batch.latents["latents"], drawn["times"], drawn["noises"], labels_B)
    return losses["loss"].mean()


@torch.no_grad()
def validate(module: DiT, batch: Batch, positions: NDArray[np.int64]) -> dict[str, Tensor]:
    """Losses of validation images, one noised copy each, no label dropped: the same weights give the same numbers.

    The times of any run of neighbouring positions lie evenly over the schedule (multiples of the golden ratio), so a
    mean over images carries almost no chance of which times were met: that is most of the error of a random draw.

    Args:
        module: in evaluation mode or not, it makes no difference.
        batch: labels, and "latents" of the plain view; nothing drawn is read.
        positions: (B) numbers of the images in the validation set; time and noise of an image follow from its own.

    Returns:
        (B) float32 each. "noise_mse": mean square error of the noise, whatever the target, to compare budgets and
        depths by (it does not rank depths by FID, and its level depends on the tokenizer); "target_mse": of what the
        model predicts; "vb" in bits, where variances are learned.
    """
    latents_BCHW = batch.latents["latents"]
    device = latents_BCHW.device
    shares = np.modf((np.asarray(positions) + 0.5) * GOLDEN_RATIO)[0]
    t_B = torch.from_numpy((shares * TIMESTEPS).astype(np.int64)).to(device)
    noises_BCHW = noises(module, VALIDATION_SEED, "diffusion-validation", positions).to(device)
    diffusion = full_schedule(target=module.target)
    losses = diffusion.training_losses(module, latents_BCHW, t_B, noises_BCHW, batch.labels)
    mse_B = noise_mse_B = losses["mse"]
    if module.target == "velocity":  # at a given noisy latent the noise is off by sqrt(a) times the velocity
        noise_mse_B = mse_B * torch.from_numpy(diffusion.alphas_cumprod).float().to(device)[t_B]
    bound = {"vb": losses["vb"]} if "vb" in losses else {}
    return {"noise_mse": noise_mse_B, "target_mse": mse_B, **bound}


def summarise(config: DiTConfig, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Means over the validation images; see `validate`."""
    return {f"loss_{name}": float(values.sum()) / len(values) for name, values in sums.items()}


def noise(module: DiT, sampler: DiTSampler, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Where each sample starts and, for samplers that draw at every step, a noise a step in call order."""
    shape = (module.channels, module.latent_size, module.latent_size)
    found = {"start": torch.randn(count, *shape, generator=generator)}
    if sampler.stochastic:
        found["steps"] = torch.randn(count, sampler.steps, *shape, generator=generator)
    return found


def draw(
    module: DiT,
    labels_B: Tensor,
    tokenizer: Any,
    sampler: DiTSampler,
    noise: Mapping[str, Tensor],
    known: Mapping[str, Tensor] | None = None,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Latents of one image for each label; of a known one those that are kept, and the rest drawn."""
    steps = noise["steps"].transpose(0, 1) if "steps" in noise else ()
    latents = sampling.draw(
        module,
        labels_B,
        sampler,
        iter((noise["start"], *steps)),
        known=None if known is None else known["latents"],
        mask=None if mask is None else kept_cells(mask, module.latent_size),
    )
    return {"latents": latents}


def groups(module: nn.Module) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: weights of linear maps, and the rest (biases, the label table)."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = [p for name, p in named if p.ndim > 1 and "embedding_table" not in name]
    rest = [p for name, p in named if p.ndim <= 1 or "embedding_table" in name]
    return [{"params": decayed, "decayed": True}, {"params": rest, "decayed": False}]


def blocks(module: DiT) -> nn.ModuleList:
    """What is computed again under `execution.recompute`."""
    return module.blocks
