"""One trial: a stable trunk, a branch at every budget, a row for each.

    trunk   ───────●────────────●──────────────────●
                    ╲ anneal     ╲ anneal           ╲ anneal
                     row          row                row

Nothing on the trunk knows of a budget, so a budget that is added later replays from the nearest kept checkpoint and
writes the bits it would have written at first, and a budget run with others is bit-equal to one run alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from var_scaling.data.latents import LatentCache
from var_scaling.evaluation.validation import validation_loss
from var_scaling.planning.resolve import branch_point
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import layout, store
from var_scaling.runs.failures import Diverged
from var_scaling.runs.store import Attempt
from var_scaling.training.distributed import ALONE, Ranks
from var_scaling.training.leg import Run, advance
from var_scaling.training.row import make_row
from var_scaling.training.schedule import Branch, Horizon, Schedule, Trunk
from var_scaling.training.state import State, fresh_state
from var_scaling.training.throughput import peak_flops


def missing_budgets(folder: Path, budgets: Sequence[int]) -> list[int]:
    """Budgets (images spent) that have no row yet, in rising order."""
    return [b for b in sorted(set(budgets)) if not layout.row(folder, b).exists()]


def train_budgets(
    config: TrialConfig,
    budgets: Sequence[int],
    cache: LatentCache,
    attempt: Attempt,
    device: torch.device,
    provenance: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> None:
    """Train every budget that has no row yet, and publish its weights and row.

    Raises:
        Stopped, Lost, Diverged: as `loop.train`.
    """
    todo = missing_budgets(attempt.work, budgets)
    if not todo:
        return
    run = Run(
        config,
        cache,
        attempt,
        device,
        ranks,
        ranks.size * peak_flops(device, config.train.precision),
        _Progress(config, todo, attempt),
    )
    state = fresh_state(config, device, ranks)
    left: int | None = None  # images at which this attempt left the trunk last
    for budget in todo:
        start = branch_point(config, budget)
        branch = f"anneal_{budget}"
        if (saved := attempt.load_checkpoint(branch)) is not None:
            state.load(saved)
            ranks.tell_state(state)
            attempt.journal.write(event="resumed", phase=branch, images=state.images)
        else:
            # The trunk waits on disk while `state` is on a branch: a second copy would not fit a large model's card.
            origin, kept = _nearest_trunk(attempt, start, left)
            if origin is not None:
                state.load(origin)
            elif state.images:
                state.restart(config)
            if origin is not None and state.images != left:
                attempt.journal.write(event="resumed", phase="trunk", images=state.images)
            kept = kept and state.images == start
            del origin
            ranks.tell_state(state)
            advance(run, state, start, "trunk", _trunk_schedule(config))
            if start < budget and not kept:
                attempt.save_checkpoint(f"point_{start}", state.dump())
                attempt.journal.write(event="checkpoint", phase="trunk", images=start)
            left = start
        if start < budget:
            advance(run, state, budget, branch, Branch(config.train, start, budget))
        _publish(config, state, budget, cache, attempt, device, provenance)
        attempt.drop_checkpoint(branch)
        _drop(attempt, "last" if config.execution.keep == "none" else config.execution.keep)  # the next starts there
    _drop(attempt, config.execution.keep)


def _drop(attempt: Attempt, keep: str) -> None:
    for path in store.spare_checkpoints(attempt.work, keep):
        path.unlink(missing_ok=True)


def _trunk_schedule(config: TrialConfig) -> Schedule:
    return Trunk(config.train) if config.train.schedule == "wsd" else Horizon(config.train)


def _nearest_trunk(attempt: Attempt, start: int, left: int | None) -> tuple[dict[str, Any] | None, bool]:
    """The furthest trunk state up to `start`, and whether it is a kept branch point and not the rolling checkpoint.

    The rolling one is not looked at where this attempt has `left` the trunk at a branch point, for it lies before it.
    """
    rolling = attempt.load_checkpoint("trunk") if left is None else None
    if rolling is not None and rolling["images"] > start:
        rolling = None
    best = -1 if rolling is None else rolling["images"]
    for images in reversed(store.branch_points(attempt.work) or []):
        if best < images <= start and (state := attempt.load_checkpoint(f"point_{images}")) is not None:
            return state, True
    return rolling, False


def _publish(
    config: TrialConfig,
    state: State,
    budget: int,
    cache: LatentCache,
    attempt: Attempt,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """Validate the annealed weights and put weights and row in place, whole and once."""
    weights = state.annealed()
    if state.average is not None:
        state.model.load_state_dict(weights)  # whoever trains on loads the trunk
    state.model.eval()
    validation = validation_loss(
        config.model, state.model, cache, batch_size=256, device=device, precision=config.train.precision
    )
    state.model.train()
    if not all(math.isfinite(v) for v in validation.values()):
        raise Diverged("validation loss is not finite", step=state.images // config.train.batch_size)
    row = make_row(config, state, validation, {**provenance, "attempts": attempt.number + 1, "finished": time.time()})
    attempt.check_owner()
    prepared = attempt.scratch(layout.unpublished_budget(budget))
    store.write_weights(layout.weights(prepared), weights)
    store.write_json(layout.row_in(prepared), row)
    layout.evaluations(prepared).mkdir()
    attempt.journal.sync()
    store.publish(prepared, layout.budget(attempt.work, budget))
    attempt.journal.write(event="budget", phase=f"anneal_{budget}", images=budget)


class _Progress:
    """Tells the attempt how much of all budgets' steps is done."""

    def __init__(self, config: TrialConfig, todo: Sequence[int], attempt: Attempt) -> None:
        self.config, self.attempt = config, attempt
        self.branches = {b: b - branch_point(config, b) for b in todo}
        self.total = max(branch_point(config, b) for b in todo) + sum(self.branches.values())

    def __call__(self, state: State, phase: str) -> None:
        done = state.images
        if phase == "trunk":
            done += sum(n for b, n in self.branches.items() if branch_point(self.config, b) < state.images)
        else:
            budget = int(phase.rpartition("_")[2])
            done += sum(n for b, n in self.branches.items() if b < budget)
        self.attempt.progress(done, self.total, f"{phase} {state.images:,} images")
