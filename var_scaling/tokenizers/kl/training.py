"""The torch half of the continuous kind: a fresh tokenizer, and the latent's part in its training.

That is a sample of the posterior, its pull to the unit normal, and its scale.

Dimension key: B batch, Z latent channels, h = w side of the latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from var_scaling import randomness
from var_scaling.tokenizers.bottleneck import Squeezed
from var_scaling.tokenizers.kl.config import KLTokenizerConfig
from var_scaling.tokenizers.kl.model import KLTokenizer, build_kl_tokenizer

build = build_kl_tokenizer


def make(config: KLTokenizerConfig, device: torch.device) -> tuple[KLTokenizer, KLBottleneck]:
    """A fresh tokenizer on a device, in training mode, and its bottleneck."""
    model = build_kl_tokenizer(config).to(device).train()
    return model, KLBottleneck(model, config)


class KLBottleneck:
    """A `Bottleneck`. Its loss is the divergence from the unit normal, in nats a number of the latent, times `kl`."""

    def __init__(self, model: KLTokenizer, config: KLTokenizerConfig) -> None:
        self.model, self.train, self.latent_scale = model, config.train, config.latent_scale

    def start(self, features: Callable[[], Tensor]) -> None:
        """Nothing is to be done before the first step."""

    def __call__(self, features_BZhw: Tensor, images: int) -> Squeezed:
        posterior = self.model.posterior_of(features_BZhw)
        if self.train.kl == "off":
            return Squeezed(posterior.mean, {})
        positions = np.arange(images, images + len(features_BZhw))
        noise = randomness.normal(self.train.seed, "tokenizer-posterior", posterior.mean[0].numel(), positions)
        noise_BZhw = torch.from_numpy(noise).view(posterior.mean.shape).to(features_BZhw.device)
        return Squeezed(posterior.sample(noise_BZhw), {"kl": self.train.kl * posterior.divergence().mean()})

    def after(self, squeezed: Squeezed, images: int, batch: int) -> None:
        """Nothing learns but by gradients."""

    def measured(self) -> dict[str, float]:
        return {}

    def open_window(self) -> None:
        """Nothing is measured but losses."""

    def finish(self, batches: Iterable[Tensor]) -> None:
        """Measures the latents' scale, where it is no fixed factor; it is saved with the weights."""
        if self.latent_scale == "measured":
            self.model.measure_scale(batches)

    def judge(self) -> KLJudge:
        return KLJudge(self.model)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing was kept."""


class KLJudge:
    """A `Judge`: how far the latents are from the unit normal that a family starts from."""

    def __init__(self, model: KLTokenizer) -> None:
        self.model, self.largest = model, 0.0

    def __call__(self, truth_B3HW: Tensor) -> Tensor:
        latents = self.model.latents(truth_B3HW)
        self.largest = max(self.largest, *(float(values.abs().max()) for values in latents.values()))
        return self.model.pictures(latents)

    def report(self) -> dict[str, Any]:
        """Scale of each channel, and the largest number of a latent in standard deviations."""
        return {
            "latent_mean": self.model.latent_mean.tolist(),
            "latent_std": self.model.latent_std.tolist(),
            "largest_latent": self.largest,
        }
