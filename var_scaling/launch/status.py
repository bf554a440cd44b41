"""Where a sweep stands: a pure function of what is on disk and one answer from the scheduler. It writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from var_scaling.errors import RequestProblem
from var_scaling.launch.slurm.arrays import Queued, look_up, read_arrays
from var_scaling.runs import holders, layout, store
from var_scaling.runs.journal import read_effective
from var_scaling.runs.record import Record, State, read_record


@dataclass(frozen=True)
class TrialStatus:
    """One trial of a sweep."""

    folder: str  # below the runs folder
    depth: int
    seed: int
    budgets: tuple[int, ...]
    evaluations: tuple[str, ...]
    record: Record
    axes: Mapping[str, Any] = field(default_factory=dict)  # where it stands on the grid's axes besides depth and seed
    queued: Queued | None = None  # its place in a scheduler's queue, where it was given to one

    @property
    def state(self) -> str:
        return self.record.state

    def as_dict(self) -> dict[str, Any]:
        record = self.record
        return {
            "trial": Path(self.folder).name,
            "depth": self.depth,
            "seed": self.seed,
            "state": record.state,
            "cause": record.cause,
            "message": record.message,
            "attempts": record.attempts,
            "budgets": list(self.budgets),
            "trained": [b for b in self.budgets if b in record.rows],
            "done_images": record.done,
            "total_images": record.total,
            "doing": record.what,
            "queue": str(self.queued) if self.queued else None,
            "holder": str(record.holder) if record.holder and record.state in ("running", "unknown") else None,
        }


@dataclass(frozen=True)
class SweepStatus:
    """A whole sweep: its stages and its trials."""

    name: str
    folder: Path
    launched: str
    stages: Mapping[str, Record]
    trials: tuple[TrialStatus, ...]
    failures: Mapping[tuple[str, str], tuple[TrialStatus, ...]] = field(default_factory=dict)  # by cause and place
    queue: Mapping[str, Queued] = field(default_factory=dict)  # of stages and trials
    silent: str | None = None  # the scheduler's words where it gave no answer
    left: tuple[TrialStatus, ...] = ()  # no longer in the study, but they run, may run, or wait in a queue

    @property
    def busy(self) -> bool:
        """Whether anything of it runs, may run, or waits in a queue."""
        records = [*self.stages.values(), *(t.record for t in (*self.trials, *self.left))]
        mine = [*self.stages, *(t.folder for t in (*self.trials, *self.left))]
        queued = (self.queue[name].queue for name in mine if name in self.queue)
        return any(r.state in ("running", "unknown") for r in records) or any(q != "gone" for q in queued)


def find_sweep(runs: Path, name: str) -> Path:
    """A sweep's folder by name, or `last`.

    Raises:
        RequestProblem: there is no such sweep; the sentence lists those there are.
    """
    names = layout.sweep_names(runs)
    if not names:
        raise RequestProblem(
            f"no sweep has been launched under {runs}; start one with `var-sweep launch sweeps/depth.yaml`"
        )
    if name == "last":
        return max((layout.sweep(runs, each) for each in names), key=_newness)
    if name.endswith((".yaml", ".yml")):
        name = Path(name).stem if Path(name).stem in names else name
    if name not in names:
        raise RequestProblem(f"no sweep `{name}` under {runs}; there are: {', '.join(names)}")
    return layout.sweep(runs, name)


def _newness(sweep: Path) -> tuple[bool, str]:
    """What `last` is the largest of, here and in `analysis.rows.load.newest_sweep`.

    What `train` and `evaluate` leave, named after its one trial, counts only where there is nothing else.
    """
    study = store.read_json(layout.study(sweep)) or {}
    alone = [str(study.get("name")).rpartition("-")[2]] == [trial.get("trial") for trial in study.get("trials", [])]
    return not alone, str(study.get("launched") or "")


def read_status(runs: Path, name: str = "last", ask_scheduler: holders.AskScheduler | None = None) -> SweepStatus:
    """The status of one sweep, with one question to SLURM where anything of it was handed to SLURM."""
    folder = find_sweep(runs, name)
    study = store.read_json(layout.study(folder))
    queue: Mapping[str, Queued] = {}
    silent = None
    if arrays := read_arrays(runs):
        queue, answer = look_up(arrays)
        silent = answer.silent
        ask_scheduler = ask_scheduler or answer.life
    trials = []
    stages: dict[str, Record] = {}
    for entry in study["trials"]:
        for stage in entry["stages"]:
            if stage not in stages:
                stages[stage] = read_record(runs, stage, ask_scheduler=ask_scheduler)
        budgets = tuple(b["images"] for b in entry["budgets"])
        name = layout.trial_name(entry["folder"])
        record = read_record(runs, name, budgets, entry["evaluations"], ask_scheduler)
        trials.append(
            TrialStatus(
                name,
                entry["depth"],
                entry["seed"],
                budgets,
                tuple(entry["evaluations"]),
                record,
                entry.get("axes", {}),
                queue.get(name),
            )
        )
    failures: dict[tuple[str, str], list[TrialStatus]] = {}
    for trial in trials:
        if trial.record.state == "failed":
            failures.setdefault((trial.record.cause or "?", trial.record.place or ""), []).append(trial)
    return SweepStatus(
        folder.name,
        folder,
        study["launched"],
        stages,
        tuple(trials),
        {key: tuple(group) for key, group in failures.items()},
        queue,
        silent,
        tuple(_left(runs, folder.name, {t.folder for t in trials}, queue, ask_scheduler)),
    )


def _left(
    runs: Path,
    sweep: str,
    kept: Collection[str],
    queue: Mapping[str, Queued],
    ask_scheduler: holders.AskScheduler | None,
) -> Iterator[TrialStatus]:
    """Trials that the sweep asked for once and that somebody still works on, or will: an edit cancels nothing."""
    for folder in layout.trials_asked_by(runs, sweep):
        name = layout.name_of(folder)
        asked = store.read_json(layout.asked(folder, sweep))
        if name in kept or asked is None:
            continue
        budgets, evaluations = tuple(asked["budgets"]), tuple(e["name"] for e in asked["evaluations"])
        record = read_record(runs, name, budgets, evaluations, ask_scheduler)
        queued = queue.get(name)
        if record.state in ("running", "unknown") or (queued and queued.queue != "gone"):
            identity = store.read_json(layout.identity(folder)) or {}
            depth, seed = identity.get("model", {}).get("depth", 0), identity.get("seed", 0)
            yield TrialStatus(name, depth, seed, budgets, evaluations, record, queued=queued)


def select(trials: Sequence[TrialStatus], filters: Sequence[str]) -> tuple[TrialStatus, ...]:
    """Trials that match every filter: `depth=16`, `state=failed`, `cause=node`, `seed=0`, or the start of a name or id.

    Raises:
        RequestProblem: a filter with an unknown key, a value that no trial can have, or one that is no filter.
    """
    chosen = list(trials)
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals:
            chosen = [t for t in chosen if names_trial(text, Path(t.folder).name)]
        elif key in ("depth", "seed"):
            if not value.isdecimal():
                raise RequestProblem(f"`{text}`: {key} is a whole number")
            chosen = [t for t in chosen if str(getattr(t, key)) == value]
        elif key in ("state", "cause"):
            if key == "state" and value not in (states := get_args(State)):
                raise RequestProblem(f"`{text}`: a state is one of {', '.join(states)}")
            chosen = [t for t in chosen if getattr(t.record, key) == value]
        else:
            raise RequestProblem(
                f"unknown filter `{text}`; use depth=, seed=, state=, cause= or the start of a trial's name"
            )
    return tuple(chosen)


def names_trial(prefix: str, name: str) -> bool:
    """Whether a prefix means a trial: of its name, its name without the family, or its id."""
    return any(part.startswith(prefix) for part in (name, name.partition("-")[2], name.rpartition("-")[2]))


def find_trial(runs: Path, prefix: str) -> Path:
    """The folder of a trial, or of an imported model, by a unique start of its name or id.

    Raises:
        RequestProblem: no trial, or several.
    """
    folders = {folder.name: folder for folder in layout.model_folders(runs)}
    names = sorted(folders)
    found = [n for n in names if names_trial(prefix, n)]
    if len(found) != 1:
        what = f"{len(found)} trials begin with" if found else "no trial begins with"
        shown = found or names
        listed = f": {', '.join(shown[:8])}{' ...' if len(shown) > 8 else ''}" if shown else ""
        raise RequestProblem(f"{what} `{prefix}` under {runs}{listed}")
    return folders[found[0]]


def find_work(runs: Path, prefix: str) -> Path:
    """A trial's folder as by `find_trial`, or a stage's by a unique start of its id, its kind, or both (`tokens/1a2b`).

    Raises:
        RequestProblem: no work, or several.
    """
    names = {layout.name_of(folder): folder for folder in layout.stages(runs)}
    found = [
        folder
        for name, folder in names.items()
        if any(text.startswith(prefix) for text in (folder.name, layout.short_name(name), name))
    ]
    if any(names_trial(prefix, folder.name) for folder in layout.trial_folders(runs)):
        return find_trial(runs, prefix)
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(layout.short_name(layout.name_of(folder)) for folder in found[:8])
        raise RequestProblem(f"{len(found)} stages begin with `{prefix}` under {runs}: {listed}")
    return find_trial(runs, prefix)


def read_row(trial: Path, images: int) -> dict[str, Any]:
    """The row of a budget; empty where it is not trained."""
    return store.read_json(layout.row(trial, images)) or {}


def loss_at(trial: Path, images: int) -> dict[str, float] | None:
    """Training loss on the trunk when a trial had seen so many images; None: it is not that far.

    By the last line up to there, or the first where lines are further apart than that; its images are told.
    """
    lines = [line for line in read_effective(trial) if line["phase"] == "trunk" and "train/loss" in line]
    if not lines or lines[-1]["images"] < images:
        return None
    line = max((x for x in lines if x["images"] <= images), key=lambda x: x["images"], default=lines[0])
    return {"images": line["images"], "train_loss": float(line["train/loss"])}
