"""A study laid out before anything is spent: every trial, what it will do and why, what it costs, what is shared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from var_scaling.config.data import FOLDER_SETS, folder_notes, folder_path, missing_folder
from var_scaling.config.evaluate import too_few_images
from var_scaling.config.image_manifest import Manifests
from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.families.registry import family_of
from var_scaling.planning import estimate, flops, identity
from var_scaling.planning.imported import Imports
from var_scaling.planning.prices import Prices, WorkCost
from var_scaling.planning.resolve import asked_images, branch_point, resolve, sampler_of
from var_scaling.planning.study import Study
from var_scaling.planning.trial import TrialConfig
from var_scaling.planning.works import TrialWorks, Work, works_of
from var_scaling.runs import holders, layout, store
from var_scaling.runs.journal import durable_images
from var_scaling.runs.record import Record, read_record
from var_scaling.runs.symptoms import of_guidance


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a study as things stand."""

    config: TrialConfig  # resolved
    works: TrialWorks
    budgets: tuple[tuple[int, int], ...]  # (asked, spent) images
    record: Record
    new_images: int  # still to be trained, over trunk and branches
    new_flops: int
    cost: estimate.Cost
    evaluations: WorkCost  # those that are missing, of budgets trained and to be trained
    provisional: bool
    variant: str = ""  # of the study, where it has any
    nearest: tuple[str, tuple[tuple[str, Any, Any], ...]] | None = None  # of a new trial: an existing one, what differs

    @property
    def work(self) -> Work:
        return self.works.trial

    @property
    def seconds(self) -> float:
        """Training and evaluations, on one device."""
        return self.cost.seconds + self.evaluations.seconds

    @property
    def disk_bytes(self) -> int:
        return (self.cost.disk_bytes if self.new_images else 0) + self.evaluations.disk_bytes

    @property
    def freed_bytes(self) -> int:
        """What `execution.keep` saves on disk beside `all`."""
        budgets, execution = len(self.budgets), self.config.execution.keep
        every, kept = (estimate.kept_bytes(self.config, budgets, keep) for keep in ("all", execution))
        return every - kept

    @property
    def spent(self) -> tuple[int, ...]:
        return tuple(images for _, images in self.budgets)

    @property
    def reason(self) -> str:
        """What a launch will do with it, in a few words."""
        record = self.record
        if record.state == "finished":
            return "finished"
        if record.state == "failed":
            return f"failed: {record.cause}"
        if record.state in ("running", "unknown"):
            return f"{record.state}: {record.holder}"
        trained = sum(images in record.rows for images in self.spent)
        if trained == len(self.budgets):
            return f"evaluate {record.missing_evaluations} more"
        if record.attempts:
            at = f" at {record.done:,.0f} of {record.total:,.0f} images" if record.total else ""
            return f"resume{at}" if trained == 0 else f"resume: {trained} of {len(self.budgets)} budgets trained"
        return "new"


@dataclass(frozen=True)
class Plan:
    """A study, its trials, and the stages that they share."""

    study: Study
    runs: Path
    trials: tuple[PlannedTrial, ...]
    stages: tuple[tuple[Work, Record], ...]  # each once, in an order in which they can be built
    stage_costs: Mapping[str, WorkCost]  # by folder, of those that are not finished
    notes: tuple[str, ...] = ()  # on the data that it stands on, a sentence each

    @property
    def axes(self) -> tuple[tuple[str, str], ...]:
        """The grid's own axes besides depth and seed, as (path, name of a column); variants are one more (`point`)."""
        paths = [path for path in self.study.grid if path not in ("model.depth", "seed")]
        short = [path.rpartition(".")[2] for path in paths]
        return tuple((path, s if short.count(s) == 1 else path) for path, s in zip(paths, short, strict=True))

    def point(self, trial: PlannedTrial) -> dict[str, Any]:
        """Where a trial stands on each of these axes."""
        variant = {"variant": trial.variant} if trial.variant else {}
        return variant | {name: _at(trial.config, path) for path, name in self.axes}

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        result: dict[str, int] = {}
        for trial in self.trials:
            word = trial.reason.split(":")[0].split(" ")[0]
            result[word] = result.get(word, 0) + 1
        return result


def _at(config: Any, path: str) -> Any:
    """The value at a dotted path of a config."""
    return functools.reduce(lambda part, key: getattr(part, key, None), path.split("."), config)


def make_plan(
    study: Study,
    configs: Sequence[TrialConfig],
    runs: Path,
    device: str | None = None,
    ask_scheduler: holders.AskScheduler | None = None,
    manifests: Manifests | None = None,
    imports: Imports | None = None,
    chosen: Mapping[str, Collection[int]] | None = None,
) -> Plan:
    """Resolve every trial and look up what is there already. Reads the runs folder, writes nothing.

    Args:
        study: as it was read.
        configs: its trials, unresolved.
        runs: the runs folder.
        device: price it on this device.
        ask_scheduler: see `holders.life`.
        manifests: of image folders (`plan_to_launch`); None looks, and writes nothing.
        imports: of weights from elsewhere, as `manifests`.
        chosen: budgets spent, by trial's folder, that a pursuit has chosen: the plan is of those alone; None: of all.

    Raises:
        RequestProblem: every contradiction in the study at once.
    """
    manifests, imports = manifests or Manifests(layout.store(runs)), imports or Imports(runs)
    problems: dict[str, None] = {}
    resolved: list[tuple[str, TrialConfig, TrialWorks, tuple[tuple[int, int], ...]]] = []
    for point, config in enumerate(configs):
        variant = study.variant_of(point, len(configs))
        try:
            whole = resolve(config, manifests, imports)
            works = works_of(whole, study.evaluate_of(variant))
            budgets = asked_images(whole, study.budgets_of(variant))
            if chosen is not None:
                budgets = tuple(pair for pair in budgets if pair[1] in chosen.get(works.trial.folder, ()))
            if budgets:
                resolved.append((variant, whole, works, budgets))
        except RequestProblem as error:
            problems.update(dict.fromkeys(error.problems))
        except ValueError as error:
            problems[str(error)] = None
    if problems:
        raise RequestProblem(*problems)
    rates, prices = estimate.measured_rates(runs), Prices(runs, device)
    trials, seen, stages = [], set(), {}
    for variant, config, works, budgets in resolved:
        if works.trial.folder in seen:
            raise RequestProblem(f"two points of the study are the same trial {works.trial.folder}; remove one of them")
        seen.add(works.trial.folder)
        record = read_record(
            runs, works.trial, [images for _, images in budgets], [e.name for e in works.evaluations], ask_scheduler
        )
        planned = _plan_trial(runs, config, works, budgets, record, rates, device, prices)
        trials.append(replace(planned, variant=variant))
        stages.update({stage.folder: stage for stage in works.stages})
    records = tuple((stage, read_record(runs, stage, ask_scheduler=ask_scheduler)) for stage in stages.values())
    costs = {stage.folder: prices.stage(stage) for stage, record in records if record.state != "finished"}
    notes = (*_notes(trials, manifests), *_guidance_notes(trials), *_device_notes(trials), *_keeping_notes(trials))
    return Plan(study, runs, tuple(_with_nearest(trials, runs)), records, costs, notes)


def plan_to_launch(
    study: Study,
    configs: Sequence[TrialConfig],
    runs: Path,
    device: str | None = None,
    ask_scheduler: holders.AskScheduler | None = None,
    tell: Callable[[str], None] = lambda text: None,
    chosen: Mapping[str, Collection[int]] | None = None,
) -> Plan:
    """`make_plan`, with image folders read to the byte and weights read, so that ids are final. Writes into the store.

    Args:
        study: as for `make_plan`, like what follows.
        configs: see there.
        runs: see there.
        device: see there.
        ask_scheduler: see there.
        tell: told of what takes long.
        chosen: see there.

    Raises:
        RequestProblem: every contradiction in the study at once, before anything is read or written.
        EnvironmentProblem: an image folder or a file of weights is not on this machine, or cannot be read.
    """
    imports = Imports(runs, build=True, tell=tell)
    plan = make_plan(study, configs, runs, device, ask_scheduler, imports=imports, chosen=chosen)
    of_files = [t.config for t in plan.trials if t.config.data.name in FOLDER_SETS]
    for config in of_files:
        folder = folder_path(config.data, config.placement.image_folder)
        if not folder.is_dir():
            raise EnvironmentProblem(f"{missing_folder(config.data, folder)} (the study can be planned without it)")
    if all(config.data.name != "imagefolder" for config in of_files):
        return plan
    manifests = Manifests(layout.store(runs), build=True, tell=tell)
    return make_plan(study, configs, runs, device, ask_scheduler, manifests, imports, chosen)


def _notes(trials: Sequence[PlannedTrial], manifests: Manifests) -> tuple[str, ...]:
    """What is to be said of the data of a study, once each: its image folders, and what they are too few for."""
    notes: dict[str, None] = {}
    for data, image_folder in dict.fromkeys((t.config.data, t.config.placement.image_folder) for t in trials):
        if data.name == "imagefolder" and (folder := folder_path(data, image_folder)).is_dir():
            notes.update(dict.fromkeys(folder_notes(data, manifests.of(folder))))
    for evaluation in dict.fromkeys(e.config for t in trials for e in t.works.evaluations):
        notes.update(dict.fromkeys(too_few_images(evaluation).values()))
    return tuple(notes)


def _guidance_notes(trials: Sequence[PlannedTrial]) -> tuple[str, ...]:
    """Guidance of samples that cannot do what its number says, once each."""
    notes: dict[str, None] = {}
    for trial in trials:
        model, label_drop = trial.config.model, trial.config.train.label_drop
        assert label_drop is not None, "resolve the config first"
        guidances = [float(each.config.fid.sampler["guidance"]) for each in trial.works.evaluations]
        means = [
            family_of(model).mean_guidance(model, sampler_of(model, each.config.fid))
            for each in trial.works.evaluations
        ]
        notes.update(dict.fromkeys(of_guidance(label_drop, zip(guidances, means, strict=True))))
    return tuple(notes)


def _device_notes(trials: Sequence[PlannedTrial]) -> tuple[str, ...]:
    """What a GPU makes of the trials: micro-batches that were chosen, and where it would wait for Python."""
    chosen: dict[int, set[int]] = {}
    waiting: dict[int, str] = {}
    for trial in trials:
        config, cost = trial.config, trial.cost
        share = config.train.batch_size // config.placement.gpus
        if not trial.new_images:
            continue
        if config.execution.micro_batch is None and cost.micro_batch < share:
            chosen.setdefault(cost.micro_batch, set()).add(config.model.depth)
        if cost.waits_below:
            waiting[config.model.depth] = f"d{config.model.depth} at {cost.micro_batch} (from {cost.waits_below} not)"
    notes = []
    if chosen:
        depths = [
            f"{micro} at {', '.join(f'd{d}' for d in sorted(at))}" for micro, at in sorted(chosen.items(), reverse=True)
        ]
        notes.append(f"micro-batch, the most that fits the card (execution.micro_batch sets it): {'; '.join(depths)}")
    if waiting:
        notes.append(
            "the GPU waits for Python at so few images a micro-batch, which the hours count: "
            f"{', '.join(waiting[depth] for depth in sorted(waiting))}; fewer GPUs a trial, or execution.compile, help"
        )
    return tuple(notes)


def _keeping_notes(trials: Sequence[PlannedTrial]) -> tuple[str, ...]:
    """What it will cost later that a trial's checkpoints are not kept."""
    notes = []
    for keep, what in (("last", "below the largest"), ("none", "added later")):
        some = [t for t in trials if t.new_images and t.config.execution.keep == keep]
        if not some:
            continue
        images = [(t, max(branch_point(t.config, b) for b in t.spent)) for t in some]
        again = sum(n * flops.train_flops_per_image(t.config.model) for t, n in images)
        freed = sum(t.freed_bytes for t in some)
        notes.append(
            f"execution.keep = {keep} frees {freed / 1e9:.3g} GB of checkpoints when trials end; a budget {what} "
            f"trains its trunk again, up to {again:.2g} FLOPs over these {len(some)} trials"
        )
    return tuple(notes)


def new_images(
    config: TrialConfig,
    budgets: Sequence[int],
    rows: Sequence[int],
    durable: Mapping[str, int] | None = None,
    points: Sequence[int] | None = None,
) -> int:
    """Images to train for the budgets without a row: the trunk once, a branch each, less what checkpoints hold.

    Args:
        config: of the trial.
        budgets: that are asked for, in images spent.
        rows: budgets that are trained.
        durable: images up to which each phase was saved (`journal.durable_images`).
        points: images at which the trunk was kept (`store.branch_points`); None: at the branch points of all rows.
    """
    saved = durable or {}
    held = {0, saved.get("trunk", 0), *([branch_point(config, b) for b in rows] if points is None else points)}
    images = 0
    for budget in sorted(set(budgets) - set(rows)):
        start, branch = branch_point(config, budget), saved.get(f"anneal_{budget}")
        if branch is None:
            images += start - max(point for point in held if point <= start)
            held.add(start)
        images += budget - (start if branch is None else branch)
    return images


def _plan_trial(
    runs: Path,
    config: TrialConfig,
    works: TrialWorks,
    budgets: tuple[tuple[int, int], ...],
    record: Record,
    rates: Sequence[estimate.Rate],
    device: str | None,
    prices: Prices,
) -> PlannedTrial:
    spent = tuple(images for _, images in budgets)
    going_on = record.attempts > 0 and record.state != "finished"
    folder = runs / works.trial.folder
    durable, points = (durable_images(folder), store.branch_points(folder)) if going_on else ({}, None)
    if points is not None and not any(store.checkpoint_files(folder, "trunk")):
        durable.pop("trunk", None)  # it was saved, and is no longer kept
    images = new_images(config, spent, record.rows, durable, points)
    unmeasured = record.missing_evaluations + len(set(spent) - set(record.rows)) * len(works.evaluations)
    return PlannedTrial(
        config,
        works,
        budgets,
        record,
        images,
        images * flops.train_flops_per_image(config.model),
        estimate.cost(config, images, len(budgets), rates, device),
        prices.evaluations(config, works.evaluations, unmeasured),
        identity.provisional(works.trial.identity),
    )


def _with_nearest(trials: Sequence[PlannedTrial], runs: Path) -> list[PlannedTrial]:
    """Add to every new trial the existing trial that differs in the fewest fields."""
    if not any(trial.record.state == "new" for trial in trials):
        return list(trials)
    existing = _existing_leaves(runs)
    if not existing:
        return list(trials)
    mine = {t.work.folder: frozenset(identity.flatten(t.work.identity)) for t in trials if t.record.state == "new"}
    # What all have in common decides nothing; without it a thousand against a thousand takes a fraction of a second.
    common = frozenset.intersection(*existing.values(), *mine.values())
    theirs = {name: leaves - common for name, leaves in existing.items()}
    names = {t.work.folder: Path(t.work.folder).name for t in trials}
    result = []
    for trial in trials:
        if trial.work.folder in mine:
            own = mine[trial.work.folder] - common
            # A launch that has not begun has left the trial's own folder: it is not what it differs least from.
            others = [n for n in theirs if n != names[trial.work.folder]]
            if not others:
                result.append(trial)
                continue
            name = min(others, key=lambda n: (len(own ^ theirs[n]), n))
            old, new = dict(theirs[name]), dict(own)
            fields = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
            trial = replace(trial, nearest=(name, tuple((k, old.get(k), new.get(k)) for k in fields)))
        result.append(trial)
    return result


def _existing_leaves(runs: Path) -> dict[str, frozenset[tuple[str, Any]]]:
    """The identity of every trial on disk, as a set of (path, value)."""
    found = {folder.name: store.read_json(layout.identity(folder)) for folder in layout.trial_folders(runs)}
    return {name: frozenset(identity.flatten(whole)) for name, whole in found.items() if whole}
