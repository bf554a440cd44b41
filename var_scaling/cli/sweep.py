"""`var-sweep`: plan a study, launch it, watch it, and deal with what went wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling import store
from var_scaling.cli import cluster, show
from var_scaling.cli.run import Failed, Interrupted, count, err, out, print_json, run
from var_scaling.config.study import load_study
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch import status as state
from var_scaling.launch.local import LocalLauncher
from var_scaling.launch.sweep import Launch, View, follow, free_bytes, prepare, sweep_folder
from var_scaling.planning import identity
from var_scaling.planning.plan import Plan, PlannedTrial, make_plan
from var_scaling.planning.tuned import apply_recipe, load_recipe

if TYPE_CHECKING:
    from var_scaling.launch.ray import RayLauncher

app = typer.Typer(
    help="Plan, launch and watch scaling-law studies. Start with: var-sweep plan sweeps/depth.yaml",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Runs = Annotated[Path, typer.Option("--runs", help="Folder of trials, stages and sweeps.", envvar="VAR_SCALING_RUNS")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Overrides = Annotated[list[str], typer.Option("--set", help="Override a field of the base, e.g. train.batch_size=128.")]
SweepFile = Annotated[Path, typer.Argument(help="A sweep file, e.g. sweeps/depth.yaml.")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="A cluster's profile, slurm/profiles/<name>.yaml.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="A recipe that `var-sweep tune` wrote.")]
LauncherName = Annotated[str, typer.Option("--launcher", help="local, slurm or ray.")]
Yes = Annotated[bool, typer.Option("--yes", help="Launch without asking, whatever it costs.")]
MostHours = Annotated[float | None, typer.Option("--max-gpu-hours", help="Refuse a launch that may take more.", min=0)]
SweepName = Annotated[str, typer.Argument(help="A sweep's name, or `last`.")]
Filters = Annotated[list[str], typer.Argument(help="Filters: depth=16, seed=0, state=failed, cause=node, or a trial.")]


def _plan(file: Path, overrides: list[str], runs: Path, device: str | None = None, recipe: Path | None = None) -> Plan:
    study, configs = load_study(file, overrides)
    if recipe:
        configs = apply_recipe(configs, load_recipe(recipe))
    return make_plan(study, configs, runs, device)


@app.command()
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
    planned = _plan(file, set_, runs, device or (chosen.gpu.name if chosen and chosen.gpu else None), recipe)
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


@app.command()
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
    planned = _plan(file, set_, runs, device, recipe)
    if _check_data(planned, write=not dry_run):
        planned = _plan(file, set_, runs, device, recipe)
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
    drive(started, LocalLauncher(runs, cores), mlflow and not pilot, json)
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


def drive(
    started: Launch, launcher: LocalLauncher | RayLauncher, mlflow: bool, json: bool, quiet: bool = False
) -> None:
    """Submit, follow with bars, stop cleanly on Ctrl-C, and say what came of it."""
    runs, name = started.plan.runs, started.plan.study.name
    for folder, reason in started.skipped:
        if not reason.startswith("finished"):
            err.print(f"not started: {Path(folder).name}: {reason}", highlight=False)
    mirror = _start_mirror(runs, name) if mlflow and started.jobs else None
    launcher.submit(started.jobs, started.folder)
    folders = [job.work.folder for job in started.jobs]
    interrupts = []

    def on_interrupt(*_: object) -> None:
        interrupts.append(1)
        if len(interrupts) == 1:
            err.print("stopping: workers save and leave; once more ends them at once")
            launcher.cancel(folders)
        else:
            launcher.kill()

    before = {s: signal.signal(s, on_interrupt) for s in (signal.SIGINT, signal.SIGTERM)}
    begin = time.monotonic()
    try:
        if err.is_terminal:
            with show.Bars(started, err) as bars:
                view = follow(started, launcher, bars.draw)
        else:
            view = follow(started, launcher, _Lines(started).draw)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if mirror:
            _finish_mirror(mirror, runs, name)
    if launcher.held_because:
        err.print(f"the rest is held: {launcher.held_because}", highlight=False)
    if interrupts:
        raise Interrupted
    if not quiet:
        _report(started, view, time.monotonic() - begin, json)


class _Lines:
    """Progress for logs and pipes: a line when a work starts or ends."""

    def __init__(self, started: Launch) -> None:
        self.seen: dict[str, str] = {}
        self.total = len(started.jobs)

    def draw(self, view: View) -> None:
        for folder, record in view.records.items():
            queue = view.queue.get(folder, "gone")
            word = record.state if queue == "gone" else queue
            if word in ("running", "finished", "failed", "stopped", "interrupted") and self.seen.get(folder) != word:
                self.seen[folder] = word
                detail = f": {record.cause}: {record.message}" if record.state == "failed" else ""
                done = sum(w == "finished" for w in self.seen.values())
                err.print(
                    f"[{done}/{self.total}] {word:<9} {folder}{detail}", markup=False, highlight=False, soft_wrap=True
                )


def _report(started: Launch, view: View, seconds: float, json: bool) -> None:
    runs, name = started.plan.runs, started.plan.study.name
    status = state.read_status(runs, name)
    failed = [t for t in status.trials if t.state == "failed"]
    if json:
        print_json({"schema": 1, "sweep": name, "seconds": seconds, "trials": [t.as_dict() for t in status.trials]})
    else:
        out.print(show.rows_table(runs, status.trials))
        done = sum(t.state == "finished" for t in status.trials)
        out.print(
            f"{done} of {len(status.trials)} trials finished ({len(started.skipped)} were there already, "
            f"{len(started.jobs)} works run in {show.span(seconds)}); folder {sweep_folder(runs, name)}\n"
            f"next: var-scaling fit-laws {name} | var-sweep status {name}\n{_ui_hint(runs, name)}",
            highlight=False,
            soft_wrap=True,
        )
    broken = [f for f, r in view.records.items() if r.state == "failed" and f.startswith("store/")]
    if failed or broken:
        for folder in broken:
            record = view.records[folder]
            err.print(f"stage {folder} failed: {record.cause}: {record.message}", highlight=False, soft_wrap=True)
        if failed:
            err.print(show.failures_text(status), markup=False, highlight=False, soft_wrap=True)
        raise Failed


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
                    f"predicted {predicted:.1f} s ({trial.cost.source}); the trial now {show.span(asked.seconds)}",
                    highlight=False,
                )


# ---- the mirror -----------------------------------------------------------------------------------------------------


def _start_mirror(runs: Path, name: str) -> subprocess.Popen[bytes]:
    """The one process beside a launch that talks to MLflow."""
    log = open(sweep_folder(runs, name) / "mirror.log", "ab")  # noqa: SIM115
    return subprocess.Popen(
        [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(runs), name, "--follow"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )


def _finish_mirror(mirror: subprocess.Popen[bytes], runs: Path, name: str) -> None:
    """Ask it to send the rest; a tracker that does not answer is left for `var-sweep sync`."""
    mirror.terminate()
    try:
        if mirror.wait(timeout=60) == 0:
            return
    except subprocess.TimeoutExpired:
        mirror.kill()
    err.print(
        f"MLflow has not been brought up to date ({sweep_folder(runs, name) / 'mirror.log'}); nothing is lost: "
        f"var-sweep sync {name}",
        highlight=False,
        soft_wrap=True,
    )


def _ui_hint(runs: Path, name: str) -> str:
    """Where to look at the curves: the page that shows all trials at once, and how to serve it."""
    from var_scaling.tracking.mlflow_mirror import read_ui_address, tracking_uri

    address = read_ui_address(runs, name)
    if address is None:
        return f"curves: var-sweep sync {name} sends them to MLflow"
    serve = "" if tracking_uri().startswith("http") else f"mlflow ui --backend-store-uri {tracking_uri()}, then "
    return f"curves: {serve}{address}"


@app.command()
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


# ---- looking --------------------------------------------------------------------------------------------------------


@app.command()
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
    for text in (show.failures_text(now), cluster.queue_text(now)):
        if text:
            out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


# ---- acting ---------------------------------------------------------------------------------------------------------


@app.command()
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


@app.command()
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
    planned = _plan(folder / "study.yaml", set_, runs, cluster.device_of(profile) if launcher == "slurm" else None)
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
    drive(started, LocalLauncher(runs, cores), True, json)


@app.command()
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


cluster.register(app)


def main() -> None:
    """Entry point of `var-sweep`."""
    run(app)


if __name__ == "__main__":
    main()
