"""A launch: write down what is asked, hand what is missing to a launcher, and watch until it is done."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem
from var_scaling.families.registry import columns_of_families
from var_scaling.launch.protocol import Job, Launcher, Queue
from var_scaling.launch.wishes import leave_wishes
from var_scaling.planning.plan import Plan, PlannedTrial
from var_scaling.planning.works import Kind, Work
from var_scaling.runs import frozen, health, pilot, store
from var_scaling.runs.record import Record, nothing_missing, read_record, row_path


@dataclass(frozen=True)
class Launch:
    """One launch of one study."""

    plan: Plan
    folder: Path  # runs/sweeps/<name>/launches/<NNN>
    jobs: tuple[Job, ...]
    skipped: tuple[tuple[str, str], ...]  # trials that are not started, with the reason
    first_budget_only: bool = False


STAGE_BYTES = 2**30  # a working guess: images, a small network and its activations


def sweep_folder(runs: Path, name: str) -> Path:
    """What a study asked for, its launches, laws and figures."""
    return runs / "sweeps" / name


def prepare(
    plan: Plan,
    source: str,
    launcher: str,
    *,
    only: Callable[[PlannedTrial], bool] = lambda trial: True,
    pilots: Collection[str] = (),
    first_budget_only: bool = False,
    failed_too: bool = False,
    stages_only: Collection[Kind] = (),
    how: Mapping[str, Any] | None = None,
) -> Launch:
    """Write the folders of every work and of the study, and say what there is to run.

    Args:
        plan: the study as things stand.
        source: the text of the sweep file, kept beside the results.
        launcher: its name, for the launch's own record.
        only: which trials to start.
        pilots: folders of the trials that go first; the other trials are held until these have passed.
        first_budget_only: ask for the smallest budget and no evaluation (a search asks for more as it goes).
        failed_too: start failed trials again (`retry`).
        how: what else it takes to plan the same again (overrides, a recipe), for `retry`.
        stages_only: start stages of these kinds and what they need, and no trial.

    Raises:
        EnvironmentProblem: the runs folder cannot be written.
    """
    if provisional := [trial.work.id for trial in plan.trials if trial.provisional]:
        raise EnvironmentProblem(
            f"the id of {', '.join(provisional[:3])}{' ...' if len(provisional) > 3 else ''} is provisional, for its "
            "image folder has not been read; nothing is trained under such an id: `var-sweep launch` reads it first"
        )
    frozen.check_path(plan.runs)
    try:
        if stages_only:
            return _prepare_stages(plan, stages_only)
        return _prepare(plan, source, launcher, only, frozenset(pilots), first_budget_only, failed_too, how or {})
    except OSError as error:
        raise EnvironmentProblem(
            f"the runs folder {plan.runs} cannot be written ({error.strerror or error}); free space, mend its "
            "permissions, or choose another with --runs"
        ) from None


def _prepare(
    plan: Plan,
    source: str,
    launcher: str,
    only: Callable[[PlannedTrial], bool],
    pilots: frozenset[str],
    first_budget_only: bool,
    failed_too: bool,
    how: Mapping[str, Any],
) -> Launch:
    name = plan.study.name
    folder = sweep_folder(plan.runs, name)
    launch = _new_launch_folder(folder)
    excused = health.excused(folder / "launches")
    jobs, skipped = missing_jobs(plan, only, pilots, first_budget_only, failed_too, excused)
    for trial in plan.trials:
        budgets = trial.spent[:1] if first_budget_only else trial.spent
        evaluations = [] if first_budget_only else trial.works.evaluations
        _write_work(plan.runs, trial.work)
        _write_asked(
            plan.runs / trial.work.folder,
            name,
            {
                "budgets": list(budgets),
                "evaluations": [e.dump() for e in evaluations],
                "samples_grid": "off" if first_budget_only else plan.study.evaluate_of(trial.variant).samples_grid,
            },
        )
    for job in jobs:
        if job.work.kind != "trial":  # trials are written above, also those that are not started
            _write_work(plan.runs, job.work)
    os.sync()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    known = store.read_json(plan.runs / "columns.json") or {}  # of a family whose package has gone the rows remain
    store.write_json(plan.runs / "columns.json", {**known, **columns_of_families()})
    store.write_bytes(folder / "study.yaml", source.encode())
    store.write_json(folder / "study.json", _study_json(plan, now))
    store.write_json(
        launch / "launch.json",
        {
            "launched": now,
            "launcher": launcher,
            "jobs": [j.work.folder for j in jobs],
            "skipped": skipped,
            "how": how,
        },
    )
    if any(job.held for job in jobs):
        said = {t.work.folder: pilot.Prediction(t.new_images, t.cost.seconds, t.cost.source) for t in plan.trials}
        pilot.write_gate(launch, {folder: said[folder] for folder in sorted(pilots)})
    return Launch(plan, launch, tuple(jobs), tuple(skipped), first_budget_only)


def missing_jobs(
    plan: Plan,
    only: Callable[[PlannedTrial], bool] = lambda trial: True,
    pilots: frozenset[str] = frozenset(),
    first_budget_only: bool = False,
    failed_too: bool = False,
    excused: frozenset[str] = frozenset(),
) -> tuple[list[Job], list[tuple[str, str]]]:
    """What there is to run, stages before what needs them, and the trials that are skipped, with the reason.

    Failed trials are started again unasked where the disk was to blame, or their node (`excused`). Writes nothing.
    """
    jobs: dict[str, Job] = {}
    skipped = []
    stages = {stage.folder: (stage, record) for stage, record in plan.stages}
    for trial in plan.trials:
        if not only(trial):
            continue
        state = trial.record.state
        innocent = Path(trial.work.folder).name in excused or trial.record.cause == "disk"
        retried = failed_too or (innocent and state == "failed")
        if state == "finished" or (state in ("failed", "unknown") and not retried):
            way_out = "; `var-sweep retry --take-over` starts it anew" if state == "unknown" else ""
            skipped.append((trial.work.folder, trial.reason + way_out))
            continue
        needs = trial.work.needs if first_budget_only else tuple(s.folder for s in trial.works.stages)
        for need in needs:
            stage, record = stages[need]
            if record.state != "finished" and need not in jobs:
                jobs[need] = Job(stage, stage.needs, plan.stage_costs[need].seconds, STAGE_BYTES)
        jobs[trial.work.folder] = Job(trial.work, needs, trial.seconds, trial.cost.memory_bytes)
    if pilots and not all(pilot.passed(plan.runs / trial) for trial in pilots):
        for name, job in jobs.items():
            jobs[name] = replace(job, held=job.work.kind == "trial" and name not in pilots)
    return list(jobs.values()), skipped


@dataclass(frozen=True)
class Leaving:
    """What a sweep has had so far and a plan of the same name does not ask for."""

    rows: int  # that are trained
    of: int  # rows that it has
    unfinished: int  # trials without all their rows: if they run, they run on

    def __str__(self) -> str:
        parts = []
        if self.rows:
            parts.append(
                f"{self.rows} of its {self.of} rows are no longer in the study (they stay on disk, but status, "
                "fit-laws and the rest leave them out)"
            )
        if self.unfinished:
            parts.append(
                f"{self.unfinished} unfinished trials are no longer in the study; what runs of them runs on until "
                "`var-sweep cancel`"
            )
        return "; ".join(parts)


def leaving(plan: Plan) -> Leaving:
    """Compare a plan with what was launched last under its name."""
    known = store.read_json(sweep_folder(plan.runs, plan.study.name) / "study.json") or {"trials": []}
    asked = {Path(t.work.folder).name: set(t.spent) for t in plan.trials}
    rows = of = unfinished = 0
    for trial in known["trials"]:
        folder = plan.runs / "trials" / trial["folder"]
        budgets = {budget["images"] for budget in trial["budgets"]}
        have = {images for images in budgets if row_path(folder, images).exists()}
        of += len(have)
        rows += len(have - asked.get(trial["folder"], set()))
        unfinished += trial["folder"] not in asked and have != budgets and bool(store.attempt_numbers(folder))
    return Leaving(rows, of, unfinished)


def smallest_and_largest(plan: Plan) -> frozenset[str]:
    """The two trials (one, in a study of one) that show first what a study costs and whether it runs."""
    by_size = sorted(plan.trials, key=lambda t: (t.config.model.depth, t.config.seed))
    return frozenset({by_size[0].work.folder, by_size[-1].work.folder})


def _prepare_stages(plan: Plan, kinds: Collection[Kind]) -> Launch:
    """Stages alone leave no study behind: they are shared, and content-addressed."""
    by_folder = {stage.folder: stage for stage, _ in plan.stages}
    wanted = [stage for stage in by_folder.values() if stage.kind in kinds]
    for stage in wanted:  # grows while it is read: what is needed by what is needed
        wanted += [by_folder[need] for need in stage.needs if by_folder[need] not in wanted]
    missing = [stage for stage in wanted if not nothing_missing(plan.runs / stage.folder)]
    for stage in missing:
        _write_work(plan.runs, stage)
    os.sync()
    jobs = tuple(Job(stage, stage.needs, plan.stage_costs[stage.folder].seconds, STAGE_BYTES) for stage in missing)
    folder = plan.runs / "store"
    folder.mkdir(parents=True, exist_ok=True)
    return Launch(plan, folder, jobs, ())


def _new_launch_folder(folder: Path) -> Path:
    launches = folder / "launches"
    launches.mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in launches.iterdir() if p.name.isdecimal()), default=-1) + 1
    while True:  # two launches at once take different numbers
        try:
            (launches / f"{number:03d}").mkdir()
            return launches / f"{number:03d}"
        except FileExistsError:
            number += 1


def _study_json(plan: Plan, now: str) -> dict[str, Any]:
    return {
        "name": plan.study.name,
        "description": plan.study.description,
        "launched": now,
        "trials": [
            {
                "trial": trial.work.id,
                "folder": Path(trial.work.folder).name,
                "depth": trial.config.model.depth,
                "seed": trial.config.seed,
                "axes": {name: _plain(value) for name, value in plan.point(trial).items()},
                "budgets": [{"asked": asked, "images": images} for asked, images in trial.budgets],
                "evaluations": [e.name for e in trial.works.evaluations],
                "stages": [s.folder for s in trial.works.stages],
            }
            for trial in plan.trials
        ],
        "evaluations": _unique([e.dump() for trial in plan.trials for e in trial.works.evaluations]),
    }


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return list(value) if isinstance(value, tuple) else value


def _unique(values: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({value["name"]: value for value in values}.values())


def _write_work(runs: Path, work: Work) -> None:
    """Write a work's folder where it is not there; identity never changes, execution and placement may.

    Not durable one by one, which would be a thousand waits for the disk: `_prepare` syncs once, before anything runs.
    """
    folder = runs / work.folder
    if not (folder / "identity.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        store.write_bytes(folder / "config.yaml", yaml.dump(work.config).encode(), durable=False)
        store.write_json(folder / "needs.json", list(work.needs), durable=False)
        store.write_json(folder / "identity.json", work.identity, durable=False)
    elif (folder / "config.yaml").read_bytes() != (text := yaml.dump(work.config).encode()):
        store.write_bytes(folder / "config.yaml", text)


def _write_asked(folder: Path, study: str, asked: Mapping[str, Any]) -> None:
    (folder / "asked").mkdir(exist_ok=True)
    path = folder / "asked" / f"{study}.json"
    if store.read_json(path) != asked:
        store.write_json(path, asked, durable=False)


def ask_to_withdraw(sweep: Path, works: Sequence[str]) -> dict[str, str]:
    """Leave the wish to cancel where launchers that stay look for it (SLURM's queue is asked itself).

    Returns:
        Launches whose folder does not take it, with the reason.
    """
    failed = {}
    for launch in sorted((sweep / "launches").glob("[0-9]*")):
        if (store.read_json(launch / "launch.json") or {}).get("launcher") in ("local", "ray"):
            try:
                leave_wishes(launch, works)
            except OSError as error:
                why = f"{error.strerror or error}: what waits in that launch goes on; its user can cancel it"
                failed[f"launch {launch.name}"] = why
    return failed


# ---- watching -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A launch at one moment, for whoever draws it."""

    queue: Mapping[str, Queue]
    records: Mapping[str, Record]


def follow(launch: Launch, launcher: Launcher, draw: Callable[[View], None], poll_seconds: float = 0.2) -> View:
    """Ask the launcher until nothing is queued or running, drawing each view; returns the last one."""
    runs = launch.plan.runs
    trials = {t.work.folder: t for t in launch.plan.trials}
    known: dict[str, tuple[Queue | None, Record]] = {}
    while True:
        queue = launcher.states()
        records = {}
        for job in launch.jobs:
            folder = job.work.folder
            before = known.get(folder)
            if before and before[0] == queue.get(folder) != "running":  # it waits, or is over: thousands may
                records[folder] = before[1]
                continue
            trial = trials.get(folder)
            record = read_record(
                runs,
                folder,
                _asked_budgets(runs / folder, launch.plan.study.name) if trial else (),
                [e.name for e in trial.works.evaluations] if trial else (),
            )
            records[folder] = record
            known[folder] = queue.get(folder), record
        view = View(queue, records)
        draw(view)
        if all(state == "gone" for state in queue.values()):
            return view
        time.sleep(poll_seconds)


def _asked_budgets(folder: Path, study: str) -> tuple[int, ...]:
    asked = store.read_json(folder / "asked" / f"{study}.json") or {}
    return tuple(asked.get("budgets", ()))


def free_bytes(runs: Path) -> int:
    """Free space where the runs folder is, or will be."""
    while not runs.exists():
        runs = runs.parent
    return shutil.disk_usage(runs).free
