"""A real SLURM for the tests: the project's own one-machine cluster, shared by all test processes."""

from __future__ import annotations

import fcntl
import getpass
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import FAKE_WORKER, ROOT


def _local_cluster() -> ModuleType:
    spec = importlib.util.spec_from_file_location("local_cluster", ROOT / "slurm" / "local_cluster.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["local_cluster"] = module
    spec.loader.exec_module(module)
    return module


def _count(path: Path, change: int) -> int:
    """Add to a number in a file that several test processes share; returns what it was."""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = int(file.read() or 0)
        file.truncate(0)
        file.write(str(before + change))
    return before


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[object]:
    """The cluster; brought up by whoever comes first, down by the last unless it was up before."""
    module = _local_cluster()
    cluster = module.Cluster(module.default_folder())
    users, kept = Path(f"{cluster.folder}.users"), Path(f"{cluster.folder}.kept")
    if _count(users, 1) == 0:
        kept.unlink(missing_ok=True)
        if cluster.pid("slurmctld"):
            kept.touch()
    try:
        with cluster.alone():
            cluster.up(install=False)
    except module.Trouble as trouble:
        _count(users, -1)
        pytest.skip(f"needs SLURM: {trouble}")
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = cluster.env["SLURM_CONF"]
    yield cluster
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before
    if _count(users, -1) == 1 and not kept.exists():
        with cluster.alone():
            cluster.down()


@pytest.fixture(scope="session")
def _own_cluster() -> Iterator[object]:
    module = _local_cluster()
    cluster = module.Cluster(Path(f"/tmp/vs-slurm-{os.getpid()}"), slurmd_timeout=12)
    try:
        cluster.up(install=False)
    except module.Trouble as trouble:
        pytest.skip(f"needs SLURM: {trouble}")
    yield cluster
    cluster.down()


@pytest.fixture
def own_cluster(_own_cluster: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A cluster of this test process alone, whose daemons and nodes a test may kill; mended afterwards."""
    cluster = _own_cluster
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])  # type: ignore[attr-defined]
    yield cluster
    cluster.call("scancel", "-u", getpass.getuser())  # type: ignore[attr-defined]
    cluster.up(install=False)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real local Ray of this test process; it takes ten seconds, so the tests share it."""
    folder = tmp_path_factory.mktemp("ray")
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    temporary = f"/tmp/vs-ray-test-{os.getpid()}"
    program = str(Path(sys.executable).with_name("ray"))
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={temporary}", "--block"]
    where = "--node-ip-address=127.0.0.1"
    with open(folder / "head.log", "wb") as log:
        head = subprocess.Popen(
            [program, "start", "--head", where, *options], stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + 90
    check = [program, "health-check", "--address", f"127.0.0.1:{port}"]
    while subprocess.run(check, capture_output=True).returncode:
        assert head.poll() is None and time.monotonic() < deadline, (folder / "head.log").read_text()
        time.sleep(0.5)
    yield f"127.0.0.1:{port}"
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    shutil.rmtree(temporary, ignore_errors=True)
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow file with its tables, which take seconds to make; by a process of its own, for MLflow keeps the
    address in the environment, and what a later test starts would write there.
    """
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    code = "import sys; from var_scaling.tracking import connect as m; m.connect(sys.argv[1]).search_experiments()"
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{path}"], cwd=ROOT, check=True)
    path.chmod(0o444)
    return path


@pytest.fixture
def mlflow_store(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a new MLflow file; artifacts go below this test's folder."""
    shutil.copyfile(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def fake_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that launch (`var-sweep`) start fake work."""
    monkeypatch.setenv("VAR_SCALING_WORKER_COMMAND", "\x1f".join(FAKE_WORKER))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
