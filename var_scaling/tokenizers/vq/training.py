"""The torch half of the VQ kind: a fresh tokenizer, and the quantiser's part in its training.

That is its own loss, its codes' way of learning, and how much they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from var_scaling.tokenizers.bottleneck import Squeezed
from var_scaling.tokenizers.vq.codebook import Codebook, Hits
from var_scaling.tokenizers.vq.config import VQConfig
from var_scaling.tokenizers.vq.model import Tokenizer, build_tokenizer

build = build_tokenizer


def make(config: VQConfig, device: torch.device) -> tuple[Tokenizer, VQBottleneck]:
    """A fresh tokenizer on a device, in training mode, and its bottleneck."""
    model = build_tokenizer(config).to(device).train()
    return model, VQBottleneck(model, config)


class VQBottleneck:
    """A `Bottleneck`."""

    def __init__(self, model: Tokenizer, config: VQConfig) -> None:
        self.model, self.train = model, config.train
        self.codebook = Codebook(model.quantize, config.train.codebook, config.train.seed)
        self.open_window()

    def start(self, features: Callable[[], Tensor]) -> None:
        if self.train.codebook.data_init:
            self.codebook.start_at_data(features())

    def __call__(self, features_BZhw: Tensor, images: int) -> Squeezed:
        quantised = self.model.quantize(features_BZhw)
        return Squeezed(quantised.picture_BZHW, {"quantiser": self.train.quantiser * quantised.loss}, quantised)

    def after(self, squeezed: Squeezed, images: int, batch: int) -> None:
        self.codebook.update(squeezed.seen, images, batch)
        self.hits.add(squeezed.seen.tokens)

    def measured(self) -> dict[str, float]:
        measured = {"codebook/usage": self.hits.usage()}
        usage, perplexity = self.hits.usage_per_scale(), self.hits.perplexity_per_scale()
        for k, side in enumerate(self.model.patch_nums):
            measured[f"codebook/usage_scale_{side}"] = usage[k]
            measured[f"codebook/perplexity_scale_{side}"] = perplexity[k]
        return measured

    def open_window(self) -> None:
        self.hits = _hits(self.model)

    def finish(self, batches: Iterable[Tensor]) -> None:
        """Nothing is left to do."""

    def judge(self) -> VQJudge:
        return VQJudge(self.model)

    def state_dict(self) -> dict[str, Any]:
        return {"codebook": self.codebook.state_dict(), "hits": self.hits.hits_KV}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.codebook.load_state_dict(state["codebook"])
        self.hits.hits_KV = state["hits"].to(self.hits.hits_KV.device)


class VQJudge:
    """A `Judge`: usage and perplexity of the codes."""

    def __init__(self, model: Tokenizer) -> None:
        self.model, self.hits = model, _hits(model)

    def __call__(self, truth_B3HW: Tensor) -> Tensor:
        tokens = self.model.encode(truth_B3HW)
        self.hits.add(tokens)
        return self.model.decode(tokens)

    def report(self) -> dict[str, Any]:
        sides = [str(side) for side in self.model.patch_nums]
        return {
            "usage": self.hits.usage(),
            "usage_per_scale": dict(zip(sides, self.hits.usage_per_scale(), strict=True)),
            "perplexity_per_scale": dict(zip(sides, self.hits.perplexity_per_scale(), strict=True)),
        }


def _hits(model: Tokenizer) -> Hits:
    return Hits(len(model.patch_nums), model.vocab_size, model.quantize.embedding.weight.device)
