"""One launch that is asked for: what of which plan, where, and for how much. It checks, prices, asks, writes, starts.

An order is a plain value. A command makes one of what its user typed and hands it on as it is; whoever needs to know
something of the launch asks the order.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from var_scaling.errors import EnvironmentProblem
from var_scaling.families.registry import columns_of_families
from var_scaling.launch.folders import new_launch_folder, study_json, write_asked, write_work
from var_scaling.launch.gate import check_spend
from var_scaling.launch.price import Price, price
from var_scaling.launch.protocol import Job, Launcher, Place
from var_scaling.launch.sweep import free_bytes
from var_scaling.planning.plan import Plan, PlannedTrial
from var_scaling.planning.works import Kind
from var_scaling.runs import frozen, health, layout, pilot, store
from var_scaling.runs.record import nothing_missing

STAGE_BYTES = 2**30  # a working guess: images, a small network and its activations

# Somebody who is asked before a launch that costs much: its price, and what is to be agreed to. Returns or raises.
Agree = Callable[["Order", Price, list[str]], None]


@dataclass(frozen=True)
class Order:
    """What a launch is to do with a plan."""

    plan: Plan  # the study as things stand
    source: str  # the text of the sweep file, kept beside the results
    place: Place
    only: Callable[[PlannedTrial], bool] = lambda trial: True  # which trials to start
    pilots: frozenset[str] = frozenset()  # folders of trials that go first; the others are held until these have passed
    failed_too: bool = False  # start failed trials again (`retry`)
    first_budget_only: bool = False  # the smallest budget and no evaluation (a search asks for more as it goes)
    stages_only: tuple[Kind, ...] = ()  # stages of these kinds and what they need, and no trial
    how: Mapping[str, Any] = field(default_factory=dict)  # for `retry`: the file, overrides, a recipe, Ray's address
    most_hours: float | None = None  # --max-gpu-hours
    yes: bool = False  # launch without asking
    mlflow: bool = True  # mirror it
    then: tuple[str, ...] = ()  # a command for a job behind all others, where nobody stays (the next round's)

    @property
    def name(self) -> str:
        return self.plan.study.name

    @property
    def sweep(self) -> Path:
        """The sweep's folder."""
        return layout.sweep(self.plan.runs, self.name)

    def begin(self, agree: Agree) -> Launch:
        """Refuse what cannot be, price it, ask where it is much, and write it down; `launcher` then starts it.

        Raises:
            RequestProblem: more than was allowed, or nobody agreed.
            EnvironmentProblem: the place or the tracker is not there, or the runs folder cannot be written.
        """
        self.place.require(self.mlflow)
        cost = self.price()
        questions = check_spend(cost, self.place.profile, self.most_hours, free_bytes(self.plan.runs))
        if questions and not self.yes:
            agree(self, cost, questions)
        return self.write()

    def launcher(self) -> Launcher:
        """What starts it."""
        return self.place.launcher(self.plan.runs, self.name, self.mlflow)

    def price(self) -> Price:
        """Of what it would start."""
        states = ("finished",) if self.failed_too else ("finished", "failed")
        chosen = [t for t in self.plan.trials if self.only(t) and t.record.state not in states]
        needed = {stage.folder for trial in chosen for stage in trial.works.stages}
        stages = [cost for folder, cost in self.plan.stage_costs.items() if folder in needed]
        return price(chosen, self.place.profile, self.place.cores, stages)

    def jobs(self) -> tuple[list[Job], list[tuple[str, str]]]:
        """What there is to run, stages before what needs them, and the trials that are skipped, with the reason.

        Failed trials are started again unasked where the disk was to blame, or their node. Writes nothing.
        """
        plan, excused = self.plan, health.excused(self.sweep)
        jobs: dict[str, Job] = {}
        skipped = []
        stages = {stage.folder: (stage, record) for stage, record in plan.stages}
        for trial in plan.trials:
            if not self.only(trial):
                continue
            state = trial.record.state
            innocent = Path(trial.work.folder).name in excused or trial.record.cause == "disk"
            retried = self.failed_too or (innocent and state == "failed")
            if state == "finished" or (state in ("failed", "unknown") and not retried):
                way_out = "; `var-sweep retry --take-over` starts it anew" if state == "unknown" else ""
                skipped.append((trial.work.folder, trial.reason + way_out))
                continue
            needs = trial.work.needs if self.first_budget_only else tuple(s.folder for s in trial.works.stages)
            for need in needs:
                stage, record = stages[need]
                if record.state != "finished" and need not in jobs:
                    jobs[need] = Job(stage, stage.needs, plan.stage_costs[need].seconds, STAGE_BYTES)
            jobs[trial.work.folder] = Job(trial.work, needs, trial.seconds, trial.cost.memory_bytes)
        if self.pilots and not all(pilot.passed(plan.runs / trial) for trial in self.pilots):
            for name, job in jobs.items():
                jobs[name] = replace(job, held=job.work.kind == "trial" and name not in self.pilots)
        return list(jobs.values()), skipped

    def asked(self, trial: PlannedTrial) -> dict[str, Any]:
        """What this launch wants of a trial: budgets, evaluations, sample grids."""
        if self.first_budget_only:
            return {"budgets": list(trial.spent[:1]), "evaluations": [], "samples_grid": "off"}
        return {
            "budgets": list(trial.spent),
            "evaluations": [e.dump() for e in trial.works.evaluations],
            "samples_grid": self.plan.study.evaluate_of(trial.variant).samples_grid,
        }

    def write(self) -> Launch:
        """Write the folders of every work and of the study.

        Raises:
            EnvironmentProblem: an id is provisional, or the runs folder cannot be written.
        """
        plan = self.plan
        if provisional := [trial.work.id for trial in plan.trials if trial.provisional]:
            raise EnvironmentProblem(
                f"the id of {', '.join(provisional[:3])}{' ...' if len(provisional) > 3 else ''} is provisional, for "
                "its image folder or its tokenizer's weights have not been read; nothing is trained under such an id: "
                "`var-sweep launch` reads them first"
            )
        frozen.check_path(plan.runs)
        try:
            return self._write_stages() if self.stages_only else self._write()
        except OSError as error:
            raise EnvironmentProblem(
                f"the runs folder {plan.runs} cannot be written ({error.strerror or error}); free space, mend its "
                "permissions, or choose another with --runs"
            ) from None

    def _write(self) -> Launch:
        plan = self.plan
        folder = new_launch_folder(self.sweep)
        jobs, skipped = self.jobs()
        for trial in plan.trials:
            write_work(plan.runs, trial.work)
            write_asked(plan.runs / trial.work.folder, self.name, self.asked(trial))
        for job in jobs:
            if job.work.kind != "trial":  # trials are written above, also those that are not started
                write_work(plan.runs, job.work)
        os.sync()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        known = store.read_json(layout.columns(plan.runs)) or {}  # of a family whose package has gone the rows remain
        store.write_json(layout.columns(plan.runs), {**known, **columns_of_families()})
        store.write_bytes(layout.study_source(self.sweep), self.source.encode())
        store.write_json(layout.study(self.sweep), study_json(plan, now))
        store.write_json(
            layout.launch_note(folder),
            {
                "launched": now,
                "launcher": self.place.name,
                "jobs": [j.work.folder for j in jobs],
                "skipped": skipped,
                "how": self.how,
            },
        )
        for name, content in self.place.keeps.items():
            store.write_bytes(folder / name, content)
        if any(job.held for job in jobs):
            said = {t.work.folder: pilot.Prediction(t.new_images, t.cost.seconds, t.cost.source) for t in plan.trials}
            pilot.write_gate(folder, {trial: said[trial] for trial in sorted(self.pilots)})
        return Launch(self, folder, tuple(jobs), tuple(skipped))

    def _write_stages(self) -> Launch:
        """Stages alone leave no study behind: they are shared, and content-addressed."""
        plan = self.plan
        by_folder = {stage.folder: stage for stage, _ in plan.stages}
        wanted = [stage for stage in by_folder.values() if stage.kind in self.stages_only]
        for stage in wanted:  # grows while it is read: what is needed by what is needed
            wanted += [by_folder[need] for need in stage.needs if by_folder[need] not in wanted]
        missing = [stage for stage in wanted if not nothing_missing(plan.runs / stage.folder)]
        for stage in missing:
            write_work(plan.runs, stage)
        os.sync()
        jobs = tuple(Job(stage, stage.needs, plan.stage_costs[stage.folder].seconds, STAGE_BYTES) for stage in missing)
        folder = layout.store(plan.runs)
        folder.mkdir(parents=True, exist_ok=True)
        return Launch(self, folder, jobs, ())


@dataclass(frozen=True)
class Launch:
    """An order that is written down."""

    order: Order
    folder: Path  # runs/sweeps/<name>/launches/<NNN>
    jobs: tuple[Job, ...]
    skipped: tuple[tuple[str, str], ...]  # trials that are not started, with the reason

    @property
    def plan(self) -> Plan:
        return self.order.plan


def smallest_and_largest(plan: Plan) -> frozenset[str]:
    """The two trials (one, in a study of one) that show first what a study costs and whether it runs."""
    by_size = sorted(plan.trials, key=lambda t: (t.config.model.depth, t.config.seed))
    return frozenset({by_size[0].work.folder, by_size[-1].work.folder})


def to_retry(plan: Plan, chosen: Collection[str], take_over: bool) -> Callable[[PlannedTrial], bool]:
    """Which of the chosen trials (by folder) failed, or wait for a stage that did.

    Args:
        plan: the study as things stand.
        chosen: folders of the trials that may be started.
        take_over: start those too of which nobody can say whether their holder lives.
    """
    states = ("failed", "unknown") if take_over else ("failed",)
    stages = {stage.folder for stage, record in plan.stages if record.state in states}

    def wanted(trial: PlannedTrial) -> bool:
        waits = trial.record.runnable and any(stage.folder in stages for stage in trial.works.stages)
        return trial.work.folder in chosen and (trial.record.state in states or waits)

    return wanted
