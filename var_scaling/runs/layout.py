"""Every path below a runs folder; no other file spells one. Standard library only.

    <runs>/
        columns.json                    every column of a row, by family
        folder.json                     the name of this folder, for trackers that several folders write to
        trials/<name>/                  a work
        store/<kind>/<key>/             a work
        store/code/<hash>/              code as it was at a launch
        store/features/ manifests/      of reference images; of image folders
        store/weights/ logs/            of somebody's files, by content; of workers of stages alone
        doctor/                         what `var-sweep doctor` asked a node
        sweeps/<name>/                  a sweep
            study.yaml study.json       as it was launched last
            laws/ mirror/ pursuit/      what was fitted, told to a tracker, decided
            launches/<NNN>/             a launch
                launch.json profile.yaml pilot.json
                early-failures/ cancel/ logs/
                slurm/ ray/             a launcher's own files

Functions take the folder that they look into, so that a path never depends on where else something lies. A work, an
attempt, a launch are given by their folders; a *name* of a work is its folder below the runs folder, as text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from glob import escape
from pathlib import Path
from typing import Any


def _below(name: str) -> Callable[[Path], Path]:
    """A file or folder that has the same name in every folder of its kind; beside each: whose, and what it is."""
    return lambda folder: folder / name


def _each(pattern: str) -> Callable[[Path, Any], Path]:
    """The same of files or folders that differ by a name or number, which the pattern holds a place for."""
    return lambda folder, key: folder / pattern.format(key)


# ---- names of works -------------------------------------------------------------------------------------------------


def trial_name(folder: str) -> str:
    """The name of a trial's work by that of its folder."""
    return f"trials/{folder}"


def stage_name(kind: str, key: str) -> str:
    """The name of a stage's work."""
    return f"store/{kind}/{key}"


def is_trial(work: str | Path) -> bool:
    """Whether a work, by name or folder, is a trial; else it is a stage."""
    return Path(work).parent.name == "trials"


def is_import(work: str | Path) -> bool:
    """Whether a stage is an imported model."""
    return Path(work).parent.name == "import"


def has_budgets(work: str | Path) -> bool:
    """Whether a work is a model, which has budgets and no result; of an imported one, a single one of 0 images."""
    return is_trial(work) or is_import(work)


def kind_of_stage(name: str) -> str:
    """Of a stage's name."""
    return name.split("/")[1]


def name_of(work: Path) -> str:
    """The name of a work by its folder."""
    return "/".join(work.parts[-2:] if is_trial(work) else work.parts[-3:])


def short_name(name: str) -> str:
    """A work's name as a person reads and writes it: a trial's folder, a stage's kind and key."""
    return name.removeprefix("trials/").removeprefix("store/")


def runs_of(work: Path) -> Path:
    """The runs folder that a work lies in."""
    return work.parents[1] if is_trial(work) else work.parents[2]


def is_runs(folder: Path) -> bool:
    """Whether somebody's folder is one of runs."""
    return store(folder).is_dir() or sweeps(folder).is_dir()


# ---- the runs folder ------------------------------------------------------------------------------------------------

columns = _below("columns.json")  # runs: what a column of a row is, by family
own_name = _below("folder.json")  # runs: the name that the runs folder has for trackers
trials = _below("trials")  # runs: the folder of all trials
trial = _each("trials/{}")  # runs: a trial by the name of its folder
store = _below("store")  # runs: what all studies share
code = _each("store/code/{}")  # runs: the code of a launch by its hash
imported_weights = _each("store/weights/{}/weights.safetensors")  # runs: of somebody's file, by the hash of content
imported_note = _each("store/weights/files/{}.json")  # runs: what was read of a file of weights
features = _below("store/features")  # runs: features of reference images
sweeps = _below("sweeps")  # runs: the folder of all sweeps
sweep = _each("sweeps/{}")  # runs: what a study asked for, its launches, laws and figures
doctor = _below("doctor")  # runs: what `var-sweep doctor` asked a node


def trial_folders(runs: Path) -> list[Path]:
    """The trials that are there, by name."""
    try:
        return [trial(runs, name) for name in sorted(os.listdir(trials(runs))) if not name.startswith(".")]
    except OSError:
        return []


def model_folders(runs: Path) -> list[Path]:
    """The trials and imported models that are there."""
    return trial_folders(runs) + stages(runs, "import")


def rows_of_all(runs: Path) -> Iterator[Path]:
    """The rows of all trials."""
    return trials(runs).glob("*/budgets/*/row.json")


def evaluations_of_all(runs: Path) -> Iterator[Path]:
    """The evaluations of all rows."""
    return trials(runs).glob("*/budgets/*/evaluations/*.json")


def trials_asked_by(runs: Path, study: str) -> list[Path]:
    """The trials that a study has ever asked for."""
    return sorted(path.parents[1] for path in trials(runs).glob(f"*/asked/{escape(study)}.json"))


def stages(runs: Path, kind: str = "*") -> list[Path]:
    """The stages that are there, of one kind or of all."""
    return sorted(path.parent for path in store(runs).glob(f"{kind}/*/identity.json"))


def imported_notes(runs: Path) -> list[Path]:
    """What was read of all files of weights, the oldest first."""
    return sorted(imported_note(runs, "_").parent.glob("*.json"), key=lambda path: path.stat().st_mtime)


def stage_of(file: Path) -> tuple[str, Path] | None:
    """Kind and folder of the stage whose result a file belongs to; None where it is no stage's."""
    match file.parts[-5:]:
        case ("store", kind, _, "result", _):
            return kind, file.parents[1]
    return None


def manifest(store: Path, key: str, what: str) -> Path:
    """What is known of an image folder, in a store (which may be no runs folder's)."""
    return store / "manifests" / f"{key}.{what}.json"


def sweep_name(sweep: str) -> str:
    """Name of a sweep's folder below the runs folder, as names of works are."""
    return f"sweeps/{sweep}"


def next_name(sweep: str) -> str:
    """What stands among names of works for the job that decides a sweep's next round."""
    return f"{sweep_name(sweep)}/next"


def sweep_names(runs: Path) -> list[str]:
    """The sweeps that were launched."""
    return sorted(path.parent.name for path in sweeps(runs).glob("*/study.json"))


# ---- a sweep --------------------------------------------------------------------------------------------------------

study = _below("study.json")  # sweep: the study as it was resolved at its last launch
study_source = _below("study.yaml")  # sweep: the study's text at its last launch
laws = _below("laws")  # sweep: what `fit-laws` wrote
laws_document = _below("laws/laws.json")  # sweep: the laws for programs
comparison = _below("compare")  # sweep: what `compare` wrote
pursuit = _below("pursuit")  # sweep: what a pursuit decided, and its figure
decision = _each("pursuit/{:03d}.json")  # sweep: what a pursuit decided in one of its rounds
mirror = _below("mirror")  # sweep: what the tracker was told, and who tells it
mirror_state = _each("mirror/{}.json")  # sweep: what one tracker was told
mirror_log = _below("mirror.log")  # sweep: what the mirror of a local launch printed
launches_folder = _below("launches")  # sweep: the folder of all launches


def launches(sweep: Path) -> list[Path]:
    """The launches of a sweep, in order."""
    found = (path for path in launches_folder(sweep).glob("[0-9]*") if path.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))


def launch(sweep: Path, number: int | str) -> Path:
    """A launch by its number, or by what stands for one in a text."""
    return launches_folder(sweep) / (f"{number:03d}" if isinstance(number, int) else number)


def sweep_of(launch: Path) -> Path:
    """The sweep of a launch."""
    return launch.parents[1]


# ---- a launch -------------------------------------------------------------------------------------------------------

launch_note = _below("launch.json")  # launch: what was launched, and how
pilots = _below("pilot.json")  # launch: what the rest of a launch waits for
early_failure = _each("early-failures/{}.json")  # launch: what a worker tells those that come after it
wishes = _below("cancel")  # launch: works that somebody wished away: of a launch, or of Ray's folder in one
slurm = _below("slurm")  # launch: the job arrays of a launch
array = _each("slurm/{}.json")  # launch: a job array
array_tracker = _below("slurm/tracker")  # launch: the tracker's address, for the job that mirrors
ray = _below("ray")  # launch: where a launch and its driver on Ray meet
ray_jobs = _below("jobs.json")  # ray: what the driver is to run
ray_ready = _below("ready.json")  # ray: the driver's answer
ray_log = _below("driver.log")  # ray: what the driver printed
ray_token = _below("token")  # ray: how the driver proves that it is this launch's
ray_tune = _below("tune")  # ray: ray Tune's own files
PROFILE = "profile.yaml"
profile = _below(PROFILE)  # launch: the cluster's profile, as it was; only where there is one


def early_failures(launch: Path) -> list[Path]:
    """All that workers of a launch told one another."""
    return list(early_failure(launch, "_").parent.glob("*.json"))


def wish(launch: Path, work: str) -> Path:
    """The wish that a work saves and stops."""
    return wishes(launch) / flat(work)


def early_log(launch: Path, work: str) -> Path:
    """What a local worker printed before its attempt had a log; of stages alone the launch is the store."""
    return launch / "logs" / f"{Path(work).name}.log"


def ray_early_log(ray: Path, work: str) -> Path:
    """The same of a worker that Ray started."""
    return ray / f"{flat(work)}.log"


def early_logs(runs: Path, work: str) -> list[Path]:
    """Where a work's early log may lie, of all local launches and of Ray's."""
    found = [early_log(store(runs), work)]
    for launch in sweeps(runs).glob("*/launches/*"):
        found += [early_log(launch, work), ray_early_log(ray(launch), work)]
    return found


def flat(work: str) -> str:
    """A work's name as one file name."""
    return work.replace("/", "__")


def array_listing(array: Path) -> Path:
    """The names of its works, a line each, for its script."""
    return array.with_suffix(".list")


def array_log(array: Path, task: str) -> Path:
    """What a task printed before its attempt had a log."""
    return array.parent / f"{task}_0_log.out"


def arrays_below(folder: Path) -> Iterator[Path]:
    """The job arrays of all launches of a runs folder, of a sweep's, or of one launch."""
    if folder.name == "runs" or sweeps(folder).is_dir():
        return sweeps(folder).glob("*/launches/*/slurm/*.json")
    if (folder / "launches").is_dir():
        return folder.glob("launches/*/slurm/*.json")
    return slurm(folder).glob("*.json")


def ray_state(ray: Path, work: str) -> Path:
    """Whether a work runs or is over."""
    return ray / "state" / flat(work)


# ---- a work ---------------------------------------------------------------------------------------------------------

identity = _below("identity.json")  # work: what was hashed
config = _below("config.yaml")  # work: the resolved config
needs = _below("needs.json")  # work: names of the works that it stands on
cancelled = _below("cancelled.json")  # work: the mark that a `cancel` left
asked = _each("asked/{}.json")  # trial: what a study wants of a trial
result = _below("result")  # work: what a stage has made; there, it is whole
attempts = _below("attempts")  # work: the folder of all attempts
attempt = _each("attempts/{:03d}")  # work: one time that the work was run
budgets = _below("budgets")  # trial: the folder of all budgets
budget = _each("budgets/{}")  # trial: one annealed model, by the images that it has seen


def all_asked(trial: Path) -> list[Path]:
    """What each study wants of a trial."""
    return sorted((trial / "asked").glob("*.json"))


def row(trial: Path, images: int) -> Path:
    """The row of a budget; it exists if and only if that budget is trained."""
    return row_in(budget(trial, images))


def rows(trial: Path) -> dict[int, Path]:
    """The rows of a trial, by images seen."""
    found = {int(p.parent.name): p for p in budgets(trial).glob("*/row.json") if p.parent.name.isdecimal()}
    return dict(sorted(found.items()))


# ---- a budget, a result ---------------------------------------------------------------------------------------------

evaluations = _below("evaluations")  # budget: the folder of its evaluations
evaluation = _each("evaluations/{}")  # budget: one evaluation by its file's name
sample_set = _each("sets/{}.npz")  # budget: samples of its model that were drawn to be measured
weights = _below("weights.safetensors")  # folder: weights of a budget or of a result
report = _below("report.json")  # result: what a stage has measured of itself
sanity = _below("sanity.json")  # result: what a tokenizer's FID says of images that are known to be worse
reconstructions = _below("reconstructions.png")  # result: of a measured tokenizer: truth above, reconstruction below
latents = _below("meta.json")  # result: of encoded images: what their arrays are; written last


ROW, SAMPLES = "row.json", "samples.png"
row_in = _below(ROW)  # budget: training and validation numbers, which never change
samples = _below(SAMPLES)  # budget: a grid of its pictures


def budget_of(evaluation: Path) -> Path:
    """The budget of an evaluation."""
    return evaluation.parents[1]


def latents_array(result: Path, split: str, name: str) -> Path:
    """Of encoded images: one array of a split."""
    return result / f"{split}_{name}.npy"


# ---- in an attempt, until it is whole

UNPUBLISHED_RESULT = "result"


def unpublished_budget(images: int | str) -> str:
    """Name of the folder in which an attempt prepares a budget."""
    return f"budget_{images}"


# ---- an attempt -----------------------------------------------------------------------------------------------------

claim = _below("claim.json")  # attempt: who runs it
reserve = _below("reserve")  # attempt: room for its end
end = _below("end.json")  # attempt: when and why it ended
progress = _below("progress.json")  # attempt: how far it is
meeting = _below("ranks.json")  # attempt: where its ranks meet
journal = _below("journal.jsonl")  # attempt: what it measured
checkpoints = _below("checkpoints")  # attempt: its states to go on from


def journals(work: Path) -> list[Path]:
    """The journals of all attempts, in order."""
    found = (p for p in attempts(work).glob("*/journal.jsonl") if p.parent.name.isdecimal())
    return sorted(found, key=lambda path: int(path.parent.name))


def log(attempt: Path, rank: int = 0) -> Path:
    """What one of its processes printed."""
    return attempt / ("log.txt" if rank == 0 else f"log_rank_{rank}.txt")


def checkpoint(attempt: Path, name: str, previous: bool = False) -> Path:
    """A state by name, or the one before under that name."""
    return checkpoints(attempt) / f"{name}{'.previous' if previous else ''}.pt"


def checkpoint_names(work: Path) -> set[str]:
    """Names of the checkpoints of all attempts."""
    return {path.stem.removesuffix(".previous") for path in attempts(work).glob("*/checkpoints/*.pt")}


def what_grows(work: Path) -> list[Path]:
    """Everything but journals that appears in a work while it is done: ends of attempts, budgets, evaluations."""
    patterns = ("attempts/*/end.json", "budgets/*/*", "budgets/*/evaluations/*.json")
    return [path for pattern in patterns for path in work.glob(pattern)]


def leftovers(work: Path) -> list[Path]:
    """What ended attempts leave and nobody reads again.

    Of a trial the states that were replaced, and unpublished budgets. Of a finished stage all states, and unpublished
    results: a stopped attempt's half-filled one may be as large as a token cache.
    """
    if is_trial(work):
        patterns = ("*/checkpoints/*.previous.pt", f"*/{unpublished_budget('*')}")
    else:
        patterns = ("*/checkpoints", f"*/{UNPUBLISHED_RESULT}")
    return [path for pattern in patterns for path in attempts(work).glob(pattern)]
