"""One trial: a stable trunk, a branch at every budget, a row for each.

    trunk   ───────●────────────●──────────────────●
                    ╲ anneal     ╲ anneal           ╲ anneal
                     row          row                row

Nothing on the trunk knows of a budget, so a budget that is added later replays from the nearest kept checkpoint and
writes the bits it would have written at first, and a budget run with others is bit-equal to one run alone.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from var_scaling.data.tokens import TokenCache
from var_scaling.evaluation.validation import validation_loss
from var_scaling.planning.resolve import branch_point
from var_scaling.planning.trial import TrialConfig
from var_scaling.runs import store
from var_scaling.runs.store import Attempt
from var_scaling.tokenizers.vq.model import Tokenizer
from var_scaling.training.distributed import ALONE, Ranks
from var_scaling.training.failures import Diverged
from var_scaling.training.loop import Run, advance
from var_scaling.training.row import make_row
from var_scaling.training.schedule import Branch, Horizon, Schedule, Trunk
from var_scaling.training.state import State, fresh_state
from var_scaling.training.throughput import peak_flops


def missing_budgets(folder: Path, budgets: Sequence[int]) -> list[int]:
    """Budgets (images spent) that have no row yet, in rising order."""
    return [b for b in sorted(set(budgets)) if not (folder / "budgets" / str(b) / "row.json").exists()]


def train_budgets(
    config: TrialConfig,
    budgets: Sequence[int],
    cache: TokenCache,
    tokenizer: Tokenizer,
    attempt: Attempt,
    device: torch.device,
    provenance: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> None:
    """Train every budget that has no row yet, and publish its weights and row.

    Raises:
        Stopped, Lost, Diverged: as `loop.advance`.
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
    fresh = state.snapshot()
    trunk: dict[str, Any] | None = None  # the trunk where it stands, while `state` is on a branch
    for budget in todo:
        start = branch_point(config, budget)
        branch = f"anneal_{budget}"
        if (saved := attempt.load_checkpoint(branch)) is not None:
            state.load(saved)
            ranks.tell_state(state)
            attempt.journal.write(event="resumed", phase=branch, images=state.images)
        else:
            origin = _nearest_trunk(attempt, start, trunk)
            state.load(origin or fresh)
            ranks.tell_state(state)
            if origin is not None and origin is not trunk:
                attempt.journal.write(event="resumed", phase="trunk", images=state.images)
            advance(run, state, start, "trunk", _trunk_schedule(config), "trunk")
            trunk = state.snapshot()
            if start < budget and not _point_kept(attempt, start):
                attempt.save_checkpoint(f"point_{start}", trunk)
                attempt.journal.write(event="checkpoint", phase="trunk", images=start)
        if start < budget:
            advance(run, state, budget, branch, Branch(config.train, start, budget), branch)
        _publish(config, state, budget, cache, tokenizer, attempt, device, provenance)
        attempt.drop_checkpoint(branch)


def _trunk_schedule(config: TrialConfig) -> Schedule:
    return Trunk(config.train) if config.train.schedule == "wsd" else Horizon(config.train)


def _point_kept(attempt: Attempt, images: int) -> bool:
    return any(True for _ in store.checkpoint_files(attempt.work, f"point_{images}"))


def _nearest_trunk(attempt: Attempt, start: int, standing: dict[str, Any] | None) -> dict[str, Any] | None:
    """The furthest trunk state up to `start`: the one in memory, the rolling checkpoint or a kept branch point."""
    found = [standing] if standing is not None and standing["images"] <= start else []
    if found and found[0] is not None and found[0]["images"] == start:
        return found[0]
    rolling = attempt.load_checkpoint("trunk")
    if rolling is not None and rolling["images"] <= start:
        found.append(rolling)
    names = {p.stem.removesuffix(".previous") for p in attempt.work.glob("attempts/*/checkpoints/point_*.pt")}
    points = sorted((int(m[1]) for n in names if (m := re.fullmatch(r"point_(\d+)", n))), reverse=True)
    best = max((s["images"] for s in found if s), default=-1)
    for images in points:
        if best < images <= start and (state := attempt.load_checkpoint(f"point_{images}")) is not None:
            return state
    return max((s for s in found if s), key=lambda s: s["images"], default=None)


def _publish(
    config: TrialConfig,
    state: State,
    budget: int,
    cache: TokenCache,
    tokenizer: Tokenizer,
    attempt: Attempt,
    device: torch.device,
    provenance: Mapping[str, Any],
) -> None:
    """Validate the annealed weights and put weights and row in place, whole and once."""
    weights = state.annealed()
    live = {k: v.clone() for k, v in state.model.state_dict().items()} if state.average is not None else None
    state.model.load_state_dict(weights)
    state.model.eval()
    validation = validation_loss(
        state.model, cache, tokenizer, batch_size=256, device=device, precision=config.train.precision
    )
    state.model.train()
    if not all(math.isfinite(v) for v in validation.values()):
        raise Diverged("validation loss is not finite", step=state.images // config.train.batch_size)
    row = make_row(config, state, validation, {**provenance, "attempts": attempt.number + 1, "finished": time.time()})
    attempt.check_owner()
    prepared = attempt.scratch(f"budget_{budget}")
    store.write_weights(prepared / "weights.safetensors", weights)
    store.write_json(prepared / "row.json", row)
    (prepared / "evaluations").mkdir()
    attempt.journal.sync()
    store.publish(prepared, attempt.work / "budgets" / str(budget))
    attempt.journal.write(event="budget", phase=f"anneal_{budget}", images=budget)
    if live is not None:
        state.model.load_state_dict(live)


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
