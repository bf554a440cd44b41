"""The commands of `var-sweep` that only look: plan, status, watch, logs, explain, diff. They write nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from var_scaling import store
from var_scaling.cli import cluster, show
from var_scaling.cli.options import (
    Filters,
    Json,
    Overrides,
    ProfileFile,
    RecipeFile,
    Runs,
    SweepFile,
    SweepName,
    plan_of,
)
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.errors import RequestProblem
from var_scaling.launch import status as state
from var_scaling.planning import identity
from var_scaling.planning.tuned import load_recipe


def register(app: typer.Typer) -> None:
    """Add the commands to `var-sweep`."""
    for command in (plan, status, watch, logs, explain, diff):
        app.command()(command)


def plan(
    file: SweepFile,
    set_: Overrides = [],  # noqa: B006
    device: Annotated[str | None, typer.Option(help="Price it on this device: A100, H100 or H200.")] = None,
    profile: ProfileFile = None,
    recipe: RecipeFile = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Say what a launch would do and cost, for each trial and why. Writes nothing.

    Examples:
      var-sweep plan sweeps/depth.yaml

      var-sweep plan sweeps/paper/imagenet256.yaml --device A100

      var-sweep plan sweeps/depth.yaml --set train.learning_rate=0.01
    """
    chosen = cluster.load_profile(profile) if profile else None
    planned = plan_of(
        file,
        set_,
        runs,
        device or (chosen.gpu.name if chosen and chosen.gpu else None),
        load_recipe(recipe) if recipe else None,
    )
    if json:
        print_json(show.plan_json(planned))
        return
    out.print(show.plan_table(planned))
    if nearest := show.plan_nearest(planned):
        out.print(nearest, highlight=False, markup=False, soft_wrap=True)
    out.print(show.plan_totals(planned), highlight=False, soft_wrap=True)
    if chosen:
        out.print(cluster.profile_price(planned, chosen), highlight=False, soft_wrap=True)
    if changed := cluster.code_text(planned):
        out.print(changed, highlight=False, markup=False, soft_wrap=True)


def status(sweep: SweepName = "last", filters: Filters = [], runs: Runs = Path("runs"), json: Json = False) -> None:  # noqa: B006
    """Where a sweep stands. Reads only; changes nothing, ever.

    Examples:
      var-sweep status

      var-sweep status depth state=failed --json
    """
    now = state.read_status(runs, sweep)
    chosen = state.select(now.trials, filters)
    if json:
        print_json(
            {
                "schema": 1,
                "sweep": now.name,
                "launched": now.launched,
                "stages": {name: record.state for name, record in now.stages.items()},
                "trials": [t.as_dict() for t in chosen],
            }
        )
        return
    if filters:
        for trial in chosen:
            record = trial.record
            out.print(
                f"{Path(trial.folder).name}  [{show.STYLES[record.state]}]{record.state}[/]  "
                f"{len(record.rows)} of {len(trial.budgets)} budgets  "
                f"{record.what if record.state != 'finished' else ''}"
                f"{f'{record.cause}: {record.message}' if record.state == 'failed' else ''}",
                highlight=False,
            )
        return
    stages = ", ".join(f"{n.split('/')[1]} [{show.STYLES[r.state]}]{r.state}[/]" for n, r in now.stages.items())
    out.print(f"stages: {stages}", highlight=False)
    out.print(show.status_table(now))
    for text in (show.failures_text(now), cluster.queue_text(now), cluster.held_text(runs, now.folder)):
        if text:
            out.print(text, markup=False, highlight=False, soft_wrap=True)


def watch(
    sweep: SweepName = "last",
    runs: Runs = Path("runs"),
    every: Annotated[
        float | None, typer.Option(help="Seconds between two looks (default: 2; 30 on a cluster).", min=0.2)
    ] = None,
) -> None:
    """Follow a sweep until nothing runs any more. Leaving it stops no job.

    Example: var-sweep watch depth
    """
    name = state.find_sweep(runs, sweep).name
    current = [state.read_status(runs, name)]
    every = every or (30.0 if current[0].queue else 2.0)  # a scheduler is asked seldom
    with show.live(lambda: show.status_table(current[0]), out):
        while current[0].busy:
            time.sleep(every)
            current[0] = state.read_status(runs, name)
    err.print(f"nothing runs now; `var-sweep status {name}` says more")


def logs(
    trial: Annotated[str, typer.Argument(help="A trial's name or id, or the start of one.")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines from the end.", min=1)] = 40,
    runs: Runs = Path("runs"),
) -> None:
    """The log of a trial's last attempt.

    Examples:
      var-sweep logs var-d4-s0

      var-sweep logs 1a2b3c -n 200
    """
    folder = state.find_trial(runs, trial)
    numbers = store.attempt_numbers(folder)
    if not numbers:
        if (queued := cluster.queued_log(runs, folder)) is None:
            raise RequestProblem(f"{folder.name} has not been started yet")
        err.print(f"{queued[1]} (SLURM's own log of {queued[0]}; it made no attempt)", highlight=False)
        print("\n".join(queued[1].read_text(errors="replace").splitlines()[-lines:]))
        return
    path = folder / "attempts" / f"{numbers[-1]:03d}" / "log.txt"
    err.print(f"{path} (attempt {numbers[-1] + 1} of {len(numbers)})", highlight=False)
    text = path.read_text(errors="replace").splitlines() if path.exists() else []
    for line in text[-lines:]:
        print(line)
    end = store.read_json(path.parent / "end.json")
    if end:
        print(f"-- ended: {end['cause']}" + (f": {end['message']}" if end.get("message") else ""))


def explain(
    trial: Annotated[str, typer.Argument(help="A trial's name or id, or the start of one.")],
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """What a trial is (every hashed field), what happened to it, and what it achieved.

    Example: var-sweep explain var-d4-s0
    """
    folder = state.find_trial(runs, trial)
    whole = store.read_json(folder / "identity.json")
    attempts = []
    for number in store.attempt_numbers(folder):
        attempt = folder / "attempts" / f"{number:03d}"
        holder = store.read_holder(folder, number)
        end = store.read_json(attempt / "end.json") or {"cause": store.life(holder) if holder else "unknown"}
        attempts.append({"attempt": number, "holder": str(holder), **end})
    rows = {p.parent.name: store.read_json(p) for p in sorted(folder.glob("budgets/*/row.json"))}
    if json:
        print_json({"schema": 1, "trial": folder.name, "identity": whole, "attempts": attempts, "rows": rows})
        return
    out.print(f"[bold]{folder.name}[/bold]  ({folder})", highlight=False)
    for path, value in identity.flatten(whole):
        out.print(f"  {path} = {value}", highlight=False, markup=False)
    for attempt in attempts:
        out.print(
            f"attempt {attempt['attempt']}: {attempt['cause']} ({attempt['holder']}) {attempt.get('message', '')}",
            highlight=False,
            markup=False,
        )
    for images, row in rows.items():
        out.print(
            f"budget {int(images):,}: loss {row['loss_all_scales']:.4f}, {count(row['train_flops'])} FLOPs, "
            f"{row['seconds']:.0f} s",
            highlight=False,
        )


def diff(
    a: Annotated[str, typer.Argument(help="A trial.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """The identity fields in which two trials differ.

    Example: var-sweep diff var-d2-s0 var-d3-s0
    """
    left, right = state.find_trial(runs, a), state.find_trial(runs, b)
    fields = identity.difference(store.read_json(left / "identity.json"), store.read_json(right / "identity.json"))
    if json:
        print_json({"schema": 1, "a": left.name, "b": right.name, "differs": [list(f) for f in fields]})
        return
    for path, old, new in fields:
        out.print(f"{path}: {old} -> {new}", highlight=False, markup=False)
    if not fields:
        out.print("the same trial")
