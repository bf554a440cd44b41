"""The local launcher: a few workers side by side on this machine, each with its own threads.

Two one-thread trials side by side give 9 to 28 % more images a second than one with two threads (measured at depths 2
to 8, reference note and benchmarks/threads.py), so a slot is `execution.threads` cores. Where there are GPUs, a job
that may use one has as many as it asks for to itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from var_scaling.errors import EnvironmentProblem
from var_scaling.exits import EXIT_BLOCKED, EXIT_HELD
from var_scaling.launch.protocol import Job, Queue
from var_scaling.launch.slurm.profile import Profile
from var_scaling.runs import frozen, layout, pilot, slurm_task
from var_scaling.runs.record import nothing_missing, read_record
from var_scaling.tracking.address import tracking_uri
from var_scaling.tracking.filesystem import check_store

# glibc gives freed tensors back to the kernel and faults them in again at every step; kept, d2 and d4 train 9 to 16 %
# faster (measured; page faults a step fall from some 2,000 to 40). No number changes.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}
KILLED_RETRIES = 2  # of a work whose worker was killed, as under Ray; a work that failed has said so and is not retried
LOOK_SHARE = 0.02  # of this process's time, to look through what waits: thousands may
HOLD_AFTER = 3  # equal failures before any progress: a bug common to all, so the rest is held


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def worker_command() -> tuple[str, ...]:
    """The worker's command where a test replaces it by fake work; empty otherwise."""
    text = os.environ.get("VAR_SCALING_WORKER_COMMAND", "")
    return tuple(text.split("\x1f")) if text else ()


def cores_notes(asked: int) -> tuple[str, ...]:
    """A word to somebody who asks for more cores than there are."""
    if asked <= (most := available_cores()):
        return ()
    return (f"--cores {asked}, but this process may use {most}: workers share them, and each is slower",)


def available_gpus() -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them; asked without torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return tuple(name for name in visible.split(",") if name not in ("", "-1"))
    if not (program := shutil.which("nvidia-smi")):
        return ()
    listed = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, encoding="utf-8", errors="replace"
    )
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()


@dataclass(frozen=True)
class Local:
    """This machine."""

    cores: int = field(default_factory=available_cores)
    profile: Profile | None = None
    name: str = field(default="local", init=False)
    stays: bool = field(default=True, init=False)
    keeps: Mapping[str, bytes] = field(default_factory=dict, init=False)
    extras: tuple[str, ...] = field(default=("train",), init=False)

    @property
    def notes(self) -> tuple[str, ...]:
        return cores_notes(self.cores)

    def check(self, runs: Path) -> None:
        pass

    def require(self, mlflow: bool) -> None:
        if mlflow:
            check_store(tracking_uri())

    def mirrors(self, asked: bool) -> tuple[bool, bool]:
        return asked, True

    def launcher(self, runs: Path, sweep: str, mlflow: bool) -> LocalLauncher:
        return LocalLauncher(runs, self.cores, worker_command())


class LocalLauncher:
    """Runs jobs as child processes, longest first, never more than the cores given."""

    name = "local"

    def __init__(
        self,
        runs: Path,
        cores: int | None = None,
        worker: Sequence[str] = (),
        gpus: Sequence[str] | None = None,
    ) -> None:
        self.runs = runs
        self.cores = cores or available_cores()
        self.gpus = tuple(available_gpus() if gpus is None else gpus)
        self.worker = tuple(worker) or (sys.executable, "-m", "var_scaling.worker")
        self.waiting: list[Job] = []
        self.running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
        self.taken: dict[str, tuple[str, ...]] = {}  # GPUs, by the folder of the job that has them
        self.failed: set[str] = set()
        self.gone: set[str] = set()
        self.held_because: str | None = None
        self._causes: dict[tuple[str, str], int] = {}
        self._killed: dict[str, int] = {}  # times that a work's worker was killed
        self._cancelled: set[str] = set()
        self._look_at = 0.0  # time.monotonic() from which to look through what waits again
        self._launch = runs
        self._wishes: set[str] = set()  # to cancel, from another shell: those that were looked at
        self._gate: pilot.Gate | None = None
        self._code: Mapping[str, str] = {}

    def submit(self, jobs: Sequence[Job], launch: Path) -> None:
        """Queue jobs.

        Raises:
            EnvironmentProblem: one asks for more GPUs than there are here.
        """
        if (most := max((self._gpus_of(job) for job in jobs), default=0)) > len(self.gpus):
            raise EnvironmentProblem(
                f"placement.gpus = {most}, but this machine has {len(self.gpus)} (CUDA_VISIBLE_DEVICES or nvidia-smi); "
                "ask for fewer, or launch on a cluster"
            )
        self._launch, self._gate = launch, pilot.read_gate(launch)
        self._code = frozen.environment(frozen.freeze(self.runs)) if jobs else {}
        self.waiting += sorted(jobs, key=lambda job: (job.work.kind == "trial", -job.seconds))

    def states(self) -> Mapping[str, Queue]:
        self._reap()
        self._withdraw()
        self._start()
        return {
            **{job.work.folder: "waiting" for job in self.waiting},
            **{folder: "running" for folder in self.running},
            **{folder: "gone" for folder in self.gone},
        }

    def cancel(self, folders: Sequence[str]) -> None:
        chosen = set(folders)
        self._cancelled |= chosen
        self.gone |= {job.work.folder for job in self.waiting if job.work.folder in chosen}
        self.waiting = [job for job in self.waiting if job.work.folder not in chosen]
        for folder, (_, process) in self.running.items():
            if folder in chosen and process.poll() is None:
                process.send_signal(signal.SIGTERM)

    broken: str | None = None  # why the launcher itself ended before its time; a local one is this process

    def _withdraw(self) -> None:
        """Take back what waits, and stop what runs, where another shell wished so: it may be on another machine."""
        if (wishes := layout.wishes(self._launch)).is_dir():
            new = set(os.listdir(wishes)) - self._wishes
            self._wishes |= new
            self.cancel([f for f in (*(j.work.folder for j in self.waiting), *self.running) if layout.flat(f) in new])

    def kill(self) -> None:
        """End every worker at once; their last checkpoints stay."""
        self._cancelled |= set(self.running)
        for _, process in self.running.values():
            process.kill()

    def _reap(self) -> None:
        for folder, (job, process) in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[folder]
            self.taken.pop(folder, None)
            self._look_at = 0.0
            if code < 0 and folder not in self._cancelled and self._killed.get(folder, 0) < KILLED_RETRIES:
                self._killed[folder] = self._killed.get(folder, 0) + 1
                self.waiting.append(job)  # it goes on from its last checkpoint
                continue
            if code == EXIT_HELD or (code == EXIT_BLOCKED and not self._cannot_be_built(job)):
                self.waiting.append(job)  # somebody else runs it or what it needs: look again later
                continue
            self.gone.add(folder)
            if code != 0:
                self.failed.add(folder)
                self._count(folder)

    def _count(self, folder: str) -> None:
        record = read_record(self.runs, folder)
        if record.state != "failed" or record.done:
            return
        key = (record.cause or "", record.place or "")
        self._causes[key] = self._causes.get(key, 0) + 1
        if self._causes[key] >= HOLD_AFTER and self.waiting and not self.held_because:
            self._hold_rest(
                f"{HOLD_AFTER} works failed in the same way before any progress ({record.cause}: {record.message})"
            )

    def _hold_rest(self, why: str) -> None:
        self.held_because = why
        self.gone |= {job.work.folder for job in self.waiting}
        self.waiting.clear()

    def _start(self) -> None:
        busy = sum(job.threads for job, _ in self.running.values())
        if busy >= self.cores or time.monotonic() < self._look_at:
            return
        begin = time.monotonic()
        self._look_through(busy)
        now = time.monotonic()
        self._look_at = now + (now - begin) * (1 / LOOK_SHARE - 1)

    def _look_through(self, busy: int) -> None:
        """Start what may start, and give up what cannot any more."""
        if self._gate and self._gate.open(self.runs):
            self._gate = None
        if self._gate and self.waiting and not self.running and all(job.held for job in self.waiting):
            self._hold_rest("; ".join(self._gate.lines(self.runs)))
        for job in list(self.waiting):
            if busy >= self.cores:
                return
            if job.held and self._gate:
                continue
            mine = read_record(self.runs, job.work.folder).state
            if self._cannot_be_built(job) or (mine == "unknown" and not _take_over()):
                self.waiting.remove(job)  # what stands on it cannot be built either
                self.gone.add(job.work.folder)
                self.failed.add(job.work.folder)
                continue
            if nothing_missing(self.runs / job.work.folder):  # another launch has done it
                self.waiting.remove(job)
                self.gone.add(job.work.folder)
                continue
            threads = min(job.threads, self.cores)
            free = [gpu for gpu in self.gpus if gpu not in {g for taken in self.taken.values() for g in taken}]
            gpus = self._gpus_of(job)
            if busy + threads > self.cores or gpus > len(free) or mine == "running" or not self._ready(job):
                continue  # one that runs is another launch's; starting a worker would only say so
            self.waiting.remove(job)
            self.taken[job.work.folder] = tuple(free[:gpus])
            self.running[job.work.folder] = (job, self._spawn(job, max(1, threads // job.processes)))
            busy += threads

    def _ready(self, job: Job) -> bool:
        return all(layout.result(self.runs / need).exists() for need in job.after)

    def _gpus_of(self, job: Job) -> int:
        """GPUs that a job has to itself: what it asks for, where it may use any and there are any."""
        placement = job.work.config["placement"]
        wanted = placement["device"] == "cuda" or (placement["device"] == "auto" and bool(self.gpus))
        return job.processes if wanted else 0

    def _cannot_be_built(self, job: Job) -> bool:
        return any(need in self.failed for need in job.after)

    def _spawn(self, job: Job, threads: int) -> subprocess.Popen[bytes]:
        early = layout.early_log(self._launch, job.work.folder)
        early.parent.mkdir(parents=True, exist_ok=True)
        mine = {name: value for name, value in os.environ.items() if name != slurm_task.TASK}
        env = {**MALLOC, **mine, **self._code, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if gpus := self.taken[job.work.folder]:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        # A session of its own: Ctrl-C reaches the launcher alone, which asks the workers to save and stop.
        with open(early, "ab") as log:
            return subprocess.Popen(
                [*self.worker, str(self.runs / job.work.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )


def _take_over() -> bool:
    """Set by `retry --take-over`, for the launcher and for its workers alike."""
    return os.environ.get("VAR_SCALING_TAKE_OVER") == "1"
