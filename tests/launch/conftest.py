"""A real SLURM for the tests: the project's own one-machine cluster, shared by all test processes."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sys
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


@pytest.fixture
def fake_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that launch (`var-sweep`) start fake work."""
    monkeypatch.setenv("VAR_SCALING_WORKER_COMMAND", "\x1f".join(FAKE_WORKER))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
