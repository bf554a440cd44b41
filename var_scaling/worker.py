"""`python -m var_scaling.worker FOLDER`: does the work of one folder on the machine it stands on.

The folder says what (identity.json, config.yaml, needs.json, and asked/ for a trial); the worker claims it, does what
is missing, publishes, and leaves why it ended in its attempt. The exit code is a hint for launchers; disk is the truth.
What each kind of work does is in `stages`; this file is what they share, and imports no torch before it holds a claim.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from var_scaling import store
from var_scaling.config import yaml
from var_scaling.errors import EnvironmentProblem
from var_scaling.exits import EXIT_BLOCKED, EXIT_DONE, EXIT_FAILED, EXIT_HELD, EXIT_STOPPED
from var_scaling.planning.record import nothing_missing
from var_scaling.store import Attempt
from var_scaling.tracking.journal import Journal

Do = Callable[[str, Path, Path, Attempt], None]  # kind, runs, folder, attempt


def do_work(kind: str, runs: Path, folder: Path, attempt: Attempt) -> None:
    """The real work of a folder."""
    from var_scaling import stages

    stages.do(kind, runs, folder, yaml.load(folder / "config.yaml")[0], attempt)


def main(folder: Path, do: Do = do_work) -> int:
    """Claim the folder and do what is missing there; returns the exit code."""
    runs = folder.parents[1] if folder.parent.name == "trials" else folder.parents[2]
    kind = store.read_json(folder / "identity.json")["kind"]
    missing = [need for need in store.read_json(folder / "needs.json") if not (runs / need / "result").exists()]
    if missing:
        print(f"{folder.name}: not built yet: {', '.join(missing)}", flush=True)
        return EXIT_BLOCKED
    try:
        take_over = os.environ.get("VAR_SCALING_TAKE_OVER") == "1"
        attempt = store.take(folder, take_over=take_over, done=nothing_missing)
    except store.Done:
        return EXIT_DONE
    except store.Held as held:
        print(held, flush=True)
        return EXIT_HELD
    _redirect_output(attempt.folder / "log.txt")
    attempt.journal = Journal(attempt.folder / "journal.jsonl")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: attempt.stop.set())  # a flag and nothing else; the loop looks at it
    try:
        do(kind, runs, folder, attempt)
        attempt.end("finished")
        return EXIT_DONE
    except store.Stopped:
        attempt.end("stopped")
        return EXIT_STOPPED
    except store.Lost as lost:
        print(lost, flush=True)  # the folder is another's now: leave without writing to it
        return EXIT_HELD
    except Exception as error:
        traceback.print_exc()
        cause, message = classify(error)
        attempt.end(cause, message=message, place=_place(error))
        return EXIT_FAILED


def classify(error: BaseException) -> tuple[str, str]:
    """The cause of a failure in the words of DESIGN, and one sentence."""
    text = str(error).strip() or type(error).__name__
    names = {kind.__name__ for kind in type(error).__mro__}
    if "Diverged" in names:
        return "diverged", text
    if "OutOfMemoryError" in names:
        return "out-of-gpu-memory", text.splitlines()[0]
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "out-of-host-memory", text.splitlines()[0]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return "disk", f"{os.strerror(error.errno)}: {error.filename or 'the runs folder'}"
    if isinstance(error, EnvironmentProblem):
        return "data", text
    return "code", f"{type(error).__name__}: {text.splitlines()[0]}"


def _place(error: BaseException) -> str:
    """The last frame of our own code: with the cause, the fingerprint of a failure."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(__file__).parent)]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


def _redirect_output(path: Path) -> None:
    """Everything printed from here on goes to the attempt's own log."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
