"""`train.transfer_from`: a step moves the function as far at every size, and nothing changes at the base's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from var_scaling.errors import RequestProblem
from var_scaling.families.base import Batch
from var_scaling.families.registry import model_of
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.training.state import fresh_model, fresh_state, groups_of
from var_scaling.training.step import train_step

BASE, DEPTHS = 2, (2, 4, 8)
RATES = (1e-2, 0.0)


def trial(depth: int, base: int | str) -> TrialConfig:
    raw = {"model": {"depth": depth, "head_dim": 8}, "train": {"batch_size": 16, "transfer_from": base}}
    config = resolve(read_trial(raw))
    sides = {"patch_nums": (1, 2, 3), "vocab_size": 32, "latent_dim": 8, "drop_path": 0.0, "gamma_init": 1.0}
    return config.model_copy(update={"model": config.model.model_copy(update=sides)})


def batch_of(config: TrialConfig) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(32, (16, 14), generator=generator)
    features = torch.randn(16, 13, 8, generator=generator)
    draws = model_of(config.model).draws(config.model, config.train, 0, np.arange(16))
    return Batch(torch.arange(16) % 10, {"tokens": tokens, "features": features}, draws)


def moved(depth: int, base: int | str, steps: int = 3) -> dict[str, float]:
    """How far a few steps move the stream behind the blocks, and the logits: root mean squares."""
    config = trial(depth, base)
    state, batch = fresh_state(config, torch.device("cpu")), batch_of(config)
    before = looked_at(state.model, batch)
    for _ in range(steps):
        train_step(state, batch, config, RATES)
    after = looked_at(state.model, batch)
    return {name: float((after[name] - before[name]).square().mean().sqrt()) for name in before}


@torch.no_grad()
def looked_at(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    stream: list[Tensor] = []
    hook = model.blocks[-1].register_forward_hook(lambda *given: stream.append(given[-1]))
    logits = model(batch.labels, batch.latents["features"])
    hook.remove()
    return {"stream": stream[0], "logits": logits}


def slopes(base: int | str) -> dict[str, float]:
    """Exponents with which movement grows with size."""
    found = [moved(depth, base) for depth in DEPTHS]
    sizes = np.log(DEPTHS)
    return {name: float(np.polyfit(sizes, np.log([each[name] for each in found]), 1)[0]) for name in found[0]}


def test_a_step_moves_the_function_as_far_at_every_size() -> None:
    """The coordinate check."""
    ours, plain = slopes(BASE), slopes("off")
    assert all(abs(slope) < 0.25 for slope in ours.values()), (ours, plain)
    assert max(plain.values()) > 0.6, f"the premise: without it movement grows with size ({plain})"


def test_the_base_is_the_papers_model_to_the_bit() -> None:
    plain, ours = (fresh_model(trial(BASE, base)) for base in ("off", BASE))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters(), strict=True))
    assert {group["rate"] for group in groups_of(trial(BASE, BASE), ours)} == {1.0}


def test_every_parameter_is_in_one_group_and_decays_as_at_the_base() -> None:
    config = trial(8, BASE)
    state = fresh_state(config, torch.device("cpu"))
    train_step(state, batch_of(config), config, (1e-3, 0.05))
    grouped = [p for group in state.optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(state.model.parameters()))
    decayed = [group for group in state.optimizer.param_groups if group["decayed"]]
    assert {round(group["lr"] * group["weight_decay"], 12) for group in decayed} == {5e-5}
    assert {group["rate"] for group in decayed} == {1.0, 1 / 4, 1 / 16}, "embeddings, hidden and head, ends of branches"


def test_the_rate_is_the_bases_and_the_field_renames_nothing_that_has_it_not() -> None:
    rates = [trial(depth, BASE).train.learning_rate for depth in DEPTHS]
    assert rates == [trial(BASE, "off").train.learning_rate] * 3
    with pytest.raises(RequestProblem, match=r"transfer_from = 2: family dit has no rule.*var"):
        resolve(
            read_trial({"model": {"family": "dit"}, "tokenizer": {"preset": "tiny-kl"}, "train": {"transfer_from": 2}})
        )
