"""`python -m var_scaling.worker FOLDER`: does the work of one folder on the machine it stands on.

The folder says what (identity.json, config.yaml, needs.json, and asked/ for a trial); the worker claims it, does what
is missing, publishes, and leaves why it ended in its attempt. The exit code is a hint for launchers; the truth is on
disk. What each kind of work does is in `work`; this file is what they share, and imports no torch before a claim.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from var_scaling import extras
from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem, NodeProblem
from var_scaling.exits import EXIT_BLOCKED, EXIT_DONE, EXIT_FAILED, EXIT_HELD, EXIT_STOPPED, EXIT_WITHHELD
from var_scaling.runs import frozen, health, layout, pilot, ranks, slurm_task, store
from var_scaling.runs.journal import Journal, durable_images
from var_scaling.runs.record import FRUITLESS_LIMIT, fruitless_attempts, nothing_missing
from var_scaling.runs.slurm_task import SlurmTask
from var_scaling.runs.store import Attempt

Do = Callable[[str, Path, Path, Attempt], None]  # kind, runs, folder, attempt

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
TELL_SECONDS = 5.0  # between two lines of measurements in an attempt's log; the journal has them all
TIME_LIMIT_SLACK = 35.0  # seconds: SLURM looks every 30 s whose time is up
# Full, over quota, read-only, not ours; a file too large for the quota; a broken disk; a file server that forgot us.
DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO, errno.ESTALE))

# Of gloo and NCCL where another rank has gone; of driver, runtime and NCCL where card or node are at fault.
PEER_ERRORS = ("by peer", "Broken pipe", "Timed out waiting", "remote process exited", "Watchdog caught collective")
DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "CUBLAS_STATUS", "CUDNN_STATUS", "NCCL", "Xid", "ECC error")


def do_work(kind: str, runs: Path, folder: Path, attempt: Attempt) -> None:
    """The real work of a folder."""
    from var_scaling.work import jobs

    jobs.do(kind, runs, folder, yaml.load(layout.config(folder))[0], attempt)


def lend_work(runs: Path, folder: Path, attempt: Attempt, meeting: ranks.Meeting, rank: int) -> None:
    """A share of the real work of a trial."""
    from var_scaling.work import jobs

    jobs.lend(runs, folder, yaml.load(layout.config(folder))[0], attempt, meeting, rank)


def main(folder: Path, do: Do = do_work) -> int:
    """Claim the folder and do what is missing there; returns the exit code."""
    asked: list[str] = []
    stop = threading.Event()

    def on_signal(number: int, _: object) -> None:  # a flag and nothing else; the loop looks at it
        asked.append(signal.Signals(number).name)
        stop.set()

    for number in SIGNALS:
        signal.signal(number, on_signal)
    try:
        frozen.check()
    except EnvironmentProblem as problem:
        print(problem, flush=True)
        return EXIT_FAILED
    runs = layout.runs_of(folder)
    kind = store.read_json(layout.identity(folder))["kind"]
    task = slurm_task.this_task()
    if rank := ranks.this_rank():
        return _lend(runs, folder, rank)
    if (reason := _turned_away(folder, task)) is not None:
        print(f"{folder.name}: not started: {reason}", flush=True)
        return EXIT_WITHHELD
    missing = [need for need in store.read_json(layout.needs(folder)) if not layout.result(runs / need).exists()]
    if missing:
        print(f"{folder.name}: not built yet: {', '.join(missing)}", flush=True)
        return EXIT_BLOCKED
    try:
        take_over = os.environ.get("VAR_SCALING_TAKE_OVER") == "1"
        # Ray starts a work again when it has given up its process, though the job both belong to goes on.
        ask = None if "VAR_SCALING_RAY" in os.environ and take_over else slurm_task.life
        attempt = store.take(folder, ask, take_over=take_over, done=nothing_missing)
    except store.Done:
        return EXIT_DONE
    except store.Held as held:
        print(held, flush=True)
        return EXIT_HELD
    except OSError as error:
        print(f"{folder.name} could not be claimed, so nothing was done: {error}", flush=True)
        return EXIT_FAILED
    begin = time.monotonic()
    try:
        _redirect_output(layout.log(attempt.folder))
        journal, durable = layout.journal(attempt.folder), durable_images(folder)
        attempt.journal = Journal(journal, _on_mark(runs, folder, task), durable, _Teller())
        attempt.stop = stop
        if task and (left := task.seconds_left()) is not None:
            attempt.ends_at = time.monotonic() + left
        do(kind, runs, folder, attempt)
        attempt.end("finished")
        return EXIT_DONE
    except store.Stopped:
        return _stopped(attempt, task, asked)
    except store.Lost as lost:
        print(lost, flush=True)  # the folder is another's now: leave without writing to it
        return EXIT_HELD
    except Exception as error:
        cause, message = classify(error)
        place = _place(error)
        with contextlib.suppress(OSError):  # on a disk that takes nothing at all there is nothing to be said
            said = attempt.end(cause, message=message, place=place, node=_node(task, attempt))
            cause, place, message = said["cause"], said.get("place", place), said.get("message", message)
            traceback.print_exc()
        _tell_others(folder, attempt, task, (cause, place, message), time.monotonic() - begin)
        return EXIT_FAILED


class _Teller:
    """Puts the journal into words for the log, a line every few seconds and each mark, so that `logs` has a story."""

    def __init__(self) -> None:
        self.said = 0.0
        self.unsaid: list[str] = []  # what was measured since

    def __call__(self, line: Mapping[str, Any]) -> None:
        event, now = line.get("event"), time.monotonic()
        if measured := [f"{k} {v:.5g}" for k, v in line.items() if isinstance(v, float) and "/" in k]:
            self.unsaid = measured
        if not event and now < self.said + TELL_SECONDS:
            return
        self.said = now
        what = " ".join(str(line[k]) for k in ("event", "phase") if k in line)
        at = f" at {line['images']:,} images" if isinstance(line.get("images"), int) else ""
        words = f": {', '.join(self.unsaid[:6])}" if self.unsaid else ""
        self.unsaid = []
        print(f"{time.strftime('%H:%M:%S')} {what}{at}{words}", flush=True)


def _lend(runs: Path, folder: Path, rank: int) -> int:
    """Be one of the other ranks: no claim, no row; only why it failed, if it does, is written into the attempt."""
    found = ranks.find_meeting(folder, nothing_missing)
    if found is None:
        return EXIT_DONE
    attempt, meeting = found
    _redirect_output(layout.log(attempt.folder, rank))
    ranks.leave_with(attempt)
    try:
        lend_work(runs, folder, attempt, meeting, rank)
        return EXIT_DONE
    except store.Lost as lost:
        print(lost, flush=True)
        return EXIT_STOPPED
    except Exception as error:
        traceback.print_exc()
        if lost_touch(error):  # it is no cause but a consequence, and whoever knows the cause says it
            return EXIT_STOPPED
        cause, message = classify(error)
        attempt.end(cause, message=f"rank {rank}: {message}", place=_place(error), node=os.uname().nodename)
        return EXIT_FAILED


def _on_mark(runs: Path, folder: Path, task: SlurmTask | None) -> Callable[[], None]:
    """What a durable checkpoint of this work sets going: under SLURM a pilot lets the rest of its launch go."""
    launch = os.environ.get("VAR_SCALING_LAUNCH")
    if task is None or not launch:
        return lambda: None
    return pilot.Watch(runs, folder.relative_to(runs).as_posix(), Path(launch))


def _stopped(attempt: Attempt, task: SlurmTask | None, asked: list[str]) -> int:
    """Everything is saved: say why, and ask SLURM once to run this task again unless it was taken back."""
    if task is None:
        attempt.end("stopped")
        return EXIT_STOPPED
    mark = store.read_json(layout.cancelled(attempt.work)) or {}
    if (mark.get("job"), mark.get("name", task.name)) == (task.job, task.name) or "SIGINT" in asked:
        attempt.end("stopped", message="cancelled")
        return EXIT_STOPPED
    in_time = attempt.ends_at is None or time.monotonic() < attempt.ends_at - TIME_LIMIT_SLACK
    cause = "time-limit" if not in_time or not asked or asked[0] == "SIGUSR2" else "preempted"
    why = f"{asked[0]} from SLURM" if asked else "the next step no longer fitted before the time limit"
    ending = in_time and task.was_cancelled()
    attempt.end(cause, message=f"{why}; saved" + ("; the job was ending" if ending else ", and asked to run again"))
    if task.rank == 0 and not ending:
        print(f"requeue {task.job}: {task.requeue() or 'accepted'}", flush=True)
    return EXIT_STOPPED


def _turned_away(folder: Path, task: SlurmTask | None) -> str | None:
    """Why this work should not even be claimed here, or None."""
    launch = os.environ.get("VAR_SCALING_LAUNCH")
    if not launch:
        return None
    numbers = store.attempt_numbers(folder)
    if (lost := fruitless_attempts(folder, numbers, launch)) >= FRUITLESS_LIMIT:
        return f"its last {lost} attempts of this launch ended without a checkpoint; `var-sweep retry` starts it again"
    notes = health.read_notes(Path(launch))
    if bug := health.common_bug(notes):
        return (
            f"{health.EQUAL_FAILURES} works failed in the same way before any progress ({bug.cause}: {bug.message}), "
            "so the rest is held; mend it and launch again"
        )
    if task and task.node in health.bad_nodes(notes):
        task.leave_node()
        answer = task.requeue() or "accepted"
        return f"two works died at once on {task.node}; excluded it and asked to run elsewhere: {answer}"
    return None


def _tell_others(
    folder: Path, attempt: Attempt, task: SlurmTask | None, failure: tuple[str, str, str], seconds: float
) -> None:
    launch = os.environ.get("VAR_SCALING_LAUNCH")
    gained = layout.budgets(folder).is_dir() or any(layout.checkpoints(attempt.folder).glob("*"))
    if launch and not gained and failure[0] != "diverged":
        cause, place, message = failure
        node = task.node if task else ""  # nobody else could exclude one, so nothing is put down to it
        note = health.Note(folder.name, cause, place, message, node, seconds, time.time())
        health.note_failure(Path(launch), note)


def _node(task: SlurmTask | None, attempt: Attempt) -> str:
    return task.node if task and task.node else attempt.holder.host


def classify(error: BaseException) -> tuple[str, str]:
    """The cause of a failure in the words of DESIGN, and one sentence."""
    text = str(error).strip() or type(error).__name__
    names = {kind.__name__ for kind in type(error).__mro__}
    if "Diverged" in names:
        return "diverged", text
    if "OutOfMemoryError" in names:
        return "out-of-gpu-memory", "; ".join([text.splitlines()[0], *getattr(error, "__notes__", ())])
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "out-of-host-memory", text.splitlines()[0]
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return "disk", f"{os.strerror(error.errno)}: {error.filename or 'the runs folder'}"
    if isinstance(error, NodeProblem):
        return "node", text
    if words := extras.of_import(error):
        return "node", words
    if isinstance(error, EnvironmentProblem):
        return "data", text
    if lost_touch(error):
        return "node", f"another rank of this trial ended: {text.splitlines()[0]}"
    if isinstance(error, RuntimeError) and any(w in text for w in DEVICE_ERRORS) and "device-side assert" not in text:
        return "node", text.splitlines()[0]
    return "code", f"{type(error).__name__}: {text.splitlines()[0]}"


def lost_touch(error: BaseException) -> bool:
    """Whether a collective failed because another rank left it, or never came."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in PEER_ERRORS)


def _place(error: BaseException) -> str:
    """The last frame of our own code: with the cause, the fingerprint of a failure."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(__file__).parent)]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def _redirect_output(path: Path) -> None:
    """Everything printed from here on goes to the attempt's own log."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def leave(status: int) -> NoReturn:
    """End the process; after a failure without torch's farewell to process groups, for other ranks may be stuck."""
    if status == EXIT_FAILED:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main(Path(sys.argv[1]).resolve()))
