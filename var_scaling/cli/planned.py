"""How a plan looks: a line a trial, what new ones are nearest to, the whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from var_scaling.cli.run import count, out, span
from var_scaling.cli.tables import STYLES, cell, new_table, short_name
from var_scaling.families.registry import family_of
from var_scaling.launch.sweep import free_bytes
from var_scaling.planning import flops
from var_scaling.planning.plan import Plan, PlannedTrial
from var_scaling.runs import layout, store
from var_scaling.runs.frozen import changed_files, code_hash


def plan_table(plan: Plan, limit: int = 60) -> Table:
    """One line a trial: what it will do and why, what it costs; what varies with depth besides depth is shown."""
    axes = list(plan.point(plan.trials[0]))
    knobs = list(dict.fromkeys(name for t in plan.trials for name in family_of(t.config.model).knobs))
    short = (name.partition("_")[0] for name in knobs)
    columns = ("trial", "will", *axes, "params", "lr", *short, "images", "FLOPs", "time", "memory")
    table = new_table(f"sweep {plan.study.name}", *columns, left=("trial", "will"))
    for trial in plan.trials[:limit]:
        config = trial.config
        table.add_row(
            short_name(trial.work.folder) + ("?" if trial.provisional else ""),
            Text(trial.reason, STYLES[trial.record.state]),
            *map(cell, plan.point(trial).values()),
            count(sum(flops.params(config.model).values())),
            f"{config.train.learning_rate:.2g}",
            *(f"{knob:.0e}" if (knob := getattr(config.model, name, None)) else "-" for name in knobs),
            count(trial.new_images) if trial.new_images else "-",
            count(trial.new_flops) if trial.new_images else "-",
            span(trial.seconds) if trial.seconds >= 1 else "-",
            f"{count(trial.cost.memory_bytes)}B",
        )
    if len(plan.trials) > limit:
        table.add_row(f"... {len(plan.trials) - limit} more (--json lists all)")
    return table


def print_plan(plan: Plan) -> None:
    """The whole, its trials, and what new ones are nearest to."""
    out.print(plan_totals(plan), soft_wrap=True)
    out.print(plan_table(plan))
    if nearest := plan_nearest(plan):
        out.print(nearest, soft_wrap=True)


def plan_nearest(plan: Plan, limit: int = 8) -> str:
    """For new trials, the existing trial that is nearest and the fields that differ."""
    close = [t for t in plan.trials if t.nearest and len(t.nearest[1]) <= 6]  # with more it is simply another study
    lines = [f"{short_name(t.work.folder)} is new; nearest: {_nearest(t)}" for t in close]
    more = [f"... {len(lines) - limit} more (--json lists all)"] if len(lines) > limit else []
    return "\n".join(lines[:limit] + more)


def _nearest(trial: PlannedTrial) -> str:
    assert trial.nearest is not None
    name, fields = trial.nearest
    shown = ", ".join(f"{path}: {old} -> {new}" for path, old, new in fields[:3])
    return f"{name} ({shown}{', ...' if len(fields) > 3 else ''})"


def plan_totals(plan: Plan) -> str:
    """The whole study in a few lines."""
    counts = ", ".join(f"{n} {word}" for word, n in plan.counts.items())
    work = [t for t in plan.trials if t.new_images or t.evaluations.seconds]
    parts = {
        "stages": sum(cost.seconds for cost in plan.stage_costs.values()),
        "training": sum(t.cost.seconds for t in work),
        "evaluation": sum(t.evaluations.seconds for t in work),
    }
    said = ", ".join(f"{name} {span(seconds)}" for name, seconds in parts.items() if seconds)
    sources = ", ".join(sorted({t.cost.source for t in work}))
    disk = sum(t.disk_bytes for t in work) + sum(cost.disk_bytes for cost in plan.stage_costs.values())
    unsure = (
        " (? = id provisional until a launch has read the image folder or weights)"
        if any(t.provisional for t in plan.trials)
        else ""
    )
    stages = ", ".join(f"{s.kind} {s.id} ({'ready' if r.state == 'finished' else r.state})" for s, r in plan.stages)
    lines = [f"{len(plan.trials)} trials: {counts}{unsure}", f"stages: {stages}", *plan.notes]
    if work:
        longest = max(work, key=lambda t: t.seconds)
        recipes = sorted({(t.config.train.recipe or "", _source(t)) for t in work})
        operations, whole = count(sum(t.new_flops for t in work)), span(sum(parts.values()))
        lines += [
            f"new work: {operations} FLOPs, about {whole} on one worker: {said} ({sources}); "
            f"longest trial {span(longest.seconds)} ({Path(longest.work.folder).name}); "
            f"disk {count(disk)}B of {count(free_bytes(plan.runs))}B free",
            *(f"recipe {name}: {source}" for name, source in recipes[:4]),
        ]
    return "\n".join(lines)


def _source(trial: PlannedTrial) -> str:
    model, train = trial.config.model, trial.config.train
    assert train.recipe is not None
    horizon = None if train.horizon_images in (None, "off") else int(train.horizon_images)
    return family_of(model).recipe(train.recipe, model, train, horizon).source


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as one JSON document."""
    return {
        "schema": 1,
        "sweep": plan.study.name,
        "counts": plan.counts,
        "notes": list(plan.notes),
        "stages": [
            {"kind": s.kind, "id": s.id, "folder": s.folder, "state": r.state}
            | (
                {"seconds": cost.seconds, "disk_bytes": cost.disk_bytes}
                if (cost := plan.stage_costs.get(s.folder))
                else {}
            )
            for s, r in plan.stages
        ],
        "trials": [
            {
                "trial": t.work.id,
                "folder": t.work.folder,
                "depth": t.config.model.depth,
                "seed": t.config.seed,
                "reason": t.reason,
                "state": t.record.state,
                "budgets": [{"asked": a, "images": s} for a, s in t.budgets],
                "params_total": sum(flops.params(t.config.model).values()),
                "learning_rate": t.config.train.learning_rate,
                "new_images": t.new_images,
                "train_flops": t.new_flops,
                "seconds": t.seconds,
                "training_seconds": t.cost.seconds,
                "seconds_source": t.cost.source,
                "memory_bytes": t.cost.memory_bytes,
                "micro_batch": t.cost.micro_batch,
                "disk_bytes": t.disk_bytes,
                "id_provisional": t.provisional,
                "nearest": t.nearest and {"trial": t.nearest[0], "differs": [list(f) for f in t.nearest[1]]},
            }
            for t in plan.trials
        ],
    }


def code_text(planned: Plan) -> str:
    """Files of ours that have changed since finished trials were trained; empty where none has."""
    codes: Counter[str] = Counter()
    for trial in planned.trials:
        for images in trial.record.rows[:1]:
            row = store.read_json(layout.row(planned.runs / trial.work.folder, images))
            if row and "code" in row:
                codes[row["code"]] += 1
    now = code_hash()
    lines = []
    for code, n in codes.items():
        if code != now:
            changed = changed_files(planned.runs, code)
            what = "its copy is not stored here" if changed is None else f"changed since: {', '.join(changed[:8])}"
            if changed and len(changed) > 8:
                what += f" and {len(changed) - 8} more"
            lines.append(f"{n} trials have rows of code {code}, now {now} ({what}); equal `numerics` let them stand")
    return "\n".join(lines)
