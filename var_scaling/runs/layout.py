"""Every path below a runs folder; no other file spells one. Standard library only.

    <runs>/
        columns.json                    every column of a row, by family
        folder.json                     the name of this folder, for trackers that several folders write to
        trials/<name>/                  a work
        store/<kind>/<key>/             a work
        store/code/<hash>/              code as it was at a launch
        store/features/ manifests/      features of reference images; what is known of image folders
        store/weights/                  weights of somebody's files, by content
        store/logs/                     what workers of stages alone printed before they had a log
        doctor/                         what `var-sweep doctor` asked a node
        sweeps/<name>/                  a sweep
            study.yaml study.json       as it was launched last
            laws/                       what `fit-laws` wrote
            mirror/ mirror.log          what the tracker was told
            pursuit/<NNN>.json          what a pursuit decided
            launches/<NNN>/             a launch
                launch.json profile.yaml pilot.json
                early-failures/ cancel/ logs/
                slurm/ ray/             a launcher's own files

    a work
        identity.json config.yaml needs.json
        cancelled.json                  the mark of a `cancel` that its process may not hear
        asked/<study>.json              of a trial: what a study wants of it
        attempts/<NNN>/                 an attempt
            claim.json reserve end.json progress.json ranks.json
            journal.jsonl log.txt log_rank_<r>.txt
            checkpoints/<name>.pt       and <name>.previous.pt
        budgets/<images>/               of a trial: row.json weights.safetensors samples.png evaluations/<name> sets/
        result/                         of a stage: report.json weights.safetensors and what its kind makes

Functions take the folder that they look into, so that a path never depends on where else something lies. A work, an
attempt, a launch are given by their folders; a *name* of a work is its folder below the runs folder, as text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from glob import escape
from pathlib import Path

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


def columns(runs: Path) -> Path:
    """What a column of a row is, by family."""
    return runs / "columns.json"


def own_name(runs: Path) -> Path:
    """The name that the runs folder has for trackers."""
    return runs / "folder.json"


def trials(runs: Path) -> Path:
    """The folder of all trials."""
    return runs / "trials"


def trial(runs: Path, folder: str) -> Path:
    """A trial by the name of its folder."""
    return trials(runs) / folder


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


def store(runs: Path) -> Path:
    """What all studies share."""
    return runs / "store"


def stages(runs: Path, kind: str = "*") -> list[Path]:
    """The stages that are there, of one kind or of all."""
    return sorted(path.parent for path in store(runs).glob(f"{kind}/*/identity.json"))


def code(runs: Path, digest: str) -> Path:
    """The code of a launch by its hash."""
    return store(runs) / "code" / digest


def imported_weights(runs: Path, digest: str) -> Path:
    """Weights that were read from somebody's file, by the hash of their content."""
    return weights(store(runs) / "weights" / digest)


def imported_note(runs: Path, key: str) -> Path:
    """What was read of a file of weights."""
    return store(runs) / "weights" / "files" / f"{key}.json"


def imported_notes(runs: Path) -> list[Path]:
    """What was read of all files of weights, the oldest first."""
    return sorted(imported_note(runs, "_").parent.glob("*.json"), key=lambda path: path.stat().st_mtime)


def stage_of(file: Path) -> tuple[str, Path] | None:
    """Kind and folder of the stage whose result a file belongs to; None where it is no stage's."""
    match file.parts[-5:]:
        case ("store", kind, _, "result", _):
            return kind, file.parents[1]
    return None


def features(runs: Path) -> Path:
    """Features of reference images."""
    return store(runs) / "features"


def manifest(store: Path, key: str, what: str) -> Path:
    """What is known of an image folder, in a store (which may be no runs folder's)."""
    return store / "manifests" / f"{key}.{what}.json"


def sweeps(runs: Path) -> Path:
    """The folder of all sweeps."""
    return runs / "sweeps"


def sweep(runs: Path, name: str) -> Path:
    """What a study asked for, its launches, laws and figures."""
    return sweeps(runs) / name


def sweep_name(sweep: str) -> str:
    """Name of a sweep's folder below the runs folder, as names of works are."""
    return f"sweeps/{sweep}"


def next_name(sweep: str) -> str:
    """What stands among names of works for the job that decides a sweep's next round."""
    return f"{sweep_name(sweep)}/next"


def sweep_names(runs: Path) -> list[str]:
    """The sweeps that were launched."""
    return sorted(path.parent.name for path in sweeps(runs).glob("*/study.json"))


def doctor(runs: Path) -> Path:
    """What `var-sweep doctor` asked a node."""
    return runs / "doctor"


# ---- a sweep --------------------------------------------------------------------------------------------------------


def study(sweep: Path) -> Path:
    """The study as it was resolved at its last launch."""
    return sweep / "study.json"


def study_source(sweep: Path) -> Path:
    """The study's text at its last launch."""
    return sweep / "study.yaml"


def laws(sweep: Path) -> Path:
    """What `fit-laws` wrote."""
    return sweep / "laws"


def laws_document(sweep: Path) -> Path:
    """The laws for programs."""
    return laws(sweep) / "laws.json"


def comparison(sweep: Path) -> Path:
    """What `compare` wrote."""
    return sweep / "compare"


def pursuit(sweep: Path) -> Path:
    """What a pursuit decided, and its figure."""
    return sweep / "pursuit"


def decision(sweep: Path, number: int) -> Path:
    """What a pursuit decided in one of its rounds."""
    return pursuit(sweep) / f"{number:03d}.json"


def mirror(sweep: Path) -> Path:
    """What the tracker was told, and who tells it."""
    return sweep / "mirror"


def mirror_state(sweep: Path, key: str) -> Path:
    """What one tracker was told."""
    return mirror(sweep) / f"{key}.json"


def mirror_log(sweep: Path) -> Path:
    """What the mirror of a local launch printed."""
    return sweep / "mirror.log"


def launches_folder(sweep: Path) -> Path:
    """The folder of all launches."""
    return sweep / "launches"


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

PROFILE = "profile.yaml"


def launch_note(launch: Path) -> Path:
    """What was launched, and how."""
    return launch / "launch.json"


def profile(launch: Path) -> Path:
    """The cluster's profile, as it was; only where there is one."""
    return launch / PROFILE


def pilots(launch: Path) -> Path:
    """What the rest of a launch waits for."""
    return launch / "pilot.json"


def early_failure(launch: Path, name: str) -> Path:
    """What a worker tells those that come after it."""
    return launch / "early-failures" / f"{name}.json"


def early_failures(launch: Path) -> list[Path]:
    """All that workers of a launch told one another."""
    return list(early_failure(launch, "_").parent.glob("*.json"))


def wishes(launch: Path) -> Path:
    """Works that somebody wished away: of a launch, or of Ray's folder in one."""
    return launch / "cancel"


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


def slurm(launch: Path) -> Path:
    """The job arrays of a launch."""
    return launch / "slurm"


def array(launch: Path, token: str) -> Path:
    """A job array."""
    return slurm(launch) / f"{token}.json"


def array_listing(array: Path) -> Path:
    """The names of its works, a line each, for its script."""
    return array.with_suffix(".list")


def array_log(array: Path, task: str) -> Path:
    """What a task printed before its attempt had a log."""
    return array.parent / f"{task}_0_log.out"


def array_tracker(launch: Path) -> Path:
    """The tracker's address, for the job that mirrors."""
    return slurm(launch) / "tracker"


def arrays_below(folder: Path) -> Iterator[Path]:
    """The job arrays of all launches of a runs folder, of a sweep's, or of one launch."""
    if folder.name == "runs" or sweeps(folder).is_dir():
        return sweeps(folder).glob("*/launches/*/slurm/*.json")
    if (folder / "launches").is_dir():
        return folder.glob("launches/*/slurm/*.json")
    return slurm(folder).glob("*.json")


def ray(launch: Path) -> Path:
    """Where a launch and its driver on Ray meet."""
    return launch / "ray"


def ray_jobs(ray: Path) -> Path:
    """What the driver is to run."""
    return ray / "jobs.json"


def ray_ready(ray: Path) -> Path:
    """The driver's answer."""
    return ray / "ready.json"


def ray_log(ray: Path) -> Path:
    """What the driver printed."""
    return ray / "driver.log"


def ray_state(ray: Path, work: str) -> Path:
    """Whether a work runs or is over."""
    return ray / "state" / flat(work)


def ray_token(ray: Path) -> Path:
    """How the driver proves that it is this launch's."""
    return ray / "token"


def ray_tune(ray: Path) -> Path:
    """Ray Tune's own files."""
    return ray / "tune"


# ---- a work ---------------------------------------------------------------------------------------------------------


def identity(work: Path) -> Path:
    """What was hashed."""
    return work / "identity.json"


def config(work: Path) -> Path:
    """The resolved config."""
    return work / "config.yaml"


def needs(work: Path) -> Path:
    """Names of the works that it stands on."""
    return work / "needs.json"


def cancelled(work: Path) -> Path:
    """The mark that a `cancel` left."""
    return work / "cancelled.json"


def asked(trial: Path, study: str) -> Path:
    """What a study wants of a trial."""
    return trial / "asked" / f"{study}.json"


def all_asked(trial: Path) -> list[Path]:
    """What each study wants of a trial."""
    return sorted((trial / "asked").glob("*.json"))


def result(work: Path) -> Path:
    """What a stage has made; there, it is whole."""
    return work / "result"


def attempts(work: Path) -> Path:
    """The folder of all attempts."""
    return work / "attempts"


def attempt(work: Path, number: int) -> Path:
    """One time that the work was run."""
    return attempts(work) / f"{number:03d}"


def budgets(trial: Path) -> Path:
    """The folder of all budgets."""
    return trial / "budgets"


def budget(trial: Path, images: int) -> Path:
    """One annealed model, by the images that it has seen."""
    return budgets(trial) / str(images)


def row(trial: Path, images: int) -> Path:
    """The row of a budget; it exists if and only if that budget is trained."""
    return row_in(budget(trial, images))


def rows(trial: Path) -> dict[int, Path]:
    """The rows of a trial, by images seen."""
    found = {int(p.parent.name): p for p in budgets(trial).glob("*/row.json") if p.parent.name.isdecimal()}
    return dict(sorted(found.items()))


# ---- a budget, a result ---------------------------------------------------------------------------------------------

ROW, SAMPLES = "row.json", "samples.png"


def row_in(budget: Path) -> Path:
    """Training and validation numbers, which never change."""
    return budget / ROW


def samples(budget: Path) -> Path:
    """A grid of its pictures."""
    return budget / SAMPLES


def evaluations(budget: Path) -> Path:
    """The folder of its evaluations."""
    return budget / "evaluations"


def evaluation(budget: Path, name: str) -> Path:
    """One evaluation by its file's name."""
    return evaluations(budget) / name


def budget_of(evaluation: Path) -> Path:
    """The budget of an evaluation."""
    return evaluation.parents[1]


def sample_set(budget: Path, name: str) -> Path:
    """Samples of its model that were drawn to be measured."""
    return budget / "sets" / f"{name}.npz"


def weights(folder: Path) -> Path:
    """Weights of a budget or of a result."""
    return folder / "weights.safetensors"


def report(result: Path) -> Path:
    """What a stage has measured of itself."""
    return result / "report.json"


def sanity(result: Path) -> Path:
    """Of a measured tokenizer: what its FID says of images that are known to be worse."""
    return result / "sanity.json"


def reconstructions(result: Path) -> Path:
    """Of a measured tokenizer: truth above, reconstruction below."""
    return result / "reconstructions.png"


def latents(result: Path) -> Path:
    """Of encoded images: what their arrays are; written last."""
    return result / "meta.json"


def latents_array(result: Path, split: str, name: str) -> Path:
    """Of encoded images: one array of a split."""
    return result / f"{split}_{name}.npy"


# ---- in an attempt, until it is whole

UNPUBLISHED_RESULT = "result"


def unpublished_budget(images: int | str) -> str:
    """Name of the folder in which an attempt prepares a budget."""
    return f"budget_{images}"


# ---- an attempt -----------------------------------------------------------------------------------------------------


def claim(attempt: Path) -> Path:
    """Who runs it."""
    return attempt / "claim.json"


def reserve(attempt: Path) -> Path:
    """Room for its end."""
    return attempt / "reserve"


def end(attempt: Path) -> Path:
    """When and why it ended."""
    return attempt / "end.json"


def progress(attempt: Path) -> Path:
    """How far it is."""
    return attempt / "progress.json"


def meeting(attempt: Path) -> Path:
    """Where its ranks meet."""
    return attempt / "ranks.json"


def journal(attempt: Path) -> Path:
    """What it measured."""
    return attempt / "journal.jsonl"


def journals(work: Path) -> list[Path]:
    """The journals of all attempts, in order."""
    found = (p for p in attempts(work).glob("*/journal.jsonl") if p.parent.name.isdecimal())
    return sorted(found, key=lambda path: int(path.parent.name))


def log(attempt: Path, rank: int = 0) -> Path:
    """What one of its processes printed."""
    return attempt / ("log.txt" if rank == 0 else f"log_rank_{rank}.txt")


def checkpoints(attempt: Path) -> Path:
    """Its states to go on from."""
    return attempt / "checkpoints"


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
