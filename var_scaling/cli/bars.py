"""Progress bars of a launch."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from var_scaling.cli.tables import STYLES
from var_scaling.launch.follow import View
from var_scaling.launch.order import Launch
from var_scaling.runs import layout
from var_scaling.runs.record import Record


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
            name = layout.short_name(folder)
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
