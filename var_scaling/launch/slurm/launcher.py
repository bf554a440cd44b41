"""The SLURM launcher: one job array per class of resources, submitted once whatever sbatch answers, then left alone."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError

from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.protocol import Job, Queue
from var_scaling.launch.slurm import quota, scheduler
from var_scaling.launch.slurm.arrays import Array, Queued, look_up, new_array, read_arrays
from var_scaling.launch.slurm.profile import Profile
from var_scaling.launch.slurm.refusals import refusal
from var_scaling.launch.slurm.resources import Resources, levels, resources
from var_scaling.launch.slurm.script import ArrayExecutor, array_script
from var_scaling.runs import frozen, layout, pilot, slurm_task, store
from var_scaling.tracking.address import URI_FILE, write_uri

# Words of an overloaded controller: the same request may pass in a minute. Everything else is a refusal.
TRANSIENT = (
    "socket timed out",
    "unable to contact slurm controller",
    "temporarily unable to accept job",
    "resource temporarily unavailable",
    "connection refused",
    "connection timed out",
    "connection reset",
    "zero bytes were transmitted",
    "transport endpoint is not connected",
    "unexpected message",
    "no answer",
)
MIRROR = Resources(level=0, gpus=0, cpus=1, memory_gb=2, minutes=60)
PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
AMBIGUOUS_LOOKS = (0.3, 1.0, 2.0)  # seconds before each look for a token: the queue may show a job a moment late


@dataclass
class Submitted:
    """What a submission came to."""

    arrays: list[Array] = field(default_factory=list)
    already: dict[str, str] = field(default_factory=dict)  # works that are queued or running: their task
    held: list[str] = field(default_factory=list)  # beyond what the cluster takes at once: for a later launch
    held_by: str = ""  # the limit that keeps them back
    mirror: Array | None = None  # the last job, which talks to MLflow
    next: Array | None = None  # the job that decides a pursuing study's next round


@dataclass(frozen=True)
class Part:
    """What becomes one array."""

    resources: Resources
    jobs: tuple[Job, ...]
    held: bool

    @property
    def folders(self) -> list[str]:
        return [job.work.folder for job in self.jobs]


class SlurmLauncher:
    """Submits, asks and cancels. It keeps nothing in memory, so any other process can go on where it left."""

    name = "slurm"

    def __init__(
        self,
        runs: Path,
        profile: Profile,
        sweep: str,
        *,
        worker: Sequence[str] = (),
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.runs, self.profile, self.sweep = runs.resolve(), profile, sweep
        self.worker, self.pause = tuple(worker), pause
        self.env: Mapping[str, str] = {}
        self.submitted = Submitted()
        self.then: tuple[str, ...] = ()  # a command for a job behind all others
        self._launch: Path | None = None

    # ---- submitting -----------------------------------------------------------------------------------------------

    def submit(self, jobs: Sequence[Job], launch: Path) -> None:
        """Queue what is not queued yet, stages first; all of it or, if SLURM refuses any, nothing.

        Raises:
            EnvironmentProblem: SLURM refused; its own words, and what to change.
        """
        scheduler.require()
        self._launch = launch = launch.resolve()
        queued, answer = look_up(read_arrays(self.runs))
        if answer.silent is not None:
            raise EnvironmentProblem(
                f"SLURM does not answer ({answer.silent}), so nobody can say what is queued already; nothing was "
                "submitted, try again when it does"
            )
        alive = {f: q.job for f, q in queued.items() if q.queue != "gone" and q.job}
        tasks: dict[str, str] = dict(alive)
        if jobs:
            self.env = frozen.environment(frozen.freeze(self.runs))
        new = [job for job in jobs if job.work.folder not in alive]
        self.submitted = result = Submitted(
            already={j.work.folder: alive[j.work.folder] for j in jobs if j.work.folder in alive}
        )
        parts = list(self._parts(new, result, len(alive)))
        self._check_time(parts)
        try:
            for part in parts:
                needs = {need for job in part.jobs for need in job.after if need in tasks}
                array = self._send(part, sorted(tasks[n] for n in needs), launch)
                result.arrays.append(array)
                tasks |= {folder: array.task(folder) for folder in part.folders}
            mine = os.environ.get(slurm_task.TASK, "").rpartition(":")[2]  # that job itself may be who submits this
            if self.then and alive.get(layout.next_name(self.sweep)) in (None, mine):
                result.next = self._send_next(result, launch)
            if self.profile.mirror and result.arrays:
                result.mirror = self._send_mirror(result.arrays, launch)
        except OSError as error:
            raise EnvironmentProblem(
                f"what is submitted could not be written down in {launch} ({error.strerror or error}): free space or "
                f"mend its permissions, then launch again; {self._withdraw(result.arrays)}"
            ) from None
        except EnvironmentProblem as problem:
            raise EnvironmentProblem(f"{problem}; {self._withdraw(result.arrays)}") from None
        except BaseException:
            self._withdraw(result.arrays)
            raise
        self._let_go(jobs, queued, launch)

    def _let_go(self, jobs: Sequence[Job], queued: Mapping[str, Queued], launch: Path) -> None:
        """Release what a pilot keeps back and need not: asked for without a pilot now, or passed meanwhile."""
        free = {job.work.folder for job in jobs if not job.held}
        arrays = [q.array for folder, q in queued.items() if q.array.held and q.queue == "waiting" and folder in free]
        launches = {array.path.parents[1] for array in arrays}
        gate = pilot.read_gate(launch)  # its pilots may have been queued by an earlier launch, or be quick
        if gate and gate.open(self.runs):
            launches.add(launch)
        for folder in launches:
            pilot.release(folder)

    def scripts(self, jobs: Sequence[Job], launch: Path) -> list[str]:
        """What would be submitted, for `--dry-run`; ids that do not exist yet are named by their stages."""
        result, texts = Submitted(), []
        known = {job.work.folder for job in jobs}
        for part in self._parts(list(jobs), result, 0):
            needs = sorted({need for job in part.jobs for need in job.after if need in known})
            executor, command = self._script(part, [f"<{n}>" for n in needs], launch, "<token>")
            works = "".join(f"# task {i}: {folder}\n" for i, folder in enumerate(part.folders))
            texts.append(f"# {len(part.jobs)} tasks of {part.resources}\n{works}{executor.text(command)}")
        if result.held:
            texts.append(f"# held back for a later launch: {len(result.held)} works\n")
        return texts

    def _parts(self, jobs: Sequence[Job], result: Submitted, queued: int) -> Iterable[Part]:
        """Arrays in the order of submission: by level, then the longest first; cut at the cluster's limits."""
        level = levels(jobs)
        groups: dict[tuple[bool, Resources], list[Job]] = {}
        for job in sorted(jobs, key=lambda j: -j.seconds):
            asks = resources(job, level[job.work.folder], self.profile)
            groups.setdefault((job.held, asks), []).append(job)
        config = scheduler.cluster_limits() if scheduler.available() else {}  # none: a dry run on a laptop
        room, result.held_by = self._room(queued, config)
        largest = self.profile.limits.array or int(config.get("MaxArraySize", "1001")) - 1  # it bounds the index
        for held, asks in sorted(groups, key=lambda g: (g[0], g[1].level, -g[1].minutes, -g[1].gpus)):
            left = groups[held, asks]
            while left:
                if room <= 0:
                    result.held += [job.work.folder for job in left]
                    break
                now, left = left[: min(largest, room)], left[min(largest, room) :]
                room -= len(now)
                yield Part(asks, tuple(now), held)

    def _room(self, queued: int, config: Mapping[str, str]) -> tuple[int, str]:
        """How many more tasks may be queued, and which limit says so."""
        rooms = [(limit.room(), limit.name) for limit in quota.limits(self.profile, config)]
        if (jobs := self.profile.limits.jobs) is not None:
            rooms.append((jobs - queued, "limits.jobs of the profile"))
        room, name = min(rooms, default=(10**9, ""))
        return room - self.profile.mirror - bool(self.then), name  # the last job wants a place too

    def _check_time(self, parts: Sequence[Part]) -> None:
        """Refuse what would wait for ever: SLURM takes a job that asks for more time than its partition gives."""
        limits, partition = self.profile.limits, self.profile.partition
        most = scheduler.partition_seconds(partition)
        longest = max((part.resources.minutes for part in parts), default=0)
        if most is not None and 60 * longest > most:
            raise EnvironmentProblem(
                f"limits.hours = {limits.hours:g} in the profile {self.profile.name}, and a job asks for "
                f"{longest / 60:g} h, but the partition {partition or '(the default one)'} has MaxTime {most / 3600:g} "
                "h: SLURM would let it wait for ever (PartitionTimeLimit); lower limits.hours; nothing is queued"
            )

    def _script(self, part: Part, after: Sequence[str], launch: Path, token: str) -> tuple[ArrayExecutor, str]:
        return array_script(
            self.profile,
            part.resources,
            count=len(part.jobs),
            folder=layout.slurm(launch),
            name=f"{self.sweep}-{token}",
            comment=f"var-scaling {self.sweep} {launch.name} {token}",
            after=after,
            worker=self.worker,
            runs=self.runs,
            listing=layout.array_listing(layout.array(launch, token)),
            env={"VAR_SCALING_LAUNCH": str(launch), **self.env},
            held=part.held,
        )

    def _send(self, part: Part, after: Sequence[str], launch: Path) -> Array:
        array = new_array(launch, self.sweep, part.folders, asdict(part.resources), part.held)
        executor, command = self._script(part, after, launch, array.token)
        return self._queue(array, executor, command)

    def _send_mirror(self, arrays: Sequence[Array], launch: Path) -> Array:
        """Queue the job that brings MLflow up to date when all arrays of this launch have ended."""
        array = new_array(launch, self.sweep, [layout.sweep_name(self.sweep)], asdict(MIRROR))
        python = self.profile.python or shlex.quote(sys.executable)
        # The script hands a command the folder that its index names, here the sweep's.
        where = f'"${{0%/{layout.sweep_name("*")}}}" "${{0##*/}}"'  # the runs folder and the sweep's name
        module = f"exec {python} -P -u -m var_scaling.tracking.mlflow_mirror {where} --once"
        address = layout.array_tracker(launch)
        write_uri(address)
        env = {URI_FILE: str(address)}
        return self._send_alone(array, launch, "mirror", ("sh", "-c", module), [str(a.job) for a in arrays], env)

    def _send_next(self, result: Submitted, launch: Path) -> Array:
        """Queue the job that decides what comes next when all works of this launch have ended, in whatever way."""
        array = new_array(launch, self.sweep, [layout.next_name(self.sweep)], asdict(MIRROR))
        ends = [str(a.job) for a in result.arrays]
        ends += sorted({task.partition("_")[0] for task in result.already.values()} - set(ends))
        return self._send_alone(array, launch, "next round", self.then, ends, {})

    def _send_alone(
        self,
        array: Array,
        launch: Path,
        what: str,
        worker: Sequence[str],
        ends: list[str],
        env: Mapping[str, str],
    ) -> Array:
        """Queue a job of one small task that starts when others have ended, in whatever way."""
        executor, command = array_script(
            self.profile,
            MIRROR,
            count=1,
            folder=layout.slurm(launch),
            name=array.name,
            comment=f"var-scaling {self.sweep} {launch.name} {what} {array.token}",
            after=(),
            worker=worker,
            runs=self.runs,
            listing=array.listing,
            env={**env, "OMP_NUM_THREADS": "1", **self.env},
            ends=ends,
        )
        return self._queue(array, executor, command)

    def _queue(self, array: Array, executor: ArrayExecutor, command: str) -> Array:
        """Submit once, whatever sbatch answers."""
        for pause in (*PAUSES, None):
            words, job = "", None
            try:
                job = executor.send(command)
            except (FailedJobError, FailedSubmissionError) as error:
                words = str(error).strip()
            except OSError:  # what submitit tidies up after sbatch: the job may be there
                self._withdraw([replace(array, job=self._find(array))])
                raise
            # It may have been accepted all the same: sbatch is no transaction. After a plain refusal one look will do.
            transient = any(word in words.lower() for word in TRANSIENT)
            if job := job or self._find(array, AMBIGUOUS_LOOKS if transient else AMBIGUOUS_LOOKS[:1]):
                try:
                    return array.save(job=job)
                except OSError:
                    self._withdraw([replace(array, job=job)])
                    raise
            if pause is None or not transient:
                array.save(refused=words)
                raise EnvironmentProblem(refusal(words, Resources(**array.resources), self.profile))
            self.pause(pause)
        raise AssertionError("the last turn returns or raises")

    def _find(self, array: Array, looks: Sequence[float] = AMBIGUOUS_LOOKS) -> str | None:
        """The id of an array whose answer got lost."""
        for seconds in looks:
            answer = scheduler.ask_queue(names=[array.name])
            for entry in answer.entries.values():
                # SLURM keeps a record, FAILED and without a node, of some requests that it refused.
                if entry.name == array.name and (entry.queue != "gone" or entry.node):
                    return entry.job.partition("_")[0]
            self.pause(seconds)
        return None

    def _withdraw(self, arrays: Sequence[Array]) -> str:
        """Take back what this launch has queued before the refusal; says what is queued then.

        What SLURM would not take back stays written down, so the next launch finds it in the queue.
        """
        left = scancel([array.job for array in arrays if array.job])
        for array in arrays:
            if array.job not in left:
                with contextlib.suppress(OSError):  # it has left the queue, which is what counts
                    array.save(refused="taken back, for a later array of the same launch was refused")
        if not left:
            return "nothing is queued"
        why = next(iter(left.values()))
        return f"{', '.join(left)} could not be taken back ({why}) and is queued: scancel {' '.join(left)}"

    # ---- asking and cancelling ------------------------------------------------------------------------------------

    def states(self) -> Mapping[str, Queue]:
        root = self._launch or self.runs
        queued, _ = look_up(read_arrays(root))
        known: dict[str, Queue] = {folder: q.queue for folder, q in queued.items()}  # type: ignore[misc]
        return known

    def cancel(self, folders: Sequence[str]) -> None:
        cancel(self.runs, folders)


@dataclass(frozen=True)
class Cancelled:
    """What became of a wish to cancel, by the works' folders."""

    done: dict[str, str]
    failed: dict[str, str]  # in SLURM's words


def cancel(runs: Path, folders: Sequence[str]) -> Cancelled:
    """Withdraw waiting tasks and ask running ones to save and stop.

    The wish is written down first, where the worker finds it: a worker that is merely signalled takes it for preemption
    and asks to be run again. Where SLURM did not pass the wish on it is taken back, or it would end a later run.
    """
    queued, answer = look_up(read_arrays(runs))
    chosen = {f: q for f, q in queued.items() if f in set(folders) and q.queue != "gone" and q.job}
    result = Cancelled({}, {})
    for folder, task in list(chosen.items()):
        mark = {"job": task.job, "name": task.array.name, "time": time.time()}
        try:
            store.write_json(layout.cancelled(runs / folder), mark)
        except OSError as error:
            result.failed[folder] = f"{task.job}: the wish cannot be written there ({error.strerror or error})"
            del chosen[folder]
    words = answer.silent and f"SLURM does not answer ({answer.silent})"
    running = [str(q.job) for q in chosen.values() if q.queue == "running"]
    waiting = [str(q.job) for q in chosen.values() if q.queue != "running"]
    refused = {} if words else scancel(waiting) | scancel(running, "--signal=USR1")
    for folder, task in chosen.items():
        if why := words or refused.get(str(task.job)):
            layout.cancelled(runs / folder).unlink(missing_ok=True)
            result.failed[folder] = f"{task.job}: {why}"
        else:
            asked = task.queue == "running"
            result.done[folder] = f"asked {task.job} to save and stop" if asked else f"withdrew {task.job}"
    return result


SCANCEL_SECONDS = 60.0
GONE = ("invalid job id", "already completing or completed")  # scancel's words for what has ended meanwhile


def scancel(jobs: Sequence[str], *options: str) -> dict[str, str]:
    """Hand jobs to scancel, many at once; returns those that it did not take, with its words."""
    refused: dict[str, str] = {}
    for start in range(0, len(jobs), 500):
        part = jobs[start : start + 500]
        done = slurm_task.run("scancel", *options, *part, seconds=SCANCEL_SECONDS)
        if not done.returncode:
            continue
        lines = [line for line in done.stderr.splitlines() if not any(word in line.lower() for word in GONE)]
        if not lines and done.stderr.strip():
            continue
        words = " ".join(" ".join(lines).replace("scancel: error: ", "").split())
        named = [job for job in part if any(re.search(rf"\b{job}\b", line) for line in lines)]
        refused |= dict.fromkeys(named or part, words or f"scancel ended with {done.returncode}")
    return refused
