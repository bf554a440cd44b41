"""What a real SLURM refuses: its own words, what to change, exit code 3 (2 for a typing error), nothing queued."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FAKE_WORKER, ROOT
from tests.support import engine
from var_scaling.cli import sweep
from var_scaling.config import yaml
from var_scaling.launch.order import Order
from var_scaling.launch.slurm import scheduler
from var_scaling.launch.slurm.arrays import read_arrays
from var_scaling.launch.slurm.launcher import SlurmLauncher
from var_scaling.launch.slurm.place import Slurm
from var_scaling.launch.slurm.profile import load_profile
from var_scaling.launch.status import read_status

pytestmark = pytest.mark.usefixtures("slurm_cluster")
PROFILE = ROOT / "slurm" / "profiles" / "local-test.yaml"


def write_profile(folder: Path, **changes: Any) -> Path:
    raw = {**yaml.load(PROFILE)[0], **changes}
    path = folder / "mine.yaml"
    path.write_text(yaml.dump(raw))
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["var-sweep", *arguments])
    with pytest.raises(SystemExit) as ended:
        sweep.main()
    return int(ended.value.code or 0)


def call(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("changes", "base", "words", "way_out"),
    [
        ({"partition": "nope"}, "", "invalid partition specified: nope", "partition = nope .*`sinfo -s`"),
        ({"account": "nope"}, "", "Invalid account", "account = nope may not be used .*`sacctmgr show assoc"),
        ({"qos": "nope"}, "", "Invalid qos specification", "qos = nope may not be used"),
        ({"constraint": "nope"}, "", "Invalid feature specification", "constraint = nope names no feature"),
        (
            {"memory_gb": 900},
            "",
            "Memory specification can not be satisfied",
            "memory_gb: .* more memory than any node",
        ),
        ({"sbatch": {"gres": "tpu:1"}}, "", "Invalid generic resource", "no such GPUs there"),
        (
            {"gpu": {"name": "A100", "memory_gb": 80, "per_node": 4}},
            "placement: {gpus: 4}",
            "Requested node configuration is not available",
            "change gpu, cpus or memory_gb",
        ),
        (
            {"limits": {"hours": 60, "least_minutes": 3000}},
            "",
            "PartitionTimeLimit",
            "limits.hours = 60 .* MaxTime 24 h.* lower limits.hours",
        ),
    ],
    ids=["partition", "account", "qos", "constraint", "memory", "gres", "gpus", "time"],
)
def test_a_refusal_is_a_sentence_with_a_way_out(
    changes: dict[str, Any],
    base: str,
    words: str,
    way_out: str,
    fake_study: Path,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"refused{uuid.uuid4().hex[:8]}"
    text = fake_study.read_text().replace("name: fake", f"name: {name}")
    fake_study.write_text(text.replace("base:\n", f"base:\n  {base}\n") if base else text)
    profile = write_profile(tmp_path, **changes)
    on = ("--launcher", "slurm", "--profile", str(profile), "--runs", str(runs))
    assert run(monkeypatch, "launch", str(fake_study), *on) == 3
    told = " ".join(capsys.readouterr().err.split())
    assert words in told
    assert re.search(way_out, told), told
    assert "nothing is queued" in told
    # SLURM keeps a FAILED record of some refusals; what was accepted before one was taken back.
    deadline = time.monotonic() + 30
    while not set(_states(name)) <= {"CANCELLED", "FAILED"}:
        assert time.monotonic() < deadline, _states(name)
        time.sleep(0.2)
    assert not read_arrays(runs)


def _states(name: str) -> list[str]:
    lines = call("squeue", "-h", "-r", "-t", "all", "-o", "%j %T").splitlines()
    return [line.split()[1] for line in lines if line.startswith(name)]


def test_a_typing_error_in_a_profile_is_exit_2(
    fake_study: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = write_profile(tmp_path, partion="batch")
    on = ("--launcher", "slurm", "--profile", str(profile), "--runs", str(runs))
    assert run(monkeypatch, "launch", str(fake_study), *on) == 2
    assert "did you mean `partition`" in capsys.readouterr().err
    assert not runs.exists()


def test_a_folder_that_nodes_do_not_see_is_found_by_the_doctor(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container that does not bind the folder: the node's process sees another one in its place."""
    runs.mkdir()
    inside = f"mount -t tmpfs none {runs} && exec {sys.executable} " + '"$@"'
    if subprocess.run(["unshare", "-m", "sh", "-c", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to unshare a mount namespace")
    profile = write_profile(tmp_path, python=f"unshare -m sh -c {shlex.quote(inside)} container")
    assert run(monkeypatch, "doctor", "--profile", str(profile), "--runs", str(runs)) == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "does not see" in told
    assert "put --runs on a folder that every node mounts" in told


# ---- MaxSubmit ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_account() -> Iterator[str]:
    """An account whose user may have four jobs in the queue; gone afterwards."""
    name = f"small{os.getpid()}"
    user = call("id", "-un").strip()
    call("sacctmgr", "-i", "add", "account", name, "cluster=local")
    call("sacctmgr", "-i", "add", "user", user, f"account={name}", "maxsubmitjobs=4")
    assert "limits" in scheduler.cluster_limits()["AccountingStorageEnforce"]
    yield name
    call("scancel", "-A", name)
    deadline = time.monotonic() + 60
    while call("squeue", "-h", "-A", name).strip() and time.monotonic() < deadline:
        time.sleep(0.2)
    while call("sacctmgr", "-n", "-P", "show", "assoc", f"account={name}", "format=account").strip():
        assert time.monotonic() < deadline  # refused for as long as the database knows of an active job
        call("sacctmgr", "-i", "delete", "user", user, f"account={name}")
        call("sacctmgr", "-i", "delete", "account", name)
        time.sleep(0.2)


def test_what_the_account_may_not_queue_is_held_for_later_launches(
    small_account: str, fake_study: Path, runs: Path
) -> None:
    profile = load_profile(PROFILE).model_copy(update={"account": small_account})

    def launch() -> SlurmLauncher:
        started = Order(engine.plan(fake_study, runs), fake_study.read_text(), Slurm(profile)).write()
        launcher = SlurmLauncher(runs, profile, "fake", worker=FAKE_WORKER)
        launcher.submit(started.jobs, started.folder)
        return launcher

    def settle() -> None:
        deadline = time.monotonic() + 90
        while call("squeue", "-h", "-A", small_account).strip():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    runs.mkdir()
    (runs / "stage_seconds").write_text("600")  # no job ends before the second launch
    first = launch().submitted
    assert sum(len(array.folders) for array in first.arrays) == 4
    assert len(first.held) == 2 and first.held_by == f"MaxSubmitJobs of account {small_account}"
    full = launch().submitted
    assert not full.arrays and len(full.held) == 2, "nothing more while the queue is full, and no refusal"
    (runs / "stage_seconds").write_text("0")
    settle()
    assert not launch().submitted.held
    settle()
    engine.check_rows(runs, read_status(runs, "fake"))
