"""Everything that a training run is between two steps, and its way to disk and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from var_scaling.families.base import ModelConfig
from var_scaling.families.registry import model_of
from var_scaling.planning.trial import TrialConfig
from var_scaling.training.distributed import ALONE, Ranks
from var_scaling.training.optimizer import load_optimizer, make_optimizer


@dataclass
class Window:
    """Sums since the last journal line; part of the checkpoint, so that a resumed run writes the same lines."""

    loss: float = 0.0
    images: int = 0


@dataclass
class State:
    """Model, optimizer, averaged weights, images seen."""

    model: nn.Module
    forward: nn.Module  # what a step calls: the model, or the wrapper that adds up the gradients of all ranks
    optimizer: torch.optim.AdamW
    average: dict[str, torch.Tensor] | None  # exponential moving average of the weights, where asked for
    images: int = 0
    seconds: float = 0.0  # inside training steps, over all attempts
    last_loss: float = math.nan  # mean of the last journal window
    window: Window = field(default_factory=Window)

    def dump(self) -> dict[str, Any]:
        """Plain values and tensors, as `load` reads them."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "images": self.images,
            "seconds": self.seconds,
            "last_loss": self.last_loss,
            "window": {"loss": self.window.loss, "images": self.window.images},
        }

    def load(self, dump: dict[str, Any]) -> None:
        """Take over a dumped state, to the bit, in memory of our own and never more of it than one state."""
        self.model.load_state_dict(dump["model"])
        load_optimizer(self.optimizer, dump["optimizer"])
        if dump["average"] is None:
            self.average = None
        else:
            if self.average is None:
                self.average = {n: torch.empty_like(p) for n, p in self.model.named_parameters()}
            for name, value in dump["average"].items():
                self.average[name].copy_(value)
        self.images = dump["images"]
        self.seconds = dump["seconds"]
        self.last_loss = dump["last_loss"]
        self.window = Window(**dump["window"])

    def restart(self, config: TrialConfig) -> None:
        """Back to the state before the first step, a function of the seed alone."""
        self.model.load_state_dict(fresh_model(config).state_dict())
        self.optimizer.state.clear()
        if self.average is not None:
            for name, parameter in self.model.named_parameters():
                self.average[name].copy_(parameter.detach())
        self.images, self.seconds, self.last_loss, self.window = 0, 0.0, math.nan, Window()

    def annealed(self) -> dict[str, torch.Tensor]:
        """The weights that a budget is judged by: the average where one is kept."""
        state = self.model.state_dict()
        return state if self.average is None else {**state, **self.average}


def recompute_blocks(config: ModelConfig, model: nn.Module) -> None:
    """Hold the inputs of a model's blocks alone, in place (weights keep their names): the same numbers, to the bit."""
    for block in model_of(config).blocks(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


def fresh_model(config: TrialConfig) -> nn.Module:
    """The model before the first step, on the CPU."""
    half, base = model_of(config.model), config.train.transfer_from
    model = half.build(config.model, seed=config.seed)
    if base != "off":
        half.rescale(model, base)
    return model


def groups_of(config: TrialConfig, model: nn.Module) -> list[dict[str, Any]]:
    """Its parameter groups."""
    half, base = model_of(config.model), config.train.transfer_from
    groups: list[dict[str, Any]] = half.groups(model) if base == "off" else half.transferred_groups(model, base)
    return groups


def fresh_state(config: TrialConfig, device: torch.device, ranks: Ranks = ALONE) -> State:
    """The state before the first step, a function of the seed alone. The average is rank 0's."""
    ranks.tell_build()
    model = fresh_model(config).to(device)
    if config.execution.recompute == "blocks":
        recompute_blocks(config.model, model)
    if config.execution.compile:
        model.compile()  # in place: a wrapper would rename the weights that are saved
    average = None
    if config.train.ema_half_life_images != "off" and ranks.rank == 0:
        average = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = make_optimizer(groups_of(config, model), config.train)
    return State(model, ranks.parallel(model), optimizer, average)
