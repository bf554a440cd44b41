"""The commands of `var-sweep` that only look: plan, status, watch, logs, explain, diff. They write nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from var_scaling.cli import cluster, show
from var_scaling.cli.money import profile_price
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
from var_scaling.cli.planned import code_text, plan_json, print_plan
from var_scaling.cli.run import count, err, out, print_json, span
from var_scaling.cli.tables import STYLES, live, told
from var_scaling.errors import RequestProblem
from var_scaling.families.registry import families
from var_scaling.launch import status as state
from var_scaling.launch.early_log import early_log, last_line
from var_scaling.launch.pursuit import read_decisions
from var_scaling.launch.slurm.arrays import ask_once, read_arrays
from var_scaling.launch.slurm.profile import card_of, load_profile
from var_scaling.launch.slurm.usage import read_usage
from var_scaling.launch.sweep import leaving
from var_scaling.planning import identity
from var_scaling.planning.tuned import load_recipe
from var_scaling.runs import holders, layout, store
from var_scaling.runs.record import read_record

FOLLOW_SECONDS = 0.5


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
    chosen = load_profile(profile) if profile else None
    found = load_recipe(recipe) if recipe else None
    planned = plan_of(file, set_, runs, device or card_of(chosen), found, whole=True)
    words, pursued = "", {}
    if planned.study.pursue is not None:
        from var_scaling.cli import pursue

        question = pursue.question_in(file, set_, found, planned)
        words, pursued = pursue.plan_pursuit(question, runs, layout.sweep(runs, planned.study.name))
    if json:
        print_json(plan_json(planned) | ({"pursuit": pursued} if pursued else {}))
        return
    print_plan(planned)
    if words:
        out.print(words, soft_wrap=True)
    if str(left := leaving(planned)):
        out.print(f"launched, {left}", soft_wrap=True)
    if chosen:
        out.print(profile_price(planned, chosen), soft_wrap=True)
    if changed := code_text(planned):
        out.print(changed, soft_wrap=True)


def status(
    sweep: SweepName = "last",
    filters: Filters = [],  # noqa: B006
    at: Annotated[
        int | None,
        typer.Option("--at", help="Compare trials at equal progress: training loss at so many images.", min=1),
    ] = None,
    usage: Annotated[
        bool, typer.Option("--usage", help="Time and memory that were asked of SLURM, against what was used.")
    ] = False,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Where a sweep stands. Reads only; changes nothing, ever.

    Examples:
      var-sweep status

      var-sweep status depth state=failed --json

      var-sweep status depth --at 10000

      var-sweep status depth --usage
    """
    now = state.read_status(runs, sweep)
    chosen = state.select(now.trials, filters)
    losses = {t.folder: state.loss_at(runs / t.folder, at) for t in chosen} if at else {}
    used = read_usage([a for a in read_arrays(now.folder) if a.job]) if usage else []
    if json:
        trials = [t.as_dict() | ({"at": losses[t.folder]} if at else {}) for t in chosen]
        found = _status_json(runs, now, trials) | ({"usage": [u.as_dict() for u in used]} if usage else {})
        if decisions := read_decisions(now.folder):
            from var_scaling.cli import pursue

            found["pursuit"] = pursue.document(decisions)
        print_json(found)
        return
    if at:
        out.print(show.compared_table(now.name, chosen, losses, at))
    if usage:
        out.print(show.usage_table(now.name, used))
    if at or usage:
        return
    if filters:
        if not chosen:
            out.print(
                f"none of the {len(now.trials)} trials of {now.name} is meant by {' '.join(filters)}", soft_wrap=True
            )
        for trial in chosen:
            record = trial.record
            out.print(
                Text.assemble(
                    f"{Path(trial.folder).name}  ",
                    (record.state, STYLES[record.state]),
                    f"  {len(record.rows)} of {len(trial.budgets)} budgets  "
                    f"{record.what if record.state != 'finished' else ''}"
                    f"{f'{record.cause}: {record.message}' if record.state == 'failed' else ''}",
                ),
                soft_wrap=True,
            )
        return
    out.print(show.stages_text(now))
    out.print(show.standing(runs, now))
    texts = (show.failures_text(now), show.beside_text(now), cluster.queue_text(runs, now))
    for text in (*texts, show.held_text(runs, now.folder)):
        if text:
            out.print(text, soft_wrap=True)
    if decisions := read_decisions(now.folder):
        from var_scaling.cli import pursue

        out.print(pursue.table_of(decisions, decisions[-1].asked["interval"]))
        out.print(pursue.status_text(now.folder), soft_wrap=True)
    show.print_symptoms(runs, now.name)


def _status_json(runs: Path, now: state.SweepStatus, trials: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": 1,
        "sweep": now.name,
        "launched": now.launched,
        "stages": {name: record.state for name, record in now.stages.items()},
        "symptoms": show.symptoms_of(runs, now.name),
        "trials": trials,
        "no_longer_in_the_study": [t.as_dict() for t in now.left],
    }


def watch(
    sweep: SweepName = "last",
    runs: Runs = Path("runs"),
    every: Annotated[
        float | None, typer.Option(help="Seconds between two looks (default: 2; 30 on a cluster).", min=0.2)
    ] = None,
    json: Json = False,
) -> None:
    """Follow a sweep until nothing runs any more. Leaving it stops no job. With --json, the status at the end.

    Example: var-sweep watch depth
    """
    name = state.find_sweep(runs, sweep).name
    current = [state.read_status(runs, name)]
    every = every or (30.0 if current[0].queue else 2.0)  # a scheduler is asked seldom
    with nullcontext() if json else live(lambda: show.standing(runs, current[0]), out):
        while current[0].busy:
            time.sleep(every)
            current[0] = state.read_status(runs, name)
    if json:
        print_json(_status_json(runs, current[0], [t.as_dict() for t in current[0].trials]))
    else:
        err.print(f"nothing runs now; `var-sweep status {name}` says more")


def logs(
    trial: Annotated[str, typer.Argument(help="A trial's name or id, or a stage's, or the start of one.")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines from the end.", min=1)] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until it ends.")] = False,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """The log of the last attempt of a trial, or of a stage: what it did, and why it ended.

    Examples:
      var-sweep logs var-d4-s0

      var-sweep logs tokenizer/1a2b3c -n 200

      var-sweep logs var-d4-s0 -f
    """
    if follow and json:
        raise RequestProblem("--follow and --json: one document cannot grow; leave one of them out")
    folder = state.find_work(runs, trial)
    work = folder.relative_to(runs).as_posix()
    numbers = store.attempt_numbers(folder)
    early = early_log(runs, work)
    if not numbers and not early:
        raise RequestProblem(f"{folder.name} has not been started yet; `var-sweep status` says what waits and why")
    path = _log_path(folder, numbers[-1]) if numbers else early
    assert path is not None
    if numbers and early and early.stat().st_mtime > path.stat().st_mtime:
        err.print(f"{early} (a later worker that made no attempt): {last_line(early)}", soft_wrap=True)
    content = path.read_bytes() if path.exists() else b""
    text = content.decode(errors="replace").splitlines()[-lines:]
    end = store.read_json(layout.end(path.parent))
    if json:
        attempt = numbers[-1] if numbers else None
        print_json({"schema": 1, "trial": folder.name, "attempt": attempt, "path": path, "lines": text, "end": end})
        return
    if not numbers:
        err.print(f"{path} (its worker made no attempt)")
    else:
        err.print(f"{path} (attempt {numbers[-1] + 1} of {len(numbers)})")
    for line in text:
        print(line, flush=True)
    if follow and numbers:
        end = _follow(runs, folder, numbers[-1], len(content))
    if end:
        print(f"-- ended: {end['cause']}" + (f": {end['message']}" if end.get("message") else ""))


def _log_path(folder: Path, number: int) -> Path:
    return layout.log(layout.attempt(folder, number))


def _follow(runs: Path, folder: Path, number: int, at: int) -> dict[str, Any] | None:
    """Print what a trial's log has after so many bytes, on through later attempts; returns how the last one ended."""
    path = _log_path(folder, number)
    work = folder.relative_to(runs).as_posix()
    quiet = 0
    while True:
        # Asked before the log is read: what was written before the end is then in it.
        live = read_record(runs, work, ask_scheduler=ask_once(runs)).state in ("running", "unknown")
        quiet = 0 if live else quiet + 1
        if path.exists() and path.stat().st_size > at:
            with open(path, "rb") as file:
                file.seek(at)
                added = file.read()
            print(added.decode(errors="replace"), end="", flush=True)
            at += len(added)
            continue
        if later := [n for n in store.attempt_numbers(folder) if n > number]:
            number, path, at = later[0], _log_path(folder, later[0]), 0
            err.print(f"{path}")
        elif quiet > 1:  # not at the first look: the next attempt may be about to start
            return store.read_json(layout.end(path.parent))
        else:
            time.sleep(FOLLOW_SECONDS)


def explain(
    trial: Annotated[str, typer.Argument(help="A trial's name or id, or the start of one.")],
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """What a trial achieved, what happened to it, and what it is (every hashed field).

    Example: var-sweep explain var-d4-s0
    """
    folder = state.find_trial(runs, trial)
    whole = store.read_json(layout.identity(folder))
    attempts = []
    for number in store.attempt_numbers(folder):
        attempt = layout.attempt(folder, number)
        holder = store.read_holder(folder, number)
        end = store.read_json(layout.end(attempt)) or {"cause": holders.life(holder) if holder else "unknown"}
        attempts.append({"attempt": number, "holder": str(holder), **end})
    rows = {str(images): store.read_json(path) for images, path in layout.rows(folder).items()}
    if json:
        print_json({"schema": 1, "trial": folder.name, "identity": whole, "attempts": attempts, "rows": rows})
        return
    out.print(Text.assemble((folder.name, "bold"), f"  ({folder})"), soft_wrap=True)
    for images, row in sorted(rows.items(), key=lambda item: int(item[0])):
        fids = "".join(f", {words}" for words in show.fids_text(layout.budget(folder, int(images))))
        effort = f"{count(row['train_flops'])} FLOPs, {span(row['seconds'])}"
        out.print(f"budget {int(images):,} images: {_losses(row)}{fids}; {effort}", soft_wrap=True)
    if not rows:
        out.print("no budget is trained yet")
    for attempt in attempts:
        out.print(
            f"attempt {attempt['attempt']}: {attempt['cause']} ({attempt['holder']}) {attempt.get('message') or ''}",
            soft_wrap=True,
        )
    out.print("what it is, every field of its id:")
    for path, value in identity.flatten(whole):
        out.print(f"  {path} = {told(value)}", soft_wrap=True)


def _losses(row: Mapping[str, Any]) -> str:
    """The losses of a row in the words of its family."""
    family = families().get(str(row.get("family")))
    shown = [c for c in family.losses if c.heading and c.name in row] if family else []
    return ", ".join(f"{column.heading} {row[column.name]:.4f}" for column in shown) or "no loss"


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
    fields = identity.difference(store.read_json(layout.identity(left)), store.read_json(layout.identity(right)))
    if json:
        print_json({"schema": 1, "a": left.name, "b": right.name, "differs": [list(f) for f in fields]})
        return
    for path, old, new in fields:
        out.print(f"{path}: {told(old)} -> {told(new)}")
    if not fields:
        out.print("the same trial")
