"""A launch that stays: submit, follow with bars, stop on Ctrl-C, mirror beside it, and say what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from var_scaling.cli import show
from var_scaling.cli.bars import Bars
from var_scaling.cli.money import agree
from var_scaling.cli.run import Failed, Interrupted, err, out, print_json, span
from var_scaling.launch import status as state
from var_scaling.launch.follow import View, follow
from var_scaling.launch.missing import Missing, missing_text, what_is_missing
from var_scaling.launch.order import Launch, Order
from var_scaling.launch.protocol import StayingLauncher
from var_scaling.runs import layout, pilot
from var_scaling.tracking.address import read_ui_address, shown, tracking_uri


def drive(order: Order, json: bool, quiet: bool = False) -> None:
    """Begin, submit, follow with bars, stop cleanly on Ctrl-C, and say what came of it."""
    for note in order.place.notes:
        err.print(note, soft_wrap=True)
    runs, name = order.plan.runs, order.name
    started, launcher = order.begin(agree), cast(StayingLauncher, order.launcher())
    mirror = _start_mirror(runs, name) if order.mlflow and started.jobs else None
    folders = [job.work.folder for job in started.jobs]
    interrupts: list[int] = []

    def on_interrupt(*_: object) -> None:
        interrupts.append(1)
        if len(interrupts) == 1:
            err.print("stopping: workers save and leave; once more ends them at once")
            launcher.cancel(folders)
        else:
            launcher.kill()

    gates = [gate] if (gate := pilot.read_gate(started.folder)) else []

    def draw(view: View, show_view: Callable[[View], None]) -> None:
        show_view(view)
        if gates and gates[0].open(runs):
            for line in gates.pop().lines(runs):
                err.print(line, soft_wrap=True)

    # A terminal that is closed is Ctrl-C too, but not under nohup, where it is ignored.
    caught = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    before = {s: signal.signal(s, on_interrupt) for s in caught}
    begin = time.monotonic()
    try:
        launcher.submit(started.jobs, started.folder)
        if interrupts:  # while it was handed over
            launcher.cancel(folders)
        if err.is_terminal:
            with Bars(started, err) as bars:
                follow(started, launcher, lambda view: draw(view, bars.draw))
        else:
            lines = _Lines(started)
            follow(started, launcher, lambda view: draw(view, lines.draw))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if mirror:
            _finish_mirror(mirror, runs, name)
    if launcher.held_because:
        err.print(f"the rest is held: {launcher.held_because}", soft_wrap=True)
    if interrupts:
        raise Interrupted
    missing = what_is_missing(started, launcher.held_because or launcher.broken)
    if not quiet:
        _report(started, missing, time.monotonic() - begin, json)
    if missing:
        err.print(missing_text(missing), soft_wrap=True)
        raise Failed


class _Lines:
    """Progress for logs and pipes: a line when a work starts or ends."""

    def __init__(self, started: Launch) -> None:
        self.seen: dict[str, str] = {}
        self.total = len(started.jobs)

    def draw(self, view: View) -> None:
        for folder, record in view.records.items():
            queue = view.queue.get(folder, "gone")
            word = record.state if queue == "gone" else queue
            if word in ("running", "finished", "failed", "stopped", "interrupted") and self.seen.get(folder) != word:
                self.seen[folder] = word
                detail = f": {record.cause}: {record.message}" if word == "failed" else ""
                done = sum(w == "finished" for w in self.seen.values())
                err.print(f"[{done}/{self.total}] {word:<9} {folder}{detail}", soft_wrap=True)


def _report(started: Launch, missing: Sequence[Missing], seconds: float, json: bool) -> None:
    runs, name = started.plan.runs, started.plan.study.name
    status = state.read_status(runs, name)
    if json:
        trials = [t.as_dict() for t in status.trials]
        lacks = [each.as_dict() for each in missing]
        found = {"trials": trials, "missing": lacks, "symptoms": show.symptoms_of(runs, name)}
        print_json({"schema": 1, "sweep": name, "seconds": seconds, **found})
        return
    for table in show.row_tables(runs, status.trials):
        if table.row_count:
            out.print(table)
    show.print_symptoms(runs, name)
    done = sum(t.state == "finished" for t in status.trials)
    before = sum(reason.startswith("finished") for _, reason in started.skipped)
    never = {each.work for each in missing if each.state == "new"}
    ran = sum(job.work.folder not in never for job in started.jobs)
    fit = f"var-scaling fit-laws {name} | " if any(t.record.rows for t in status.trials) else ""
    out.print(
        f"{done} of {len(status.trials)} trials finished ({before} were there already, "
        f"{ran} works run in {span(seconds)}); folder {layout.sweep(runs, name)}\n"
        f"next: {fit}var-sweep status {name}\n{_ui_hint(runs, name)}",
        soft_wrap=True,
    )


# ---- the mirror -----------------------------------------------------------------------------------------------------


def _start_mirror(runs: Path, name: str) -> subprocess.Popen[bytes]:
    """The one process beside a launch that talks to MLflow."""
    log = open(layout.mirror_log(layout.sweep(runs, name)), "ab")  # noqa: SIM115
    return subprocess.Popen(
        [sys.executable, "-m", "var_scaling.tracking.mlflow_mirror", str(runs), name, "--follow"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=dict(os.environ, OMP_NUM_THREADS="1", VAR_SCALING_LAUNCHER=str(os.getpid())),
    )


def _finish_mirror(mirror: subprocess.Popen[bytes], runs: Path, name: str) -> None:
    """Ask it to send the rest; a tracker that does not answer is left for `var-sweep sync`."""
    mirror.terminate()
    try:
        if mirror.wait(timeout=60) == 0:
            return
    except subprocess.TimeoutExpired:
        mirror.kill()
    err.print(
        f"MLflow has not been brought up to date ({layout.mirror_log(layout.sweep(runs, name))}); nothing is lost: "
        f"var-sweep sync {name}",
        soft_wrap=True,
    )


def _ui_hint(runs: Path, name: str) -> str:
    """Where to look at the curves: the page that shows all trials at once, and how to serve it."""
    address = read_ui_address(runs, name)
    if address is None:
        return f"curves: var-sweep sync {name} sends them to MLflow"
    uri = tracking_uri()
    serve = "" if uri.startswith("http") else f"mlflow ui --backend-store-uri {shown(uri)}, then "
    return f"curves: {serve}{address}"
