"""Tiny weights in the published formats, random everywhere, and the settings that no shape tells of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from var_scaling.families.dit.model import DiT
from var_scaling.families.var.model import VAR
from var_scaling.tokenizers.kl.model import KLTokenizer
from var_scaling.tokenizers.vq.model import Tokenizer

SIDES = (1, 2, 3)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """No weight is left where it was initialised: what is zero there would hide a wrong name."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return module.eval()


def var(**changes: Any) -> VAR:
    sizes = dict(depth=3, width=10, heads=2, patch_nums=SIDES, vocab_size=11, latent_dim=8, num_classes=5)
    return randomised(VAR(**(sizes | changes)))


def vq(**changes: Any) -> Tokenizer:
    sizes = dict(patch_nums=SIDES, vocab_size=11, latent_dim=8, channels=8, multipliers=(1, 2), blocks=1, stem_stride=2)
    return randomised(Tokenizer(**(sizes | changes)))


def dit(**changes: Any) -> DiT:
    sizes = dict(depth=2, width=24, heads=3, patch_size=1, latent_size=3, channels=4, num_classes=5)
    return randomised(DiT(**(sizes | changes)))


def kl(**changes: Any) -> KLTokenizer:
    sizes = dict(latent_channels=4, resolution=12, channels=8, multipliers=(1, 2), blocks=1, stem_stride=2)
    return randomised(KLTokenizer(**(sizes | changes)))
