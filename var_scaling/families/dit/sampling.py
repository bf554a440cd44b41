"""Latents drawn from a diffusion transformer, each a function of its own address.

Dimension key: B batch, C latent channels, H = W side of the latent.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from var_scaling import randomness
from var_scaling.families.dit.config import DiTConfig, DiTSampler
from var_scaling.families.dit.diffusion import GaussianDiffusion
from var_scaling.families.dit.model import DiT


def noises(config: DiTConfig | DiT, seed: int, stream: str, *counters: NDArray[np.int64] | int) -> Tensor:
    """(B, C, H, W) unit normal, each row a function of its address alone."""
    channels = config.latent_channels if isinstance(config, DiTConfig) else config.channels
    assert channels is not None and config.latent_size is not None, "resolve the config first"
    shape = (channels, config.latent_size, config.latent_size)
    numbers = randomness.normal(seed, stream, channels * config.latent_size**2, *counters)
    return torch.from_numpy(numbers.reshape(-1, *shape))


def addressed_noise(module: DiT, seed: int, positions: NDArray[np.int64]) -> Iterator[Tensor]:
    """Unit normal (B, C, H, W) on the model's device: where a sample starts, then one a step, made when asked for.

    Args:
        module: gives shape and device.
        seed: of the samples.
        positions: (B) numbers of the samples; row i depends on its own alone, whatever it is drawn together with.
    """
    step = 0
    while True:
        yield noises(module, seed, "diffusion-sample", positions, step).to(module.pos_embed.device)
        step += 1


@torch.no_grad()
def draw(
    module: DiT,
    labels_B: Tensor,
    sampler: DiTSampler,
    noise: Iterator[Tensor],
    known: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Clean latents (B, C, H, W) of the given classes.

    Args:
        module: the model; in which mode makes no difference.
        labels_B: (B) int64; `num_classes` draws without a class.
        sampler: its guidance is this project's t, 0 is off: the published scale is t + 1.
        noise: `addressed_noise`, or any tensors of that shape: the start, then one a step for samplers that need them.
        known: (B, C, H, W) latents of which a part is kept: in-painting with no further training.
        mask: (1 or B, 1 or C, H, W): 1 where `known` is kept.
    """
    diffusion = GaussianDiffusion(str(sampler.steps), module.target)
    channels = module.channels if sampler.guided_channels == "all" else sampler.guided_channels
    model = partial(module.guided, scale=sampler.published_guidance, channels=channels)
    return diffusion.sample(
        model,
        next(noise),
        labels_B,
        method=sampler.method,
        eta=sampler.eta,
        clip=sampler.clip,
        noise=noise,
        known=known,
        mask=mask,
    )
