"""The commands of `var-sweep` that act: launch, cancel, retry, clean, sync."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from var_scaling import extras
from var_scaling.cli import cluster
from var_scaling.cli.drive import drive
from var_scaling.cli.options import (
    Address,
    Filters,
    Json,
    LauncherName,
    MostHours,
    Overrides,
    ProfileFile,
    RecipeFile,
    Runs,
    SweepFile,
    SweepName,
    Yes,
    plan_of,
    tell,
)
from var_scaling.cli.run import Failed, count, err, out, print_json
from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch import status as state
from var_scaling.launch.gate import check_name
from var_scaling.launch.order import Order, smallest_and_largest, to_retry
from var_scaling.launch.places import place_of
from var_scaling.launch.protocol import Place
from var_scaling.launch.slurm.profile import card_of
from var_scaling.launch.sweep import ask_to_withdraw, free_bytes, last_launch, leaving
from var_scaling.planning.tuned import load_recipe, recipe_of_launch
from var_scaling.runs import holders, layout, store
from var_scaling.runs.record import nothing_missing
from var_scaling.tracking.address import read_ui_address, shown, tracking_uri
from var_scaling.tracking.filesystem import check_store


def register(app: typer.Typer) -> None:
    """Add the commands to `var-sweep`."""
    for command in (launch, cancel, retry, clean, sync):
        app.command()(command)


def launch(
    file: SweepFile,
    set_: Overrides = [],  # noqa: B006
    runs: Runs = Path("runs"),
    cores: Annotated[int | None, typer.Option(help="Cores for local workers (default: all).", min=1)] = None,
    pilot: Annotated[
        bool, typer.Option(help="Smallest and largest trial first; the rest once both have passed a checkpoint.")
    ] = False,
    mlflow: Annotated[bool, typer.Option(help="Mirror curves and rows to MLflow.")] = True,
    recipe: RecipeFile = None,
    launcher: LauncherName = "local",
    profile: ProfileFile = None,
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the sbatch scripts; submit and write nothing.")
    ] = False,
    max_gpu_hours: MostHours = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Run what is missing of a study: skip finished trials, resume interrupted ones, train the rest.

    On this machine it stays until all is done; Ctrl-C saves and stops, and the same command goes on from there. With
    `--launcher slurm` it submits job arrays and ends.

    Examples:
      var-sweep launch sweeps/depth.yaml

      var-sweep launch sweeps/depth.yaml --pilot

      var-sweep launch sweeps/study.yaml --cores 2

      var-sweep launch sweeps/depth.yaml --launcher slurm --profile slurm/profiles/a100.yaml --pilot
    """
    place = place_of(launcher, profile, cores, address)
    if dry_run and launcher != "slurm":
        raise RequestProblem(
            "--dry-run prints sbatch scripts, so it wants --launcher slurm; `var-sweep plan` is for all"
        )
    place.check(runs)
    found = load_recipe(recipe) if recipe else None
    planned = plan_of(file, set_, runs, card_of(place.profile), found, to_launch=not dry_run, whole=True)
    for note in planned.notes:
        tell(note)
    order = Order(
        planned,
        yaml.read_text(file),
        place,
        pilots=smallest_and_largest(planned) if pilot else frozenset(),
        how={
            "file": str(file.resolve()),
            "set": set_,
            "recipe": found.model_dump(mode="json") if found else None,
            "address": address,
        },
        most_hours=max_gpu_hours,
        yes=yes,
        mlflow=mirrored(place, mlflow),
    )
    if planned.study.pursue is not None:
        if pilot or dry_run:
            raise RequestProblem(
                f"{file} pursues a loss: its rounds begin with the cheapest runs by themselves, and each is decided "
                "when the one before is trained; leave out --pilot and --dry-run (`var-sweep plan` says what to expect)"
            )
        from var_scaling.cli import pursue

        pursue.run(order, file, set_, found, json)
        return
    if str(left := leaving(planned)):
        if not (yes or dry_run):
            check_name(order.sweep, file, left)
        tell(f"sweep {order.name}: {left}")
    if dry_run:
        cluster.print_scripts(order)
    else:
        _carry_out(order, json)


def mirrored(place: Place, asked: bool) -> bool:
    """Whether curves are sent to MLflow; says so where they cannot be, for a launch loses nothing by it."""
    wanted, from_here = place.mirrors(asked)
    if wanted and from_here and (words := extras.missing("mlflow")):
        tell(f"not mirrored to MLflow, `var-sweep sync` does it later: {words}")
        return False
    return wanted


def _carry_out(order: Order, json: bool) -> None:
    """Stay with a launch until all is done, or hand it over and leave."""
    if order.place.stays:
        drive(order, json)
    else:
        for note in order.place.notes:
            tell(note)
        cluster.submit(order, json)


def sync(sweep: SweepName = "last", runs: Runs = Path("runs"), json: Json = False) -> None:
    """Bring MLflow up to date with the journals; sending twice is free.

    Examples:
      var-sweep sync

      MLFLOW_TRACKING_URI=http://10.0.0.5:5000 var-sweep sync depth
    """
    extras.need("mlflow")
    folder = state.find_sweep(runs, sweep)
    check_store(tracking_uri())
    done = subprocess.run(
        [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(runs), folder.name, "--once"],
        env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONUTF8="1"),
        stdout=sys.stderr.fileno(),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    said = done.stderr.strip()
    if done.returncode:
        raise EnvironmentProblem(
            f"MLflow could not be brought up to date; the journals are untouched, so run it again when it "
            f"{'answers' if done.returncode == 1 else 'takes it'}: {said}"
        )
    if said:
        err.print(said, soft_wrap=True)
    if json:
        address = read_ui_address(runs, folder.name)
        print_json({"schema": 1, "sweep": folder.name, "tracker": shown(tracking_uri()), "page": address})


def cancel(
    sweep: SweepName = "last",
    filters: Filters = [],  # noqa: B006
    runs: Runs = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only count.")] = False,
    json: Json = False,
) -> None:
    """Ask running trials to save and stop, and withdraw what waits, in SLURM's queue too. Counts first; --yes acts.

    Examples:
      var-sweep cancel depth

      var-sweep cancel depth depth=8 --yes
    """
    now = state.read_status(runs, sweep)
    selected = state.select((*now.trials, *now.left), filters)
    works = {t.folder: t.record for t in selected}
    if not filters:  # with the trials go the stages that nobody else waits for
        works |= now.stages
    queued = [name for name in works if name in now.queue and now.queue[name].queue != "gone"]
    running = {n: r for n, r in works.items() if r.state in ("running", "unknown") and n not in queued}
    done: dict[str, str] = {}
    failed: dict[str, str] = {}
    if yes:
        failed |= ask_to_withdraw(now.folder, [n for n, record in works.items() if record.state != "finished"])
        withdrawn, refused = _withdraw(runs, queued)
        done, failed = done | withdrawn, failed | refused
        for name, record in running.items():
            assert record.holder is not None
            what, reached = _ask_to_stop(record.holder)
            (done if reached else failed)[name] = what
    if json:
        not_reached = [f"{Path(name).name}: {why}" for name, why in failed.items()]
        chosen = [*queued, *running]
        print_json({"schema": 1, "sweep": now.name, "works": chosen, "done": done, "not_reached": not_reached})
    else:
        if not (queued or running or failed):
            meant = f" that {' '.join(filters)} means" if filters else ""
            out.print(f"nothing of {now.name}{meant} runs or waits in a queue", soft_wrap=True)
        elif not yes:
            out.print(f"{len(queued) + len(running)} running or queued works would be stopped; add --yes")
        for name, what in done.items():
            out.print(f"{Path(name).name}: {what}", soft_wrap=True)
        for name, why in failed.items():
            err.print(f"not cancelled: {Path(name).name}: {why}", soft_wrap=True)
    if failed:
        raise Failed


def _withdraw(runs: Path, folders: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Withdraw and stop works of SLURM's queue: what was done to each, and what could not be done and why."""
    if not folders:
        return {}, {}
    from var_scaling.launch.slurm.launcher import cancel

    result = cancel(runs, folders)
    return result.done, result.failed


def _ask_to_stop(holder: holders.Holder) -> tuple[str, bool]:
    """Signal a worker on this machine; says what came of it, and whether it was reached."""
    here = holders.this_process()
    if (holder.boot, holder.namespace) != (here.boot, here.namespace):
        return f"it runs elsewhere ({holder}): its launch there is asked, and stops it unless it is gone itself", False
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return f"{holder} has just ended", True
    except PermissionError:
        return f"{holder} belongs to another user: ask them, or an administrator", False
    return f"asked {holder} to save and stop", True


def retry(
    sweep: SweepName = "last",
    filters: Filters = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", help="Execution fields only, e.g. execution.micro_batch=8.")] = [],  # noqa: B006
    take_over: Annotated[
        bool, typer.Option(help="Start anew although nobody can say whether the last holder lives.")
    ] = False,
    runs: Runs = Path("runs"),
    cores: Annotated[int | None, typer.Option(min=1)] = None,
    launcher: Annotated[str | None, typer.Option(help="local, slurm or ray (default: as launched).")] = None,
    profile: ProfileFile = None,
    max_gpu_hours: MostHours = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Start failed trials and stages again from their last checkpoint. It may change execution, never identity.

    Examples:
      var-sweep retry depth

      var-sweep retry depth cause=out-of-gpu-memory --set execution.micro_batch=8
    """
    folder = state.find_sweep(runs, sweep)
    for text in set_:
        if not text.startswith(("execution.", "placement.")):
            raise RequestProblem(
                f"--set {text}: retry may change execution and placement only, for anything else is another trial; "
                "edit the sweep file and launch it"
            )
    last = last_launch(folder)
    launcher, how = launcher or last.launcher, dict(last.how)
    place = place_of(launcher, (profile or last.profile) if launcher == "slurm" else None, cores, how.get("address"))
    place.check(runs)
    planned = plan_of(
        layout.study_source(folder),
        [*how.get("set", ()), *set_],
        runs,
        card_of(place.profile),
        recipe_of_launch(how),
        to_launch=True,
    )
    chosen = {t.folder for t in state.select(state.read_status(runs, folder.name).trials, filters)}
    wanted = to_retry(planned, chosen, take_over)
    if take_over:
        os.environ["VAR_SCALING_TAKE_OVER"] = "1"
    if not any(wanted(trial) for trial in planned.trials):
        out.print(
            f"nothing to retry: no trial of {folder.name} that matches has failed, nor a stage of one; "
            f"`var-sweep status {folder.name}` says what waits and why",
            soft_wrap=True,
        )
        return
    source = yaml.read_text(layout.study_source(folder))
    _carry_out(
        Order(
            planned,
            source,
            place,
            only=wanted,
            failed_too=True,
            how=how,
            most_hours=max_gpu_hours,
            yes=yes,
            mlflow=mirrored(place, True),
        ),
        json,
    )


def clean(
    runs: Runs = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without, only list.")] = False,
    keep: Annotated[
        Literal["all", "last", "none"],
        typer.Option(
            help="Checkpoints of a finished trial's trunk that stay; a budget added later trains the rest again."
        ),
    ] = "all",
    json: Json = False,
) -> None:
    """Free disk: rolling checkpoints of finished trials, scratch of ended attempts. Lists first; --yes deletes.

    Rows and annealed weights stay, and unless --keep says otherwise the trunk's branch points, so that nothing has to
    be trained again.

    Examples:
      var-sweep clean --yes

      var-sweep clean --keep last
    """
    found = []
    for trial in layout.trial_folders(runs):
        numbers = store.attempt_numbers(trial)
        if not numbers or not layout.end(layout.attempt(trial, numbers[-1])).exists():
            continue
        found += layout.leftovers(trial)
        if nothing_missing(trial):
            found += [path for path in store.spare_checkpoints(trial, keep) if path not in found]
    for stage in layout.stages(runs):
        if layout.result(stage).is_dir():
            found += layout.leftovers(stage)
    sizes = {
        p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) if p.is_dir() else p.stat().st_size for p in found
    }
    if yes:
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if json:
        print_json({"schema": 1, "deleted": yes, "paths": {str(p): n for p, n in sizes.items()}})
        return
    for path, size in sorted(sizes.items(), key=lambda pair: -pair[1])[:20]:
        out.print(f"{count(size):>8}B  {path}", soft_wrap=True)
    if len(sizes) > 20:
        out.print(f"          and {len(sizes) - 20} smaller ones (--json lists all)")
    word = "deleted" if yes else "would be deleted (add --yes)"
    out.print(
        f"{len(found)} files and folders, {count(sum(sizes.values()))}B, {word}; {count(free_bytes(runs))}B free",
    )
