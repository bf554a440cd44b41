"""SLURM's commands: one batched `squeue`, a bounded `sacct`, and what their words mean. Asks; changes nothing."""

from __future__ import annotations

import datetime
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.protocol import Queue
from var_scaling.runs import holders
from var_scaling.runs.slurm_task import STATES, parse_holder, parse_span, run

# What a pending job's reason means to a person; others are shown as SLURM says them.
REASONS: Mapping[str, str] = {
    "Priority": "others are before it",
    "Resources": "waits for a free node",
    "Dependency": "waits for its stages",
    "DependencyNeverSatisfied": "its stage failed, so it will never start: cancel it, then launch again",
    "BeginTime": "was requeued, starts again soon",
    "JobArrayTaskLimit": "the array's cap on parallel tasks",
    "PartitionTimeLimit": "asks for more time than the partition allows: it will never start",
    "PartitionNodeLimit": "asks for more nodes than the partition has: it will never start",
    "ReqNodeNotAvail": "a node that it asks for is down or reserved",
    "JobHeldUser": "held by you: scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "launch failed requeued held": "could not be started on its node and is held: scontrol release",
}


def meaning(state: str) -> Queue:
    """A SLURM state as a launcher's; words may follow it (`CANCELLED by 0`), `+` may end it (cut off by sacct)."""
    word = state.strip().split(" ")[0].rstrip("+")
    return cast(Queue, STATES.get(word, "unknown"))


def translate(reason: str) -> str:
    """Why a job waits, for a person."""
    return REASONS.get(reason, REASONS.get(reason.partition(",")[0], reason))


@dataclass(frozen=True)
class Entry:
    """One array task in the queue."""

    job: str  # "52_7"
    state: str
    reason: str
    name: str
    node: str

    @property
    def queue(self) -> Queue:
        return meaning(self.state)


@dataclass(frozen=True)
class Answer:
    """What the scheduler said; `silent` holds its words where it gave no answer."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    silent: str | None = None

    def find(self, job: str | None, name: str = "") -> Entry | None:
        """A task by its id and, where it is known, its job's name: ids come again when a cluster is set up anew."""
        entry = self.entries.get(job) if job else None
        return entry if entry and name in ("", entry.name) else None

    def of(self, job: str, name: str = "") -> Queue:
        """The state of one task. What an answering scheduler does not know has left the queue."""
        if self.silent is not None:
            return "unknown"
        entry = self.find(job, name)
        return entry.queue if entry else "gone"

    def life(self, scheduler: str) -> holders.Life:
        """Whether the holder of a claim lives, by its scheduler's name: what `holders.life` asks."""
        parsed = parse_holder(scheduler)
        if parsed is None or self.silent is not None:
            return "unknown"
        state = self.of(parsed.job, parsed.name)
        return "dead" if state in ("gone", "waiting") else "alive" if state == "running" else "unknown"


def available() -> bool:
    """Whether SLURM's commands are on this machine."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def require() -> None:
    """Raise where there is no SLURM.

    Raises:
        EnvironmentProblem: the commands are not there.
    """
    if not available():
        raise EnvironmentProblem(
            "no SLURM on this machine: sbatch and squeue are not on the PATH; run this on a login node, or use "
            "--launcher local (for a try-out, `make slurm-up` starts a SLURM on this machine)"
        )


def ask_queue(jobs: Iterable[str] = (), names: Sequence[str] = ()) -> Answer:
    """One `squeue` for all jobs (arrays or tasks); a second one for names only where an array's id is not known yet."""
    ids = sorted({job.partition("_")[0] for job in jobs}, key=int)
    entries: dict[str, Entry] = {}
    for option, values in (("-j", ids), ("-n", sorted(names))):
        if not values:
            continue
        done = run("squeue", "-h", "-r", "-t", "all", "-o", "%i|%T|%r|%j|%N", option, ",".join(values))
        # One id that is unknown is an error, several are not: it has left the queue long ago.
        if done.returncode and "Invalid job id" not in done.stderr:
            return Answer(silent=done.stderr.strip() or f"squeue ended with {done.returncode}")
        entries |= parse_queue(done.stdout)
    return Answer(entries)


def parse_queue(text: str) -> dict[str, Entry]:
    """The lines of `squeue -r -o '%i|%T|%r|%j|%N'`; lines of another shape are left out."""
    entries = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 5 and re.fullmatch(r"\d+(_\d+)?", parts[0]):
            entries[parts[0]] = Entry(*parts)
    return entries


@dataclass(frozen=True)
class Ended:
    """How a task's last run ended, by the accounting."""

    state: str
    exit_code: str
    node: str

    def __str__(self) -> str:
        where = f" on {self.node}" if self.node not in ("", "None assigned") else ""
        return f"{self.state}{where}" + (f", exit {self.exit_code}" if self.exit_code != "0:0" else "")


def ask_accounting(jobs: Iterable[str], since: datetime.datetime) -> dict[str, Ended]:
    """The ends of tasks that have left the queue. Bounded by the time of the launch, because ids are used again.

    Empty where there is no accounting: states work without it, it only adds causes.
    """
    ids = sorted({job.partition("_")[0] for job in jobs}, key=int)
    if not ids:
        return {}
    start = since.astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    done = run("sacct", "-n", "-X", "-P", "-S", start, "-j", ",".join(ids), "-o", "jobid,state,exitcode,nodelist")
    return parse_accounting(done.stdout) if done.returncode == 0 else {}


def parse_accounting(text: str) -> dict[str, Ended]:
    """The lines of `sacct -P -o jobid,state,exitcode,nodelist`; of several lines a task, the last counts.

    Tasks that never started share one line: `15_[0-3,7%4]`.
    """
    found: dict[str, Ended] = {}
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == 4 and meaning(parts[1]) == "gone":
            found |= dict.fromkeys(_tasks(parts[0]), Ended(*parts[1:]))
    return found


def _tasks(job: str) -> list[str]:
    if re.fullmatch(r"\d+(_\d+)?", job):
        return [job]
    if not (many := re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", job)):
        return []
    found = []
    for part in many[2].split(","):
        first, dash, last = part.partition("-")
        found += [f"{many[1]}_{i}" for i in range(int(first), int(last if dash else first) + 1)]
    return found


def cluster_limits() -> dict[str, str]:
    """The values of `scontrol show config`.

    Raises:
        EnvironmentProblem: the controller does not answer.
    """
    require()
    done = run("scontrol", "show", "config")
    if done.returncode:
        raise EnvironmentProblem(
            f"SLURM's controller does not answer ({done.stderr.strip()}); nothing was submitted, try again when it does"
        )
    pairs = (line.partition("=") for line in done.stdout.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def partition_seconds(name: str | None) -> float | None:
    """The longest job of a partition (None: the default one); None where there is no limit, or no such partition."""
    done = run("scontrol", "show", "partition", "-o", *([name] if name else []))
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        fields = dict(part.partition("=")[::2] for part in line.split())
        if name or fields.get("Default") == "YES":
            return parse_span(fields.get("MaxTime", "UNLIMITED"))
    return None
