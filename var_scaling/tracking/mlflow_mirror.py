"""The mirror: `python -m var_scaling.tracking.mlflow_mirror RUNS SWEEP [--once|--follow]` brings MLflow up to date.

The journals are the truth and the queue; this is the only process that talks to MLflow, and the only module that
imports it. It reads what is on disk, sends what is new, and remembers how far it got only after the tracker has taken
it. A point is its (run, name, step, timestamp, value), all from the journal, so that sending twice after doubt is free.

    experiment   the sweep; its note and the view that the printed address opens
      run        a launch: laws are its metrics, their figures its artifacts
        run      a tokenizer's training
        run      a trial: its curves, step = images seen, compute as a metric beside them
          run    a row (trial x budget): N, C, D, losses, FID with its interval

Only what can no longer be rolled back is published: lines up to a phase's last durable checkpoint, and all of a budget
that has its row. `train/` and `trunk/` are the trunk's curves, `anneal_<images>/` a branch's; `val/`, `scale/`, `fid/`
and `quality/` have one point a budget. Losses say whose they are: those of two families are different measurements.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from var_scaling.errors import EnvironmentProblem
from var_scaling.runs import layout, store
from var_scaling.tracking.address import tracking_uri
from var_scaling.tracking.connect import may_pass
from var_scaling.tracking.filesystem import check_store
from var_scaling.tracking.mirror import Mirror, NotTaken, words_of

POLL_SECONDS = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 all was sent, or another mirror of this sweep is at it; 1 the tracker is silent; 2 no such sweep.

    3: a store that must not be opened from here, or that answered and refused something.
    """
    for stream in (sys.stdout, sys.stderr):  # a log in any locale
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="python -m var_scaling.tracking.mlflow_mirror", description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("sweep")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--once", action="store_true", help="send what is there and leave (the default)")
    mode.add_argument("--follow", action="store_true", help="until SIGTERM, or until the launcher is gone")
    asked = parser.parse_args(arguments)
    folder = layout.sweep(asked.runs, asked.sweep)
    if not folder.is_dir():
        print(f"{folder} does not exist: no sweep of that name was launched here", file=sys.stderr)
        return 2
    try:
        check_store(tracking_uri())
    except EnvironmentProblem as problem:
        print(problem, file=sys.stderr)
        return 3
    try:
        layout.mirror(folder).mkdir(exist_ok=True)
        attempt = store.take(layout.mirror(folder))
    except store.Held as held:
        print(f"another mirror of {asked.sweep} is at work: {held}", file=sys.stderr)
        return 0 if held.state == "alive" else 1
    except OSError as error:  # somebody else's runs, for one to read
        print(
            f"{error.strerror} in {folder}: a mirror remembers there what it has sent; sync as a user who may write it",
            file=sys.stderr,
        )
        return 3
    for number in store.attempt_numbers(layout.mirror(folder))[:-1]:  # a mirror's past is of no use
        shutil.rmtree(layout.attempt(layout.mirror(folder), number), ignore_errors=True)
    stop = attempt.stop
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from var_scaling.launch.slurm.arrays import ask_once

    mirror = Mirror(asked.runs, asked.sweep, ask=None if asked.follow else ask_once(asked.runs), live=asked.follow)
    code = _follow(mirror, attempt) if asked.follow else _once(mirror)
    attempt.end({0: "finished", 1: "tracker-down"}.get(code, "tracker-refused"))
    return code


def _once(mirror: Mirror, tries: int = 3) -> int:
    for number in range(tries):
        if (code := _try(mirror)) != 1:
            return code
        if number + 1 < tries:
            time.sleep(2.0**number)
    return 1


def _follow(mirror: Mirror, attempt: store.Attempt) -> int:
    """Rounds until told to stop; between failures it waits longer and longer, up to half a minute."""
    # Named by the launcher: one that is killed while this process imports MLflow would not be missed later.
    launcher, wait = int(os.environ.get("VAR_SCALING_LAUNCHER", os.getppid())), POLL_SECONDS
    while True:
        last = attempt.stop.is_set() or os.getppid() != launcher
        attempt.check_owner()
        begin = time.monotonic()
        mirror.live = not last
        code = _try(mirror)
        if last:
            return code
        # A round over a thousand trials reads for seconds: rest ten times as long, for this may be a login node.
        wait = max(POLL_SECONDS, 10 * (time.monotonic() - begin)) if not code else min(2 * wait, 30.0)
        until = time.monotonic() + wait
        while time.monotonic() < until and not attempt.stop.is_set() and os.getppid() == launcher:
            time.sleep(0.1)


def _try(mirror: Mirror) -> int:
    """One round, as an exit code; whatever the tracker or its client raises, the journal keeps everything."""
    now = time.strftime("%H:%M:%S")
    try:
        mirror.sync()
    except NotTaken as problem:
        print(f"{now} not taken: {problem}", file=sys.stderr)
        return 3
    except Exception as error:
        if may_pass(error, mirror.uri):
            print(f"{now} not sent, will be: {words_of(error)}", file=sys.stderr)
            return 1
        print(f"{now} refused: {words_of(error)}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
