"""`launch --pilot`: the smallest and the largest trial go first; the rest waits until both have a checkpoint.

    <launch>/pilot.json     the pilots and what was predicted of each; with it the launch's other trials are held

A pilot has passed when some of its work can no longer be lost: the first durable checkpoint of any attempt, or a row.
That is read from disk, so nobody needs to remember it. Where a launcher stays, it lets the rest go itself. On SLURM the
rest is queued on hold, and the worker of the pilot that passes last releases it: the launching process is long gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from var_scaling.runs import layout, slurm_task, store
from var_scaling.runs.journal import attempt_journals, read_lines
from var_scaling.runs.record import read_record


@dataclass(frozen=True)
class Prediction:
    """What was expected of a pilot at its launch."""

    images: int
    seconds: float
    source: str


@dataclass(frozen=True)
class Gate:
    """What the rest of one launch waits for."""

    launch: Path
    trials: Mapping[str, Prediction]  # by folder below the runs folder

    def open(self, runs: Path) -> bool:
        """Whether every pilot has passed."""
        return all(passed(runs / trial) for trial in self.trials)

    def lines(self, runs: Path) -> list[str]:
        """How each pilot stands, measured against predicted, for a person."""
        return [f"pilot {Path(trial).name}: {_standing(runs, trial, said)}" for trial, said in self.trials.items()]


def write_gate(launch: Path, trials: Mapping[str, Prediction]) -> None:
    """Hold what is no pilot of this launch."""
    store.write_json(layout.pilots(launch), {"trials": {name: asdict(said) for name, said in trials.items()}})


def read_gate(launch: Path) -> Gate | None:
    """The gate of a launch, if it has one."""
    if (value := store.read_json(layout.pilots(launch))) is None:
        return None
    return Gate(launch, {name: Prediction(**said) for name, said in value["trials"].items()})


def passed(trial: Path) -> bool:
    """Whether a trial has a durable checkpoint or a row."""
    return bool(layout.rows(trial)) or _first_mark(trial) is not None


def _standing(runs: Path, trial: str, said: Prediction) -> str:
    if first := _first_mark(runs / trial):
        images, seconds = first
        predicted = said.seconds * images / max(said.images, 1)
        return (
            f"passed its first checkpoint, {images:,} images in {seconds:.1f} s, predicted {predicted:.1f} s "
            f"({said.source})"
        )
    if passed(runs / trial):
        return "passed its first checkpoint before this launch"
    record = read_record(runs, trial)
    if record.state == "failed":
        return f"failed ({record.cause}: {record.message})"
    return f"{record.state}, no checkpoint yet"


def _first_mark(trial: Path) -> tuple[int, float] | None:
    """Images and seconds, from the claim on, of the first durable checkpoint."""
    for path in attempt_journals(trial):
        began = (store.read_json(layout.claim(path.parent)) or {}).get("time")
        for line in read_lines(path):
            if line.get("event") in ("checkpoint", "budget") and began is not None:
                return int(line["images"]), float(line["time"]) - float(began)
    return None


# ---- SLURM ----------------------------------------------------------------------------------------------------------


class Watch:
    """In a worker: called at each durable mark, it lets go what waits for this trial."""

    def __init__(self, runs: Path, trial: str, launch: Path) -> None:
        self.runs = runs
        # Also of earlier launches: `retry` starts a failed pilot in a launch of its own.
        gates = [gate for folder in layout.launches(layout.sweep_of(launch)) if (gate := read_gate(folder))]
        self.gates = [gate for gate in gates if trial in gate.trials]

    def __call__(self) -> None:
        for gate in [g for g in self.gates if g.open(self.runs)]:
            self.gates.remove(gate)
            for name, answer in release(gate.launch).items():
                print(f"pilots have passed: released {name}: {answer or 'accepted'}", flush=True)


def release(launch: Path) -> dict[str, str]:
    """Release every held array of a launch; what SLURM said to each, empty where it agreed. Twice does no harm."""
    answers = {}
    for path in sorted(layout.arrays_below(launch)):
        array = store.read_json(path)
        if array and array.get("held") and not array.get("refused"):
            # By name where the id got lost: the token is in it.
            what = array["job"] or f"JobName={array['name']}"
            done = slurm_task.run("scontrol", "release", what)
            answers[array["name"]] = done.stderr.strip() if done.returncode else ""
    return answers
