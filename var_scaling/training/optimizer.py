"""AdamW over the parameter groups of a family."""

from __future__ import annotations

from typing import Any

import torch

from var_scaling.config.train import TrainConfig


def make_optimizer(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.AdamW:
    """The optimizer at step 0; the loop sets rate and decay before each step.

    Args:
        groups: of the family, the decayed one first; see `FamilyModel.groups`.
        config: the recipe.
    """
    return torch.optim.AdamW(
        [{**group, "weight_decay": 0.0} for group in groups], lr=0.0, betas=config.betas, eps=1e-8, fused=True
    )


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
        of_rate = group.get("rate", 1.0)  # of the group; what decays in a step is rate times decay, and has no factor
        group["lr"] = learning_rate * of_rate
        if group["decayed"]:
            group["weight_decay"] = weight_decay / of_rate
