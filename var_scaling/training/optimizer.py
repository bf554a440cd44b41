"""AdamW with the reference's two groups of parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from var_scaling.config.train import TrainConfig

# No decay for these, nor for biases and one-dimensional parameters; the class embedding does decay (var.md 2.6).
UNDECAYED = ("pos_1LC", "pos_start", "lvl_embed", "ada_gss", "scale_mul")


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on a parameter."""
    return parameter.ndim > 1 and not name.endswith("bias") and not any(word in name for word in UNDECAYED)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """The optimizer at step 0; the loop sets rate and decay before each step. The decayed group comes first."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if decays(n, p)], "decayed": True},
        {"params": [p for n, p in named if not decays(n, p)], "decayed": False, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=1e-8, fused=True)


def load_optimizer(optimizer: torch.optim.Optimizer, dump: dict[str, Any]) -> None:
    """Take over a dumped optimizer, in place of its moments and not beside them.

    torch's own loading keeps tensors that are on the device already, which would be pages of the checkpoint's file.
    """
    optimizer.zero_grad(set_to_none=True)
    optimizer.state.clear()
    optimizer.load_state_dict(dump)
    for moments in optimizer.state.values():
        moments.update({name: value.clone() for name, value in moments.items() if value.device.type == "cpu"})


def set_rates(optimizer: torch.optim.Optimizer, learning_rate: float, weight_decay: float) -> None:
    """Set what the schedule says for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        if group["decayed"]:
            group["weight_decay"] = weight_decay
