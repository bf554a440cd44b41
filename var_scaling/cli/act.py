"""The commands of `var-sweep` that act: launch, cancel, retry, clean, sync."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from var_scaling import store
from var_scaling.cli import cluster
from var_scaling.cli.drive import drive
from var_scaling.cli.options import (
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
)
from var_scaling.cli.run import count, err, out, print_json
from var_scaling.cli.show import span
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch import status as state
from var_scaling.launch.local import LocalLauncher
from var_scaling.launch.sweep import free_bytes, prepare
from var_scaling.planning.plan import Plan, PlannedTrial


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
        bool, typer.Option(help="Only the smallest and the largest trial, to their first budget.")
    ] = False,
    mlflow: Annotated[bool, typer.Option(help="Mirror curves and rows to MLflow.")] = True,
    recipe: RecipeFile = None,
    launcher: LauncherName = "local",
    profile: ProfileFile = None,
    address: Annotated[
        str | None, typer.Option(help="With --launcher ray: host:port or auto (default: a private Ray).")
    ] = None,
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
    cluster.check_launcher(launcher, profile)
    device = cluster.device_of(profile)
    planned = plan_of(file, set_, runs, device, recipe)
    if _check_data(planned, write=not dry_run):
        planned = plan_of(file, set_, runs, device, recipe)
    ends = _smallest_and_largest(planned) if pilot else frozenset(t.work.folder for t in planned.trials)

    def wanted(trial: PlannedTrial) -> bool:
        return trial.work.folder in ends

    if launcher == "slurm":
        assert profile is not None
        cluster.launch_on_slurm(
            planned,
            file.read_text(),
            profile,
            cluster.Spend(max_gpu_hours, yes),
            only=wanted,
            pilot=pilot,
            dry_run=dry_run,
            json=json,
        )
        return
    started = prepare(
        planned,
        file.read_text(),
        launcher,
        only=wanted,
        first_budget_only=pilot,
    )
    if launcher == "ray":
        from var_scaling.launch.ray import RayLauncher

        ray = RayLauncher(runs, cores, address, cluster.worker_command())
        drive(started, ray, mlflow and not pilot, json)
        return
    drive(started, LocalLauncher(runs, cores, cluster.worker_command()), mlflow and not pilot, json)
    if pilot:
        _compare_pilot(planned, ends)


def _smallest_and_largest(planned: Plan) -> frozenset[str]:
    by_cost = sorted(planned.trials, key=lambda t: (t.config.model.depth, t.config.seed))
    return frozenset({by_cost[0].work.folder, by_cost[-1].work.folder})


def _check_data(planned: Plan, write: bool = True) -> bool:
    """Refuse before anything is written where the images are not there; True if ids have become final just now."""
    from var_scaling.config.data import FOLDER_SETS, folder_path
    from var_scaling.config.image_manifest import build_manifest

    to_list = set()
    for trial in planned.trials:
        data = trial.config.data
        if data.name in FOLDER_SETS:
            folder = folder_path(data, trial.config.placement.image_folder)
            to_list |= {folder} if trial.provisional else set()
            if not (folder / "train").is_dir() or not (folder / "val").is_dir():
                raise EnvironmentProblem(
                    f"{data.name} is not on this machine: {folder} has no train/ and val/; set VAR_SCALING_DATA to the "
                    "folder that holds it (the study can be planned without it)"
                )
    for folder in to_list if write else ():
        err.print(f"listing {folder}, once, so that ids are final", highlight=False)
        build_manifest(folder, planned.runs / "store")
    return bool(to_list)


def _compare_pilot(planned: Plan, folders: frozenset[str]) -> None:
    """Measured against predicted, for the two ends of the study."""
    from var_scaling.planning import estimate

    rates = estimate.measured_rates(planned.runs)
    for trial in planned.trials:
        if trial.work.folder in folders:
            row = state.read_row(planned.runs / trial.work.folder, trial.spent[0])
            if row:
                asked = estimate.cost(trial.config, trial.new_images, len(trial.budgets), rates)
                predicted = trial.cost.seconds * row["images_seen"] / max(1, trial.new_images)
                out.print(
                    f"{Path(trial.work.folder).name}: {row['seconds']:.1f} s to {row['images_seen']:,} images, "
                    f"predicted {predicted:.1f} s ({trial.cost.source}); the trial now {span(asked.seconds)}",
                    highlight=False,
                )


def sync(sweep: SweepName = "last", runs: Runs = Path("runs")) -> None:
    """Bring MLflow up to date with the journals; sending twice is free.

    Examples:
      var-sweep sync

      MLFLOW_TRACKING_URI=http://10.0.0.5:5000 var-sweep sync depth
    """
    folder = state.find_sweep(runs, sweep)
    code = subprocess.run(
        [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(runs), folder.name, "--once"],
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    ).returncode
    if code:
        raise EnvironmentProblem(
            "MLflow could not be brought up to date; the journals are untouched, so run it again when it answers"
        )


def cancel(
    sweep: SweepName = "last",
    filters: Filters = [],  # noqa: B006
    runs: Runs = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only count.")] = False,
) -> None:
    """Ask running trials to save and stop, and withdraw what waits in SLURM's queue. Counts first; --yes acts.

    Examples:
      var-sweep cancel depth

      var-sweep cancel depth depth=8 --yes
    """
    now = state.read_status(runs, sweep)
    selected = state.select(now.trials, filters)
    queued = [t.folder for t in selected if t.queued and t.queued.queue != "gone"]
    if not filters:  # with the trials go the stages that nobody else waits for
        queued += [name for name in now.stages if name in now.queue and now.queue[name].queue != "gone"]
    chosen = [t for t in selected if t.state in ("running", "unknown") and t.folder not in queued]
    if not yes:
        out.print(f"{len(chosen) + len(queued)} running or queued works would be stopped; add --yes")
        return
    for text in cluster.cancel_on_slurm(runs, queued):
        out.print(text, highlight=False)
    here = store.this_process()
    for trial in chosen:
        holder = trial.record.holder
        assert holder is not None
        if (holder.boot, holder.namespace) == (here.boot, here.namespace):
            os.kill(holder.pid, signal.SIGTERM)
            out.print(f"asked {Path(trial.folder).name} ({holder}) to save and stop", highlight=False)
        else:
            err.print(f"{Path(trial.folder).name} runs elsewhere ({holder}); stop it there", highlight=False)


def retry(
    sweep: SweepName = "last",
    filters: Filters = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", help="Execution fields only, e.g. execution.micro_batch=8.")] = [],  # noqa: B006
    take_over: Annotated[
        bool, typer.Option(help="Start anew although nobody can say whether the last holder lives.")
    ] = False,
    runs: Runs = Path("runs"),
    cores: Annotated[int | None, typer.Option(min=1)] = None,
    launcher: Annotated[str | None, typer.Option(help="local or slurm (default: as launched).")] = None,
    profile: ProfileFile = None,
    max_gpu_hours: MostHours = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Start failed trials again from their last checkpoint. It may change execution, never identity.

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
    used, used_profile = cluster.last_launcher(folder)
    launcher, profile = launcher or used, profile or used_profile
    cluster.check_launcher(launcher, profile)
    planned = plan_of(folder / "study.yaml", set_, runs, cluster.device_of(profile) if launcher == "slurm" else None)
    chosen = {t.folder for t in state.select(state.read_status(runs, folder.name).trials, filters)}

    def wanted(trial: PlannedTrial) -> bool:
        states = ("failed", "unknown") if take_over else ("failed",)
        return trial.work.folder in chosen and trial.record.state in states

    if take_over:
        os.environ["VAR_SCALING_TAKE_OVER"] = "1"
    if launcher == "slurm" and any(wanted(trial) for trial in planned.trials):
        assert profile is not None
        source = (folder / "study.yaml").read_text()
        spend = cluster.Spend(max_gpu_hours, yes)
        cluster.launch_on_slurm(planned, source, profile, spend, only=wanted, failed_too=True, json=json)
        return
    started = prepare(planned, (folder / "study.yaml").read_text(), "local", only=wanted, failed_too=True)
    if not started.jobs:
        out.print(f"nothing to retry: no trial of {folder.name} that matches has failed")
        return
    drive(started, LocalLauncher(runs, cores, cluster.worker_command()), True, json)


def clean(
    runs: Runs = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without, only list.")] = False,
    json: Json = False,
) -> None:
    """Free disk: rolling checkpoints of finished trials, scratch of ended attempts. Lists first; --yes deletes.

    Rows, annealed weights and the trunk's branch points stay, so nothing has to be trained again.

    Example: var-sweep clean --yes
    """
    found = []
    for trial in sorted((runs / "trials").glob("*")):
        numbers = store.attempt_numbers(trial)
        if not numbers or not (trial / "attempts" / f"{numbers[-1]:03d}" / "end.json").exists():
            continue
        for number in numbers:
            attempt = trial / "attempts" / f"{number:03d}"
            found += [p for p in attempt.glob("checkpoints/*.previous.pt")] + [p for p in attempt.glob("budget_*")]
    for stage in sorted((runs / "store").glob("*/*/result")):
        found += list(stage.parent.glob("attempts/*/checkpoints"))
    sizes = {
        p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) if p.is_dir() else p.stat().st_size for p in found
    }
    if yes:
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if json:
        print_json({"schema": 1, "deleted": yes, "paths": {str(p): n for p, n in sizes.items()}})
        return
    word = "deleted" if yes else "would be deleted (add --yes)"
    out.print(
        f"{len(found)} files and folders, {count(sum(sizes.values()))}B, {word}; {count(free_bytes(runs))}B free",
        highlight=False,
    )
