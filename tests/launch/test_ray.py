"""What is Ray's own: addresses, requests that nothing can meet, a driver that is killed, a private instance."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import FAKE_WORKER, ROOT
from tests.support import commands, engine
from tests.support.tiny import STUDY, Tiny, rows
from var_scaling.errors import EnvironmentProblem
from var_scaling.exits import EXIT_STOPPED
from var_scaling.launch.follow import follow
from var_scaling.launch.order import Order
from var_scaling.launch.ray.driver import Turns
from var_scaling.launch.ray.launcher import RayLauncher, check_feasible, read_state
from var_scaling.launch.ray.place import Ray
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.status import read_status
from var_scaling.runs import store

pytestmark = pytest.mark.xdist_group("ray")


def test_a_dead_address_is_a_sentence_within_two_seconds(fake_study: Path, runs: Path) -> None:
    launch = Order(engine.plan(fake_study, runs), "", Ray()).write()
    begin = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=r"nobody answers at --address 127.0.0.1:9"):
        RayLauncher(runs, address="127.0.0.1:9", worker=FAKE_WORKER).submit(launch.jobs, launch.folder)
    assert time.monotonic() - begin < 3
    with pytest.raises(EnvironmentProblem, match="host:port"):
        RayLauncher(runs, address="nonsense", worker=FAKE_WORKER).submit(launch.jobs, launch.folder)


def test_a_dead_address_is_exit_3_and_nothing_is_written(fake_study: Path, runs: Path) -> None:
    command = [sys.executable, "-m", "var_scaling.cli.sweep", "launch", str(fake_study), "--runs", str(runs)]
    command += ["--launcher", "ray", "--address", "127.0.0.1:9", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "start a cluster there" in done.stderr
    assert not runs.exists()


def test_what_no_node_can_run_is_refused_before_start(fake_study: Path, runs: Path) -> None:
    fake_study.write_text(fake_study.read_text().replace("base:\n", "base:\n  execution: {threads: 64}\n"))
    launch = Order(engine.plan(fake_study, runs), "", Ray()).write()
    with pytest.raises(EnvironmentProblem, match="asks for 64 CPUs .*the largest node has 2"):
        RayLauncher(runs, cores=2, worker=FAKE_WORKER).submit(launch.jobs, launch.folder)
    assert not (launch.folder / "ray").exists()
    with pytest.raises(EnvironmentProblem, match="8 GPUs"):
        check_feasible([{"work": "trials/x", "cpu": 1, "gpu": 8}], {"CPU": 16.0, "GPU": 4.0})


def test_a_killed_driver_takes_its_workers_along_and_the_next_launch_goes_on(
    fake_study: Path, runs: Path, ray_address: str
) -> None:
    runs.mkdir()
    (runs / "step_seconds").write_text("0.2")
    launch = Order(engine.plan(fake_study, runs), "", Ray()).write()
    launcher = RayLauncher(runs, address=ray_address, worker=FAKE_WORKER)
    launcher.submit(launch.jobs, launch.folder)
    deadline = time.monotonic() + 120
    while not any(t.state == "running" and t.record.done for t in read_status(runs, "fake").trials):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.kill()
    while any(t.state == "running" for t in read_status(runs, "fake").trials):
        assert time.monotonic() < deadline, "workers save and leave when Ray ends the process above them"
        time.sleep(0.1)
    (runs / "step_seconds").write_text("0.002")
    again = Order(engine.plan(fake_study, runs), "", Ray()).write()
    second = RayLauncher(runs, address=ray_address, worker=FAKE_WORKER)
    second.submit(again.jobs, again.folder)
    follow(again, second, lambda view: None, poll_seconds=0.2)
    engine.check_rows(runs, read_status(runs, "fake"))


def test_whose_turn_it_is(runs: Path) -> None:
    """Stages before what stands on them, the longest first; what can no longer be run is given up."""
    folder = runs / "sweeps" / "x" / "launches" / "000" / "ray"
    for name in ("state", "cancel"):
        (folder / name).mkdir(parents=True)

    def request(work: str, *after: str) -> dict[str, object]:
        return {"work": work, "after": list(after), "held": False, "cpu": 1, "gpu": 0}

    names = ("trials/a", "trials/b", "trials/c", "store/good", "store/bad")
    needs = {"trials/a": ["store/good"], "trials/b": ["store/bad"], "trials/c": ["store/good"]}
    turns = Turns([request(n, *needs.get(n, ())) for n in names], folder, runs)

    def following() -> str | None:
        turns._look_again = 0.0
        found = turns.next()
        return found and str(found["work"])

    assert [following(), following(), following()] == ["store/good", "store/bad", None]
    (runs / "store" / "good" / "result").mkdir(parents=True)
    turns.ended("store/good")
    (folder / "cancel" / "trials__c").touch()
    assert [following(), following()] == ["trials/a", None]
    assert list(turns.waiting) == ["trials/b"], "its stage may still be built"
    turns.ended("store/bad")
    assert following() is None
    assert not turns.waiting
    assert read_state(folder, "trials/b") == read_state(folder, "trials/c") == "gone"


def test_a_real_training_on_ray_is_bit_equal_to_a_local_one(tiny: Tiny, ray_address: str, tmp_path: Path) -> None:
    local = tiny.copy(tmp_path / "local").run()
    launch = Order(tiny.plan(), STUDY, Ray()).write()
    launcher = RayLauncher(tiny.runs, address=ray_address)
    launcher.submit(launch.jobs, launch.folder)
    follow(launch, launcher, lambda view: None, poll_seconds=0.2)
    (job,) = launch.jobs
    assert rows(tiny.runs / job.work.folder) == rows(local) != {}


def test_under_ray_a_stop_is_no_requeue_of_the_job_that_all_share(fake_study: Path, runs: Path, tmp_path: Path) -> None:
    """Inside an allocation every worker sees the same SLURM job; `scontrol requeue` would end all of them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("scontrol", "squeue"):
        (programs / name).write_text(f'#!/bin/sh\necho "$0 $@" >> {tmp_path}/called\n')
        (programs / name).chmod(0o755)
    runs.mkdir()
    (runs / "step_seconds").write_text("0.1")
    launch = Order(engine.plan(fake_study, runs), "", Ray()).write()
    for job in launch.jobs:
        if job.work.kind != "trial":
            (runs / job.work.folder / "result").mkdir()
    folder = runs / launch.jobs[-1].work.folder
    job = {"SLURM_JOB_ID": "52", "SLURMD_NODENAME": "n1", "VAR_SCALING_RAY": "1"}
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **job}
    worker = subprocess.Popen([*FAKE_WORKER, str(folder)], env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(folder.glob("attempts/000/checkpoints/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker.terminate()
    assert worker.wait(30) == EXIT_STOPPED
    assert store.read_json(folder / "attempts" / "000" / "end.json")["cause"] == "stopped"
    holder = store.read_holder(folder, 0)
    assert holder and holder.scheduler == "slurm:52", "the premise"
    assert not (tmp_path / "called").exists()


@pytest.fixture
def allocation(slurm_cluster: object, fake_work: None, fake_study: Path, runs: Path, tmp_path: Path) -> Iterator[str]:
    """A job of `slurm/ray.sbatch` over two nodes that launches the fake study."""
    runs.mkdir()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env["VAR_SCALING_RAY_TOKEN"] = str(tmp_path / "token")
    script = ["sbatch", "--parsable", "-N2", "--mem=1500", f"--output={tmp_path}/ray.out", "slurm/ray.sbatch"]
    done = subprocess.run(
        [*script, str(fake_study), "--runs", str(runs), "--json"], env=env, capture_output=True, text=True, cwd=ROOT
    )
    job = done.stdout.strip()
    assert job.isdecimal(), done.stderr
    yield job
    subprocess.run(["scancel", job])


def until(true: Callable[[], bool], log: Path, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.5)


def test_a_ray_cluster_inside_a_slurm_allocation(allocation: str, runs: Path, tmp_path: Path) -> None:
    """Two nodes, one task each; the sbatch script brings Ray up, launches, and ends with the launch."""
    log = tmp_path / "ray.out"
    until(lambda: scheduler.ask_queue([allocation]).of(allocation) == "gone", log)
    assert (runs / "sweeps" / "fake").exists(), log.read_text()
    engine.check_rows(runs, read_status(runs, "fake"))
    since = datetime.datetime.now() - datetime.timedelta(hours=1)
    until(lambda: scheduler.ask_accounting([allocation], since)[allocation].state == "COMPLETED", log, 20)


@pytest.mark.slow
def test_an_allocation_that_meets_its_time_limit_is_requeued_and_goes_on(
    allocation: str, runs: Path, tmp_path: Path
) -> None:
    (runs / "step_seconds").write_text("0.5")
    log = tmp_path / "ray.out"
    until(lambda: any(runs.glob("trials/*/attempts/000/checkpoints/*")), log)
    subprocess.run(["scancel", "--batch", "--signal=USR1", allocation], check=True)  # as SLURM does before the limit
    until(lambda: "requeue" in _job(allocation).lower() or "Restarts=1" in _job(allocation), log, 60)
    (runs / "step_seconds").write_text("0.002")
    until(lambda: scheduler.ask_queue([allocation]).of(allocation) == "gone", log)
    assert "Restarts=1" in _job(allocation), "the premise"
    engine.check_rows(runs, read_status(runs, "fake"))


def _job(job: str) -> str:
    return subprocess.run(["scontrol", "show", "job", "-o", job], capture_output=True, text=True).stdout


def rays() -> set[str]:
    """Folders that private Rays keep for themselves."""
    return {path for path in os.listdir("/tmp") if path.startswith("vs-ray-")}


@pytest.mark.parametrize("seconds", [0.0, 4.0])
def test_ctrl_c_while_ray_starts_leaves_nothing_behind(fake_study: Path, runs: Path, seconds: float) -> None:
    runs.mkdir()
    before = rays()
    process = commands.start("launch", fake_study, "--launcher", "ray", "--cores", 2, "--no-mlflow", runs=runs)
    launch = runs / "sweeps" / "fake" / "launches" / "000"
    commands.until(lambda: (launch / "ray" / "driver.log").exists(), "the driver is started")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, commands.said(runs)
    drivers = subprocess.run(["pgrep", "-f", f"ray.driver {launch}"], capture_output=True, text=True).stdout
    assert drivers == "", "no driver goes on"
    time.sleep(5)
    assert not list(runs.glob("trials/*/budgets/*/row.json"))
    assert rays() <= before


def test_a_private_ray_that_dies_is_named_and_no_success(
    fake_study: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a shell that speaks of another Ray."""
    runs.mkdir()
    (runs / "step_seconds").write_text("1")
    others = {"RAY_ADDRESS": "127.0.0.1:9", "RAY_AUTH_TOKEN_PATH": "/nowhere", "RAY_AUTH_MODE": "token"}
    on = ("launch", fake_study, "--launcher", "ray", "--cores", 2, "--no-mlflow")
    process = commands.start(*on, runs=runs, **others)
    commands.until(lambda: list(runs.glob("trials/*/attempts/000/checkpoints/*")), "a trial runs", 120)
    launch = runs / "sweeps" / "fake" / "launches" / "000"
    driver = subprocess.run(["pgrep", "-f", f"ray.driver {launch}"], capture_output=True, text=True).stdout.split()
    os.kill(int(driver[0]), signal.SIGKILL)
    assert process.wait(60) == 1
    assert "Ray ended before its time" in commands.said(runs), commands.said(runs)
