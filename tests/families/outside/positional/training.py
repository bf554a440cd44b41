"""The torch half (`families.base.FamilyModel`). B batch, L tokens of an image, V vocabulary, W width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from var_scaling.families.transformer.sampling import draw as draw_tokens
from var_scaling.families.transformer.training import cross_entropy, label_drops, means_of_scales, sums_of_scales

reads = ("tokens",)


class Positional(nn.Module):
    """Layers on the sum of a position's and a class's embedding."""

    def __init__(self, config) -> None:
        super().__init__()
        self.sizes, self.num_classes = config.sizes, config.num_classes
        self.positions = nn.Parameter(torch.randn(sum(config.sizes), config.width))
        self.classes = nn.Embedding(config.num_classes + 1, config.width)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.head = nn.Linear(config.width, config.vocab_size)

    def forward(self, labels_B: Tensor) -> Tensor:
        x_BLW = self.positions + self.classes(labels_B)[:, None]
        for layer in self.layers:
            x_BLW = x_BLW + nn.functional.gelu(layer(x_BLW))
        return self.head(x_BLW)


def build(config, *, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Positional(config)


def groups(module):
    decayed = [layer.weight for layer in (*module.layers, module.head)]
    rest = [p for p in module.parameters() if not any(p is weight for weight in decayed)]
    return [{"params": decayed, "decayed": True}, {"params": rest, "decayed": False}]


def draws(config, train, seed, positions):
    return {"dropped": label_drops(seed, train.label_drop, positions)}


def loss(forward, config, train, batch):
    logits_BLV = forward(batch.labels.masked_fill(batch.draws["dropped"], config.num_classes))
    return cross_entropy(logits_BLV, batch.latents["tokens"], train.label_smoothing)


def validate(module, batch, positions):
    return sums_of_scales(module(batch.labels), batch.latents["tokens"], module.sizes)


def summarise(config, sums):
    return means_of_scales(sums, config.sizes)


def noise(module, sampler, count, generator):
    return {"uniform": torch.rand(count, sum(module.sizes), generator=generator)}


def draw(module, labels_B, tokenizer, sampler, noise):
    logits_BLV = module(labels_B)
    if sampler.guidance:
        without_BLV = module(torch.full_like(labels_B, module.num_classes))
        logits_BLV = logits_BLV + sampler.guidance * (logits_BLV - without_BLV)
    return {"tokens": draw_tokens(logits_BLV, noise["uniform"])}
