"""What `var-sweep` says of SLURM: what was submitted, what waits there and why, and whether a profile is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_scaling.cli.money import agree, price_text, profile_price
from var_scaling.cli.run import Failed, err, out, print_json
from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.early_log import early_log, last_line
from var_scaling.launch.missing import Missing, missing_text, what_is_missing
from var_scaling.launch.order import Launch, Order
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.slurm.profile import load_profile
from var_scaling.launch.slurm.resources import Resources
from var_scaling.launch.status import SweepStatus
from var_scaling.runs import layout, pilot
from var_scaling.tracking.address import absolute_uri, shown

if TYPE_CHECKING:
    from var_scaling.launch.slurm.launcher import Submitted


def print_scripts(order: Order) -> None:
    """What would be submitted; nothing is, nor written."""
    jobs, _ = order.jobs()
    for text in order.launcher().scripts(jobs, layout.launch(order.sweep, "NNN").resolve()):
        print(text)
    err.print(profile_price(order.plan, order.place.profile), soft_wrap=True)


def submit(order: Order, json: bool) -> None:
    """Submit, say what was submitted, and end. The jobs need this process no longer."""
    started, launcher = order.begin(agree), order.launcher()
    launcher.then = order.then
    launcher.submit(started.jobs, started.folder)
    result = launcher.submitted
    handed = {*result.already, *(folder for array in result.arrays for folder in array.folders)}
    missing = what_is_missing(started, f"kept back by {result.held_by}" if result.held else None, handed)
    _print_submitted(started, result, missing, json)
    if missing:
        err.print(missing_text(missing), soft_wrap=True)
        raise Failed


def _print_submitted(started: Launch, result: Submitted, missing: Sequence[Missing], json: bool) -> None:
    name, cost = started.order.name, started.order.price()
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
                "next_round": result.next and result.next.job,
                "missing": [each.as_dict() for each in missing],
                "skipped": [{"trial": t, "reason": r} for t, r in started.skipped],
                "price": cost.as_dict(),
            }
        )
        return
    for array in result.arrays:
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
    if result.next:
        lines.append(f"job {result.next.job} decides the next round and submits it when these have ended")
    if result.mirror:
        lines.append(
            f"job {result.mirror.job} sends all of it to MLflow ({shown(absolute_uri())}) when these have ended"
        )
    lines.append(f"next: var-sweep status {name} | var-sweep watch {name} | var-sweep cancel {name} --yes")
    out.print("\n".join(lines), soft_wrap=True)


def _name(folder: str) -> str:
    return Path(folder).name


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
        trials = {name: q for name, q in lost.items() if layout.is_trial(name)}
        causes = Counter(ends[q.job].state for q in trials.values() if q.job in ends)
        said = ", ".join(f"{n} x {state}" for state, n in causes.most_common()) or "the accounting does not say how"
        if trials:
            once = " once the stage below is mended" if len(trials) < len(lost) else ""
            lines.append(
                f"{len(trials)} left the queue unfinished ({said}): `var-sweep launch` goes on with them{once}"
            )
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
