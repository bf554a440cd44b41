"""What `var-sweep` does with clusters: launch there and leave, say what waits and why, prove a profile."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_scaling import extras
from var_scaling.cli.run import Failed, count, err, out, print_json, span
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.launch.early_log import early_log, last_line
from var_scaling.launch.missing import Missing, missing_text, what_is_missing
from var_scaling.launch.price import Price, check_spend, price
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.slurm.profile import Profile, load_profile
from var_scaling.launch.status import SweepStatus
from var_scaling.launch.sweep import Launch, free_bytes, missing_jobs, prepare, sweep_folder
from var_scaling.planning.plan import Plan, PlannedTrial
from var_scaling.runs import health, pilot, store
from var_scaling.runs.frozen import changed_files, code_hash
from var_scaling.runs.record import row_path
from var_scaling.tracking.address import absolute_uri, shown, tracking_uri
from var_scaling.tracking.filesystem import check_store

if TYPE_CHECKING:
    from var_scaling.launch.slurm.launcher import SlurmLauncher

LAUNCHERS = ("local", "slurm", "ray")


@dataclass(frozen=True)
class Spend:
    """What a user allows a launch to spend."""

    most: float | None  # --max-gpu-hours
    yes: bool


def check_launcher(launcher: str, profile: Path | None) -> None:
    """Refuse a launcher that does not exist, one without its profile, and one whose workers could not start.

    Raises:
        EnvironmentProblem: libraries of this launcher, or of training, are not installed.
        RequestProblem: with the way out.
    """
    if launcher not in LAUNCHERS:
        raise RequestProblem(f"--launcher {launcher}: there are {', '.join(LAUNCHERS)}")
    if launcher == "slurm" and profile is None:
        raise RequestProblem("--launcher slurm needs a cluster's profile: --profile slurm/profiles/generic-cpu.yaml")
    wanted = {"local": ["train"], "slurm": ["train", "slurm"], "ray": ["train", "ray"]}[launcher]
    if launcher == "slurm" and profile and load_profile(profile).python:  # its workers have an environment of their own
        wanted.remove("train")
    extras.need(*wanted)


def can_mirror() -> bool:
    """Whether curves can be sent to MLflow from here; says so where not, for a launch loses nothing by it."""
    if words := extras.missing("mlflow"):
        err.print(f"not mirrored to MLflow, `var-sweep sync` does it later: {words}", soft_wrap=True)
    return not words


@dataclass(frozen=True)
class Order:
    """What a launch is to do with a plan."""

    source: str  # text of the sweep file
    only: Callable[[PlannedTrial], bool] = lambda trial: True
    pilots: frozenset[str] = frozenset()
    failed_too: bool = False
    how: Mapping[str, Any] = field(default_factory=dict)  # for `retry`: overrides, recipe, Ray's address


def start(planned: Plan, order: Order, launcher: str) -> Launch:
    """Write down what is launched."""
    return prepare(
        planned,
        order.source,
        launcher,
        only=order.only,
        pilots=order.pilots,
        failed_too=order.failed_too,
        how=order.how,
    )


def consent(planned: Plan, order: Order, spend: Spend, profile: Profile | None, cores: int | None = None) -> Price:
    """Price what a launch would start, and ask where it is more than the profile or the disk lets pass.

    Raises:
        RequestProblem: more than was allowed, or a question that nobody is there to answer.
    """
    states = ("finished",) if order.failed_too else ("finished", "failed")
    chosen = [t for t in planned.trials if order.only(t) and t.record.state not in states]
    needed = {stage.folder for trial in chosen for stage in trial.works.stages}
    stages = [cost for folder, cost in planned.stage_costs.items() if folder in needed]
    cost = price(chosen, profile, cores, stages)
    questions = check_spend(cost, profile, spend.most, free_bytes(planned.runs))
    if questions and not spend.yes:
        if not sys.stdin.isatty():
            raise RequestProblem(f"this launch takes {' and '.join(questions)}: add --yes to allow it")
        err.print(price_text(cost, planned.runs), soft_wrap=True)
        typer.confirm(f"It takes {' and '.join(questions)}. Launch?", abort=True, err=True)
    return cost


def launch_on_slurm(
    planned: Plan, order: Order, profile_path: Path, spend: Spend, *, dry_run: bool = False, json: bool = False
) -> None:
    """Price, ask, submit, say what was submitted, and end. The jobs need this process no longer."""
    from var_scaling.launch.slurm.launcher import SlurmLauncher
    from var_scaling.launch.slurm.script import check_path

    profile = load_profile(profile_path)
    if profile.mirror and not profile.python and not can_mirror():
        profile = profile.model_copy(update={"mirror": False})
    runs, name = planned.runs, planned.study.name
    check_path(runs)
    launcher = SlurmLauncher(runs, profile, name, worker=worker_command())
    if dry_run:
        excused = health.excused(sweep_folder(runs, name) / "launches")
        jobs, _ = missing_jobs(planned, order.only, order.pilots, False, order.failed_too, excused)
        for text in launcher.scripts(jobs, (sweep_folder(runs, name) / "launches" / "NNN").resolve()):
            print(text)
        err.print(profile_price(planned, profile), soft_wrap=True)
        return
    scheduler.require()
    cost = consent(planned, order, spend, profile)
    if profile.mirror:
        check_store(tracking_uri())
    started = start(planned, order, "slurm")
    store.write_bytes(started.folder / "profile.yaml", profile_path.read_bytes())
    launcher.submit(started.jobs, started.folder)
    _say_submitted(started, launcher, cost, json)


def _say_submitted(started: Launch, launcher: SlurmLauncher, cost: Price, json: bool) -> None:
    result = launcher.submitted
    handed = {*result.already, *(folder for array in result.arrays for folder in array.folders)}
    kept_back = f"kept back by {result.held_by}" if result.held else None
    missing = what_is_missing(started, kept_back, handed)
    _print_submitted(started, launcher, cost, missing, json)
    if missing:
        err.print(missing_text(missing), soft_wrap=True)
        raise Failed


def _print_submitted(
    started: Launch, launcher: SlurmLauncher, cost: Price, missing: Sequence[Missing], json: bool
) -> None:
    result, name = launcher.submitted, started.plan.study.name
    if json:
        print_json(
            {
                "schema": 1,
                "sweep": name,
                "launch": str(started.folder),
                "arrays": [
                    {**a.resources, "processes": a.resources.get("tasks", 1), "job": a.job, "tasks": len(a.folders)}
                    for a in result.arrays
                ],
                "already_queued": result.already,
                "held_back": result.held,
                "mirror": result.mirror and result.mirror.job,
                "missing": [each.as_dict() for each in missing],
                "skipped": [{"trial": t, "reason": r} for t, r in started.skipped],
                "price": cost.as_dict(),
            }
        )
        return
    for array in result.arrays:
        from var_scaling.launch.slurm.resources import Resources

        out.print(f"array {array.job}: {len(array.folders)} tasks, {Resources(**array.resources)} each")
    finished = sum(reason.startswith("finished") for _, reason in started.skipped)
    lines = [
        f"submitted {sum(len(a.folders) for a in result.arrays)} works in {len(result.arrays)} arrays; "
        f"{finished} trials were finished already, {len(result.already)} works were queued already",
        price_text(cost, started.plan.runs),
    ]
    if result.held:
        lines.append(f"{len(result.held)} works are held back by {result.held_by}: launch again when some have ended")
    if gate := pilot.read_gate(started.folder):
        lines.append(
            f"{sum(job.held for job in started.jobs)} trials are held until {' and '.join(map(_name, gate.trials))} "
            "have passed their first checkpoint; `status` shows it, `launch` without --pilot lets them go at once"
        )
    if result.mirror:
        lines.append(
            f"job {result.mirror.job} sends all of it to MLflow ({shown(absolute_uri())}) when these have ended"
        )
    lines.append(f"next: var-sweep status {name} | var-sweep watch {name} | var-sweep cancel {name} --yes")
    out.print("\n".join(lines), soft_wrap=True)


def _name(folder: str) -> str:
    return Path(folder).name


def price_text(cost: Price, runs: Path) -> str:
    """The price in one paragraph."""
    if not cost.trials:
        return "nothing is left to train"
    card = f" of the card's {count(cost.memory_limit)}B" if cost.memory_limit else ""
    longest = f"longest trial {span(cost.longest[1])} ({Path(cost.longest[0]).name})" if cost.longest else ""
    return (
        f"price: {cost.hours[0]:.3g} to {cost.hours[1]:.3g} {cost.unit} for {cost.trials} trials "
        f"({'; '.join(cost.sources)}); peak memory {count(cost.memory_bytes)}B{card}; disk "
        f"{count(cost.disk_bytes)}B of {count(free_bytes(runs))}B free; {cost.requeues} requeues expected at the time "
        f"limit; {longest}; all of it in about {span(cost.makespan)} with {cost.parallel} at once"
    )


def device_of(profile: Path | None) -> str | None:
    """The card that a profile's nodes have."""
    loaded = load_profile(profile) if profile else None
    return loaded.gpu.name if loaded and loaded.gpu else None


def cancel_on_slurm(runs: Path, folders: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Withdraw and stop works of SLURM's queue: what was done to each, and what could not be done and why."""
    if not folders:
        return {}, {}
    from var_scaling.launch.slurm.launcher import cancel

    result = cancel(runs, folders)
    return result.done, result.failed


@dataclass(frozen=True)
class LastLaunch:
    """How a sweep was launched last."""

    launcher: str = "local"
    profile: Path | None = None
    how: Mapping[str, Any] = field(default_factory=dict)


def last_launch(sweep: Path) -> LastLaunch:
    """What a sweep's newest launch wrote down."""
    for folder in sorted((sweep / "launches").glob("[0-9]*"), key=lambda p: -int(p.name)):
        if (note := store.read_json(folder / "launch.json")) is not None:
            profile = folder / "profile.yaml"
            return LastLaunch(note.get("launcher", "local"), profile if profile.exists() else None, note.get("how", {}))
    return LastLaunch()


def worker_command() -> tuple[str, ...]:
    """The worker's command where a test replaces it by fake work; empty otherwise."""
    text = os.environ.get("VAR_SCALING_WORKER_COMMAND", "")
    return tuple(text.split("\x1f")) if text else ()


# ---- looking --------------------------------------------------------------------------------------------------------


def queue_text(runs: Path, status: SweepStatus) -> str:
    """What is in SLURM's queue and why it waits; how interrupted attempts ended, by one bounded question to sacct."""
    if status.silent is not None:
        return f"SLURM does not answer ({status.silent}): what it runs is unknown and taken for alive"
    names = [*status.stages, *(t.folder for t in status.trials)]
    here = {name: status.queue[name] for name in names if name in status.queue}
    waiting = Counter(q.why for q in here.values() if q.queue == "waiting")
    lines = [f"{n} waiting in SLURM: {reason}" for reason, n in waiting.most_common()]
    odd = Counter(q.state for q in here.values() if q.queue == "unknown")
    lines += [f"{n} in state {state}, which this program does not know: taken for alive" for state, n in odd.items()]
    states = {**{n: r.state for n, r in status.stages.items()}, **{t.folder: t.state for t in status.trials}}
    lost = {
        name: q for name, q in here.items() if states[name] in ("interrupted", "new") and q.queue == "gone" and q.job
    }
    if lost:
        since = min(q.array.since for q in lost.values())
        ends = scheduler.ask_accounting([str(q.job) for q in lost.values()], since)
        trials = {name: q for name, q in lost.items() if name.startswith("trials/")}
        causes = Counter(ends[q.job].state for q in trials.values() if q.job in ends)
        said = ", ".join(f"{n} x {state}" for state, n in causes.most_common()) or "the accounting does not say how"
        if trials:
            lines.append(f"{len(trials)} left the queue unfinished ({said}): `var-sweep launch` goes on with them")
        logs = {name: early_log(runs, name) for name in lost.keys() - trials.keys()}
        for name, log in sorted(logs.items()):
            if not log and any(logs.values()):
                continue  # it waited for one that has said why
            end = f" ({ends[job]})" if (job := lost[name].job) in ends else ""
            last = f": {last_line(log)}" if log else ""
            lines.append(
                f"stage {name} died in SLURM before it began{end}{last}; `var-sweep logs {Path(name).name}` says more, "
                "what stands on it cannot start"
            )
    return "\n".join(lines)


def held_text(runs: Path, sweep: Path) -> str:
    """What the newest launch of a sweep keeps back and why: its pilots, a bug common to all, bad nodes."""
    lines = []
    for launch in sorted((sweep / "launches").glob("[0-9]*"))[-1:]:
        notes = health.read_notes(launch)
        if bug := health.common_bug(notes):
            lines.append(
                f"the rest is held: {health.EQUAL_FAILURES} works failed in the same way before any progress "
                f"({bug.cause}: {bug.message}); mend it and launch again"
            )
        for node, dead in health.bad_nodes(notes).items():
            lines.append(f"node {node} is excluded: {len(dead)} works died there at once ({dead[0].message})")
    gates = [gate for launch in sorted((sweep / "launches").glob("[0-9]*")) if (gate := pilot.read_gate(launch))]
    for gate in gates[-1:]:
        lines += gate.lines(runs)
        if not gate.open(runs):
            lines.append("the rest is held until the pilots have passed; `launch` without --pilot lets it go at once")
    return "\n".join(lines)


def code_text(planned: Plan) -> str:
    """Files of ours that have changed since finished trials were trained; empty where none has."""
    codes: Counter[str] = Counter()
    for trial in planned.trials:
        for images in trial.record.rows[:1]:
            row = store.read_json(row_path(planned.runs / trial.work.folder, images))
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


def profile_price(planned: Plan, profile: Profile) -> str:
    """The price of a plan on a profile."""
    return price_text(price(planned.trials, profile, stages=list(planned.stage_costs.values())), planned.runs)


# ---- doctor ---------------------------------------------------------------------------------------------------------


def register(app: typer.Typer) -> None:
    """Add the command to `var-sweep`."""
    app.command()(doctor)


def doctor(
    profile: Annotated[Path, typer.Option("--profile", help="A cluster's profile.")],
    runs: Annotated[Path, typer.Option("--runs", envvar="VAR_SCALING_RUNS")] = Path("runs"),
    job: Annotated[bool, typer.Option(help="Prove folder, environment and tracker by a one-minute job.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Check a profile against the cluster: its limits, each class of resources, the folder and environment of a node.

    Examples:
      var-sweep doctor --profile slurm/profiles/a100.yaml

      var-sweep doctor --profile slurm/profiles/a100.yaml --no-job
    """
    from var_scaling.launch.slurm.doctor import examine

    findings = examine(load_profile(profile), runs, job)
    if json:
        print_json({"schema": 1, "profile": str(profile), "findings": [vars(f) for f in findings]})
    else:
        for finding in findings:
            out.print(f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.text}")
    problems = [f.text for f in findings if not f.ok]
    if problems:
        raise EnvironmentProblem(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} with {profile}: see above")
