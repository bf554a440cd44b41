"""How plans, launches and statuses look on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from var_scaling.cli.run import count, out, span
from var_scaling.families.registry import families, family_of
from var_scaling.launch.missing import failure, missing_text
from var_scaling.launch.slurm.usage import Usage
from var_scaling.launch.status import SweepStatus, TrialStatus, read_row
from var_scaling.launch.sweep import Launch, View, free_bytes
from var_scaling.planning import flops
from var_scaling.planning.plan import Plan, PlannedTrial
from var_scaling.runs import store
from var_scaling.runs.evaluations import read_evaluations
from var_scaling.runs.record import Record
from var_scaling.runs.symptoms import of_sweep

STYLES = {
    "finished": "green",
    "failed": "red",
    "running": "cyan",
    "unknown": "yellow",
    "interrupted": "yellow",
    "stopped": "yellow",
    "new": "default",
}


def _table(title: str, *columns: str, left: tuple[str, ...] = ()) -> Table:
    """A table that fits 80 columns: no rules, numbers to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        wraps = name in left and name != "trial"
        table.add_column(name, justify="left" if name in left else "right", no_wrap=not wraps)
    return table


def plan_table(plan: Plan, limit: int = 60) -> Table:
    """One line a trial: what it will do and why, what it costs; what varies with depth besides depth is shown."""
    axes = list(plan.point(plan.trials[0]))
    knobs = list(dict.fromkeys(name for t in plan.trials for name in family_of(t.config.model).knobs))
    short = (name.partition("_")[0] for name in knobs)
    columns = ("trial", "will", *axes, "params", "lr", *short, "images", "FLOPs", "time", "memory")
    table = _table(f"sweep {plan.study.name}", *columns, left=("trial", "will"))
    for trial in plan.trials[:limit]:
        config = trial.config
        table.add_row(
            _short(trial.work.folder) + ("?" if trial.provisional else ""),
            Text(trial.reason, STYLES[trial.record.state]),
            *map(_value, plan.point(trial).values()),
            count(sum(flops.params(config.model).values())),
            f"{config.train.learning_rate:.2g}",
            *(f"{value:.0e}" if (value := getattr(config.model, name, None)) else "-" for name in knobs),
            count(trial.new_images) if trial.new_images else "-",
            count(trial.new_flops) if trial.new_images else "-",
            span(trial.seconds) if trial.seconds >= 1 else "-",
            f"{count(trial.cost.memory_bytes)}B",
        )
    if len(plan.trials) > limit:
        table.add_row(f"... {len(plan.trials) - limit} more (--json lists all)")
    return table


def print_plan(plan: Plan) -> None:
    """The trials, what new ones are nearest to, and the whole."""
    out.print(plan_table(plan))
    if nearest := plan_nearest(plan):
        out.print(nearest, soft_wrap=True)
    out.print(plan_totals(plan), soft_wrap=True)


def _value(value: Any) -> str:
    """A setting as a cell: a count of thousands in short, a section by its own name where it has one."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1_000:
        return count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(folder: str) -> str:
    """`trials/var-d2-s0-c515309d2bc2` -> `d2-s0-c515309d`: long enough for the commands that take a trial."""
    return Path(folder).name.partition("-")[2][:-4]


def plan_nearest(plan: Plan, limit: int = 8) -> str:
    """For new trials, the existing trial that is nearest and the fields that differ."""
    close = [t for t in plan.trials if t.nearest and len(t.nearest[1]) <= 6]  # with more it is simply another study
    lines = [f"{_short(t.work.folder)} is new; nearest: {_nearest(t)}" for t in close]
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
        " (? = id provisional until a launch has read the image folder)"
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
                "disk_bytes": t.disk_bytes,
                "id_provisional": t.provisional,
                "nearest": t.nearest and {"trial": t.nearest[0], "differs": [list(f) for f in t.nearest[1]]},
            }
            for t in plan.trials
        ],
    }


class Bars:
    """Progress bars of a launch: one for each running work and one for all."""

    def __init__(self, launch: Launch, console: Console) -> None:
        self.launch, self.console = launch, console
        self.progress = Progress(
            TextColumn("{task.description:<34}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>4.0f} %"),
            TextColumn("{task.fields[what]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.seconds = {job.work.folder: max(job.seconds, 1.0) for job in launch.jobs}
        self.before = {t.work.folder: t for t in launch.plan.trials}
        self.attempts = {t.work.folder: t.record.attempts for t in launch.plan.trials}
        self.attempts |= {stage.folder: record.attempts for stage, record in launch.plan.stages}
        self.shares = dict.fromkeys(self.seconds, 0.0)  # of each work's price, the most that was seen
        total = sum(self.seconds.values())
        self.all = self.progress.add_task(f"all ({len(launch.jobs)} works)", total=total or 1.0, what="")
        self.told: set[str] = set()

    def __enter__(self) -> Bars:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def draw(self, view: View) -> None:
        """Show one view; works that ended are said once, with their reason if they failed."""
        done = 0.0
        for folder, record in view.records.items():
            state = view.queue.get(folder)
            name = "/".join(Path(folder).parts[-2:]) if folder.startswith("store") else Path(folder).name
            if state == "running" or record.state == "running":
                if folder not in self.tasks:
                    self.tasks[folder] = self.progress.add_task(name, total=record.total or None, what="")
                self.progress.update(
                    self.tasks[folder], completed=record.done, total=record.total or None, what=record.what
                )
            elif folder in self.tasks:
                self.progress.remove_task(self.tasks.pop(folder))
            if folder in self.shares:
                self.shares[folder] = max(self.shares[folder], self._share(folder, record))
                done += self.seconds[folder] * self.shares[folder]
            if state == "gone" and folder not in self.told:
                self.told.add(folder)
                self._tell(name, record)
        finished = sum(r.state == "finished" for r in view.records.values())
        self.progress.update(self.all, completed=done, what=f"{finished} of {len(self.launch.jobs)} done")

    def _share(self, folder: str, record: Record) -> float:
        """How much of what this launch asks of a work is done, by its price: what was there before counts for nothing.

        An attempt tells how far its present part is; that of an earlier launch had other parts.
        """
        if record.state == "finished":
            return 1.0
        part = 0.0
        if record.attempts > self.attempts.get(folder, 0) and record.total:
            part = min(record.done / record.total, 0.99)
        trial = self.before.get(folder)
        if trial is None:
            return part
        price = max(trial.seconds, 1e-9)
        if not set(trial.spent) <= set(record.rows):  # it trains all budgets, then it measures them
            return part * trial.cost.seconds / price
        asked = trial.record.missing_evaluations + len(trial.works.evaluations) * len(
            set(trial.spent) - set(trial.record.rows)
        )
        measured = 1.0 - record.missing_evaluations / asked if asked else 1.0
        return min((trial.cost.seconds + trial.evaluations.seconds * measured) / price, 0.99)

    def _tell(self, name: str, record: Record) -> None:
        if record.state == "failed":
            self.console.print(
                Text.assemble(("failed  ", "red"), f" {name}: {record.cause}: {record.message}"), soft_wrap=True
            )
        else:
            self.console.print(Text.assemble((f"{record.state:<8}", STYLES[record.state]), f" {name}"))


def row_tables(runs: Path, trials: tuple[TrialStatus, ...]) -> list[Table]:
    """One line a row: what was trained, and how good it is. A table a family, for losses of two do not compare."""
    of_family: dict[str, list[TrialStatus]] = {}
    for trial in trials:
        of_family.setdefault(Path(trial.folder).name.partition("-")[0], []).append(trial)
    return [_rows_table(runs, name, tuple(found)) for name, found in of_family.items()]


def _rows_table(runs: Path, family: str, trials: tuple[TrialStatus, ...]) -> Table:
    losses = [column for column in families()[family].losses if column.heading] if family in families() else []
    measured = {
        (t.folder, b): read_evaluations(runs / t.folder / "budgets" / str(b), t.evaluations)
        for t in trials
        for b in t.budgets
    }
    labels = list(dict.fromkeys(label for found in measured.values() for label in found))
    fids = [_fid_header(label) for label in labels]
    axes = list(dict.fromkeys(name for trial in trials for name in trial.axes))
    headings = [column.heading for column in losses]
    table = _table(f"rows of {family}", "d", "seed", *axes, "params", "images", "FLOPs", *headings, *fids, "img/s")
    for trial in sorted(trials, key=lambda t: (t.depth, t.seed)):
        for budget in trial.budgets:
            row = read_row(runs / trial.folder, budget)
            if row:
                table.add_row(
                    str(row["depth"]),
                    str(row["seed"]),
                    *(_value(trial.axes.get(name, "")) for name in axes),
                    count(row["params_total"]),
                    count(row["images_seen"]),
                    count(row["train_flops"]),
                    *(f"{row[column.name]:.4f}" if column.name in row else "" for column in losses),
                    *(_fid(measured[trial.folder, budget].get(label)) for label in labels),
                    f"{row['images_per_second']:,.0f}",
                )
    return table


def symptoms_of(runs: Path, sweep: str) -> list[str]:
    """What is wrong with finished work of a sweep, though nothing failed."""
    study = store.read_json(runs / "sweeps" / sweep / "study.json")
    return of_sweep(runs, study) if study else []


def print_symptoms(runs: Path, sweep: str) -> None:
    """`symptoms_of`, a line each."""
    for words in symptoms_of(runs, sweep):
        out.print(f"look: {words}", soft_wrap=True)


def _fid_header(label: str) -> str:
    """The whole name of a FID in lines that leave room for other columns."""
    parts = label.split("-")
    return f"FID {'-'.join(parts[:2])}\n{'-'.join(parts[2:])}"


def _fid(value: Mapping[str, Any] | None) -> str:
    """Corrected, with its interval; with several sampling seeds their mean and how many."""
    if value is None:
        return ""
    if "fid_corrected" not in value:
        return "too few images"
    seeds = f", {value['seeds']} seeds" if "seeds" in value else ""
    return f"{value['fid_corrected']:.2f} ({value['fid_low']:.2f}-{value['fid_high']:.2f}{seeds})"


def status_table(status: SweepStatus) -> Table:
    """Trials by depth: how many in which state, budgets n of m, time left by their own progress."""
    columns = ("depth", "finished", "running", "waiting", "failed", "budgets", "progress")
    table = _table(f"sweep {status.name}, launched {status.launched[:19]}", *columns, left=("progress",))
    depths = sorted({trial.depth for trial in status.trials})
    for depth in depths:
        group = [t for t in status.trials if t.depth == depth]
        states = [t.state for t in group]
        trained = sum(b in t.record.rows for t in group for b in t.budgets)
        table.add_row(
            str(depth),
            str(states.count("finished")),
            str(states.count("running") + states.count("unknown")),
            str(sum(s in ("new", "interrupted", "stopped") for s in states)),
            Text(str(states.count("failed")), "red" if "failed" in states else ""),
            f"{trained} of {sum(len(t.budgets) for t in group)}",
            _doing(group),
        )
    return table


def compared_table(
    sweep: str, trials: Sequence[TrialStatus], losses: Mapping[str, Mapping[str, float] | None], at: int
) -> Table:
    """Trials at equal progress, the best first; those that are not that far come last."""
    table = _table(f"sweep {sweep}, training loss at {at:,} images", "trial", "images", "loss", left=("trial",))
    last = float("inf")
    for trial in sorted(trials, key=lambda t: (found["train_loss"] if (found := losses[t.folder]) else last, t.folder)):
        found = losses[trial.folder]
        cells = (f"{found['images']:,.0f}", f"{found['train_loss']:.4f}") if found else ("not that far", "")
        table.add_row(_short(trial.folder), *cells)
    return table


def usage_table(sweep: str, used: Sequence[Usage]) -> Table:
    """What was asked of SLURM and what was used, a line for each class of resources."""
    table = _table(f"sweep {sweep}, asked and used", "asked", "ran", "longest", "of its time", "peak", "of its memory")
    for each in used:
        table.add_row(
            str(each.resources),
            str(each.tasks),
            span(each.seconds),
            f"{each.seconds / (60 * each.resources.minutes):.0%}",
            f"{count(each.memory_bytes)}B" if each.memory_bytes else "?",
            f"{each.memory_bytes / each.asked_bytes:.0%}" if each.memory_bytes else "?",
        )
    return table


def _doing(group: list[TrialStatus]) -> str:
    busy = [t.record for t in group if t.state in ("running", "unknown") and t.record.total]
    return ", ".join(f"{r.done / r.total:.0%} {r.what}" for r in busy[:2])


def failures_text(status: SweepStatus) -> str:
    """Failures of stages and trials grouped by cause and place, each with an example and the command that fixes it."""
    records = {n: r for n, r in status.stages.items() if r.state == "failed"}
    records |= {t.folder: t.record for group in status.failures.values() for t in group}
    return missing_text([failure(status.name, work, record) for work, record in records.items()])


def beside_text(status: SweepStatus) -> str:
    """What the table cannot show: holders that nobody can ask, and trials that have left the study."""
    unknown = [t for t in status.trials if t.state == "unknown"]
    lines = []
    if unknown:
        name = Path(unknown[0].folder).name
        lines.append(
            f"{len(unknown)} may run or not: nobody here can ask their holders (e.g. {name}, "
            f"{unknown[0].record.holder}); `var-sweep retry {status.name} {name} --take-over` starts one anew, where "
            "you know that it does not run"
        )
    if status.left:
        some = ", ".join(f"{Path(t.folder).name} ({t.queued or t.state})" for t in status.left[:3])
        lines.append(
            f"{len(status.left)} no longer in the study, but running or queued: {some}"
            f"{', ...' if len(status.left) > 3 else ''}; `var-sweep cancel {status.name} --yes` stops them as well"
        )
    return "\n".join(lines)


def live(draw: Callable[[], Table], console: Console) -> Live:
    """A table that is drawn again and again."""
    return Live(get_renderable=draw, console=console, refresh_per_second=1)
