"""Random bad things, done to real processes, until there were enough; then the sweep may finish."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support import commands, engine
from var_scaling.launch.status import TrialStatus, read_status

PROFILE = ROOT / "slurm" / "profiles" / "local-test.yaml"
NODES = ("n1", "n2", "n3", "n4")

# What is done, and how often of a hundred times.
ON_THIS_MACHINE = {
    "SIGKILL of a worker": 50,
    "SIGKILL of the launcher's process": 15,
    "SIGTERM of a worker": 12,
    "checkpoint truncated, SIGKILL of its worker": 13,
    "worker paused for up to a second": 10,
}
ON_SLURM = {
    "SIGKILL of a worker": 40,
    "SIGKILL of a launch while it submits": 12,
    "SIGTERM of a worker": 6,
    "checkpoint truncated, SIGKILL of its worker": 8,
    "scontrol requeue": 12,
    "SIGKILL of a slurmd, back after up to 20 s": 8,
    "node set down, back after up to 5 s": 8,
    "job of higher priority takes a node": 6,
}


class Storm:
    """One sweep, launched by commands, and what happens to it."""

    def __init__(
        self, study: Path, runs: Path, seed: int, tracker: str, cluster: Any = None, mirrored: bool = False
    ) -> None:
        self.study, self.runs, self.dice, self.cluster = study, runs, random.Random(seed), cluster
        self.strikes = ON_SLURM if cluster else ON_THIS_MACHINE
        self.done: Counter[str] = Counter({what: 0 for what in self.strikes})
        self.launches = 0
        self.command: subprocess.Popen[bytes] | None = None
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.env = {"MLFLOW_TRACKING_URI": tracker}
        self.options: list[object] = [] if mirrored else ["--no-mlflow"]
        if cluster:
            self.profile = runs.parent / "low.yaml"
            self.profile.write_text(PROFILE.read_text().replace("partition: batch", "partition: low"))
            self.options = ["--launcher", "slurm", "--profile", self.profile, "--yes"]

    def run(self, kills: int, seconds: float) -> None:
        """Strike so often, then let it finish.

        Raises:
            AssertionError: a row changed, is missing or is wrong; or there was no time.
        """
        rows: dict[Path, bytes] = {}
        deadline = time.monotonic() + seconds
        try:
            while True:
                assert time.monotonic() < deadline, (self.done, commands.said(self.runs))
                for path in self.runs.glob("trials/*/budgets/*/row.json"):
                    assert rows.setdefault(path, path.read_bytes()) == path.read_bytes(), "a row never changes"
                if self.done.total() >= kills:
                    (self.runs / "step_seconds").write_text("0.001")
                    self._do_later(all_of_it=True)
                self._do_later()
                trials = self.trials()
                if trials and all(t.state == "finished" for t in trials) and self._ended():
                    break
                if self._ended() and not (self.cluster and self._busy()):
                    self._launch(trials)
                time.sleep(self.dice.uniform(0.0, 0.15))
                if self.done.total() < kills:
                    self._strike(trials)
        finally:
            self._do_later(all_of_it=True)
            if self.command and self.command.poll() is None:
                self.command.kill()
        status = read_status(self.runs, "fake")
        engine.check_rows(self.runs, status)
        assert all(path.read_bytes() == content for path, content in rows.items())

    def trials(self) -> tuple[TrialStatus, ...]:
        try:
            return read_status(self.runs, "fake").trials
        except Exception:
            if (self.runs / "sweeps" / "fake" / "study.json").exists():
                raise
            return ()  # no launch has lived long enough

    def table(self) -> str:
        """Rows for the diary."""
        trials = self.trials()
        end = {
            "launches": self.launches,
            "attempts": sum(t.record.attempts for t in trials),
            "rows": sum(len(t.budgets) for t in trials),
        }
        where = "SLURM" if self.cluster else "this machine"
        return "\n".join(f"| {where} | {what} | {n} |" for what, n in (self.done + Counter(end)).items())

    # ---- launching

    def _ended(self) -> bool:
        return self.command is None or self.command.poll() is not None

    def _busy(self) -> bool:
        return bool(self.trials()) and read_status(self.runs, "fake").busy

    def _launch(self, trials: tuple[TrialStatus, ...]) -> None:
        failed = any(t.state == "failed" for t in trials)
        self.launches += 1
        if failed:  # three deaths before the first checkpoint
            options = ["--yes"] if self.cluster else []
            self.command = commands.start("retry", "fake", *options, runs=self.runs, **self.env)
        else:
            self.command = commands.start("launch", self.study, *self.options, runs=self.runs, **self.env)

    # ---- striking

    def _do_later(self, all_of_it: bool = False) -> None:
        now = time.monotonic()
        due = [what for at, what in self.later if all_of_it or at <= now]
        self.later = [(at, what) for at, what in self.later if not (all_of_it or at <= now)]
        for what in due:
            what()

    def _after(self, seconds: float, what: Callable[[], object]) -> None:
        self.later.append((time.monotonic() + self.dice.uniform(0.0, seconds), what))

    def _strike(self, trials: tuple[TrialStatus, ...]) -> None:
        (what,) = self.dice.choices(list(self.strikes), list(self.strikes.values()))
        busy = [t for t in trials if t.state == "running" and t.record.holder]
        if "launch" in what:  # seldom while it starts, or nothing would ever get to work
            self.done[what] += (bool(busy) or self.dice.random() < 0.1) and self._kill_launch()
        elif busy:
            self.done[what] += self._hit(what, self.dice.choice(busy))

    def _kill_launch(self) -> bool:
        if self.cluster:
            if not self._ended():
                return False
            self._launch(())
            time.sleep(self.dice.uniform(0.2, 4.0))
        if self._ended():
            return False
        assert self.command
        self.command.kill()
        return self.command.wait() == -signal.SIGKILL

    def _hit(self, what: str, victim: TrialStatus) -> bool:
        assert victim.record.holder
        pid = victim.record.holder.pid
        if "paused" in what:
            self._after(1.0, lambda: _signal(pid, signal.SIGCONT))
            return _signal(pid, signal.SIGSTOP)
        if "SIGTERM" in what:
            return _signal(pid, signal.SIGTERM)
        if what.endswith("worker"):
            hit = _signal(pid, signal.SIGKILL)
            if hit and "truncated" in what:
                saved = sorted((self.runs / victim.folder).glob("attempts/*/checkpoints/trunk.pt"))
                for path in saved[-1:]:
                    path.write_bytes(path.read_bytes()[:-4])
                return bool(saved)
            return hit
        node = self.dice.choice(NODES)
        if "requeue" in what:
            job = victim.queued.job if victim.queued else None
            return bool(job) and self.cluster.call("scontrol", "requeue", job).returncode == 0
        if "slurmd" in what:
            name = f"slurmd-{node}"
            if not (daemon := self.cluster.pid(name)):
                return False
            self._after(20.0, lambda: self.cluster.start_node(node))
            return _signal(daemon, signal.SIGKILL)
        if "node" in what and "down" in what:
            update = ("scontrol", "update", f"nodename={node}")
            self._after(5.0, lambda: self.cluster.call(*update, "state=resume"))
            return self.cluster.call(*update, "state=down", "reason=storm").returncode == 0
        rival = ("sbatch", "-p", "high", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        return self.cluster.call(*rival).returncode == 0


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
