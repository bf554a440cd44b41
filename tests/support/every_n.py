"""`python -m tests.support.every_n CASE HOW`: for every n, let the n-th change of the file system go wrong, then go on.

Each turn starts from the same folder, runs CASE with the fault in a process of its own, and then launches undisturbed:
the sweep must end with the right rows. It stops at the first n that is never reached, and prints what it found as JSON.
Processes are forked from this one, which has everything imported: a thousand turns take seconds.
"""

from __future__ import annotations

import functools
import json
import mmap
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

from tests.conftest import FAKE_STUDY
from tests.support import engine, fake_worker
from tests.support.faults import HOWS, Faults, How
from tests.support.slurm import FAKE_SLURM, PROFILE
from var_scaling import worker
from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.follow import follow
from var_scaling.launch.local import Local, LocalLauncher
from var_scaling.launch.order import Order
from var_scaling.launch.protocol import Job
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.status import read_status
from var_scaling.runs import frozen, store
from var_scaling.runs.record import read_record

STUDY = FAKE_STUDY.replace("[2, 3]", "[2]").replace("[0, 1]", "[0]").replace("3_000, 7_000", "1_000, 2_000")


class Child:
    """A forked process, as `LocalLauncher` sees one that it started."""

    def __init__(self, run: Callable[[], int], log: Path) -> None:
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 99
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # no clean-up of the parent's things; files that are open were flushed or are lost

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self) -> int:
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status


class ForkingLauncher(LocalLauncher):
    """The local launcher around forked workers."""

    def _spawn(self, job: Job, threads: int) -> Child:  # type: ignore[override]
        folder = self.runs / job.work.folder
        return Child(lambda: worker.main(folder, fake_worker.do), self.runs.parent / "log")


class Case:
    """One place of the program to be disturbed."""

    exits: tuple[int, ...] = (
        0,
        3,
    )  # a fault that is not fatal may pass unnoticed; one that is, is a sentence and not a traceback

    def __init__(self, base: Path) -> None:
        self.base, self.study = base, base / "fake.yaml"
        self.study.write_text(STUDY)
        (base / "runs").mkdir()
        (base / "runs" / "step_seconds").write_text("0")
        frozen.freeze(base / "runs")
        self.code = (base / "runs" / "store" / "code").rename(base / "code")

    def fresh(self, folder: Path) -> Path:
        """A copy of the folder from which each turn starts."""
        shutil.copytree(self.base / "runs", folder / "runs")
        (folder / "runs" / "store").mkdir(exist_ok=True)
        (folder / "runs" / "store" / "code").symlink_to(self.code)
        return folder / "runs"

    def disturbed(self, runs: Path, faults: Faults) -> int:
        """What is to be disturbed; returns its exit code. It installs the faults when it comes to that."""
        raise NotImplementedError

    def launch(self, runs: Path) -> None:
        """An undisturbed launch, or what the user would type next."""
        plan = engine.plan(self.study, runs)
        started = Order(plan, self.study.read_text(), Local(), failed_too=True).write()
        launcher = ForkingLauncher(runs, 2)
        launcher.submit(started.jobs, started.folder)
        follow(started, launcher, lambda view: None, poll_seconds=0.005)

    def check(self, runs: Path) -> None:
        """What must hold right after the fault."""
        for path in runs.glob("trials/*/budgets/*"):
            row = json.loads((path / "row.json").read_text())
            assert row["loss_all_scales"] == fake_worker.expected_value(int(path.name)), "a row that is there is whole"


class Worker(Case):
    """A worker that trains a trial."""

    exits = (0, 1)

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        launch = Order(engine.plan(self.study, base / "runs"), STUDY, Local()).write()
        for folder in [base / "runs" / job.work.folder for job in launch.jobs[:-1]]:
            assert Child(partial(worker.main, folder, fake_worker.do), base / "log").wait() == 0
        self.trial = launch.jobs[-1].work.folder
        assert self.trial.startswith("trials/")

    def disturbed(self, runs: Path, faults: Faults) -> int:
        faults.install()
        return worker.main(runs / self.trial, fake_worker.do)

    def check(self, runs: Path) -> None:
        super().check(runs)
        record = read_record(runs, self.trial, [1_000, 2_000])
        assert record.state in ("new", "interrupted", "finished", "failed"), record
        assert record.state != "failed" or record.cause == "disk", record


class Launch(Case):
    """A launch up to its submission."""

    def disturbed(self, runs: Path, faults: Faults) -> int:
        faults.install()
        try:
            started = Order(engine.plan(self.study, runs), STUDY, Local()).write()
            LocalLauncher(runs, 2).submit(started.jobs, started.folder)
        except EnvironmentProblem:
            return 3
        return 0


class Freeze(Case):
    """Storing the code of a launch, by a package of three files."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.package = base / "package"
        for name in ("__init__.py", "a.py", "deep/b.py"):
            (self.package / name).parent.mkdir(parents=True, exist_ok=True)
            (self.package / name).write_text(f"name = {name!r}\n")

    def disturbed(self, runs: Path, faults: Faults) -> int:
        faults.install()
        try:
            frozen.freeze(runs / "apart", self.package)
        except EnvironmentProblem:
            return 3
        return 0

    def launch(self, runs: Path) -> None:
        copy = frozen.freeze(runs / "apart", self.package) / "package"
        assert frozen.code_hash(copy) == frozen.code_hash(self.package) == copy.parent.name
        super().launch(runs)


class Submit(Case):
    """Handing a launch to SLURM: here an sbatch and a squeue of a few lines around a text file."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        for name in ("sbatch", "squeue", "scontrol", "scancel", "sacct", "srun"):
            (base / "bin" / name).parent.mkdir(exist_ok=True)
            (base / "bin" / name).write_text(FAKE_SLURM)
            (base / "bin" / name).chmod(0o755)
        os.environ["PATH"] = f"{base / 'bin'}:{os.environ['PATH']}"

    def fresh(self, folder: Path) -> Path:
        for name in ("queue", "number", "calls"):
            (self.base / "bin" / name).unlink(missing_ok=True)
        return super().fresh(folder)

    def submit(self, runs: Path, faults: Faults | None) -> None:
        started = Order(engine.plan(self.study, runs), STUDY, Slurm(PROFILE)).write()
        if faults:
            faults.install()
        SlurmLauncher(runs, PROFILE, "fake", pause=lambda seconds: None).submit(started.jobs, started.folder)

    def disturbed(self, runs: Path, faults: Faults) -> int:
        try:
            self.submit(runs, faults)
        except EnvironmentProblem:
            queue = self.base / "bin" / "queue"
            return 98 if queue.exists() and queue.read_text() else 3  # nothing stays half-submitted
        return 0

    def queued(self, runs: Path) -> list[str]:
        """The works of all tasks in the queue, by the lists that their scripts read."""
        lines = [line.split("|") for line in (self.base / "bin" / "queue").read_text().splitlines()]
        lists = {path.stem: path.read_text().split() for path in runs.glob("sweeps/*/launches/*/slurm/*.list")}
        return [lists[name.rpartition("-")[2]][int(task.partition("_")[2])] for task, _, _, name, _ in lines]

    def check(self, runs: Path) -> None:
        if (self.base / "bin" / "queue").exists():
            queued = self.queued(runs)
            assert len(queued) == len(set(queued)), "a work is queued twice"

    def launch(self, runs: Path) -> None:
        self.submit(runs, None)
        queued = self.queued(runs)
        assert sorted(queued) == sorted(set(queued)) and len(queued) == 3, f"queued: {queued}"
        super().launch(runs)


CASES: Mapping[str, type[Case]] = {"worker": Worker, "launch": Launch, "freeze": Freeze, "submit": Submit}


def turn(case: Case, how: How, n: int) -> bool:
    """One n; returns whether the fault fired."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = case.fresh(folder)
        fired = mmap.mmap(-1, 8)  # shared with the child

        def disturbed() -> int:
            return case.disturbed(runs, Faults(n, how, lambda count: fired.__setitem__(0, 1)))

        code = Child(disturbed, folder / "log").wait()
        if not fired[0]:
            assert code == 0, f"untouched, and yet {code}: {(folder / 'log').read_text()}"
        expected = (-signal.SIGKILL,) if how == "kill" else case.exits
        assert not fired[0] or code in expected, f"ended with {code}: {(folder / 'log').read_text()}"
        try:
            case.check(runs)
            case.launch(runs)
            status = read_status(runs, "fake")
            engine.check_rows(runs, status)
            for path in runs.glob("trials/*"):
                assert store.attempt_numbers(path) == list(range(len(store.attempt_numbers(path)))), "a gap"
        except BaseException:
            print((folder / "log").read_text(), file=sys.stderr)
            raise
        return bool(fired[0])


def main(case_name: str, how: How) -> None:
    problems: dict[int, str] = {}
    os.sync = lambda: None  # every disk of the machine, and no power is cut here
    frozen.code_hash = functools.cache(frozen.code_hash)  # a third of a turn
    memory = "/dev/shm"
    tempfile.tempdir = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory() as name:
        case = CASES[case_name](Path(name))
        n = 1
        while True:
            try:
                if not turn(case, how, n):
                    break
            except Exception as error:
                problems[n] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
                if len(problems) > 5:
                    break
            n += 1
    print(json.dumps({"fired": n - 1, "problems": problems}))


if __name__ == "__main__":
    assert sys.argv[2] in HOWS
    main(sys.argv[1], cast(How, sys.argv[2]))
