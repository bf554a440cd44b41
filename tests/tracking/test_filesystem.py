"""An sqlite tracker on a network file system is refused, wherever it would be opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from var_scaling.cli import sweep
from var_scaling.errors import EnvironmentProblem
from var_scaling.tracking import filesystem, mlflow_mirror
from var_scaling.tracking.filesystem import check_store, mount_of

TABLE = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:40 / /home rw shared:5 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/me/scratch\\040disk rw - xfs /dev/sdb rw
32 22 0:41 / /lustre rw - lustre 10.0.0.1@o2ib:/fs rw
33 22 0:42 / /mnt/s3 rw - fuse.rclone remote: rw
34 22 0:43 / /mnt/ntfs rw - fuseblk /dev/sdc rw
35 22 0:44 / /over rw - nfs a:/b rw
36 22 0:45 / /over rw - tmpfs none rw
a torn line
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x.db", "ext4"),
        ("/home/me/x.db", "nfs4"),
        ("/home/me/scratch disk/x.db", "xfs"),
        ("/homework/x.db", "ext4"),
        ("/lustre/a/b", "lustre"),
        ("/mnt/s3/x", "fuse.rclone"),
        ("/mnt/ntfs/x", "fuseblk"),
        ("/over/x", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path(mounts: Path, path: str, kind: str) -> None:
    assert mount_of(Path(path), mounts)[1] == kind
    network = kind in ("nfs4", "lustre", "fuse.rclone")
    if network:
        with pytest.raises(EnvironmentProblem, match=f"network file system .{kind}.*MLFLOW_TRACKING_URI"):
            check_store(f"sqlite:///{path}", mounts)
    else:
        check_store(f"sqlite:///{path}", mounts)
    check_store("http://10.0.0.5:5000", mounts)


def test_where_nobody_can_say_nothing_is_refused(tmp_path: Path) -> None:
    check_store("sqlite:////home/x.db", tmp_path / "none")


def test_launch_sync_and_mirror_refuse_it_and_write_nothing(
    fake_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, table = tmp_path / "runs", tmp_path / "mountinfo"
    table.write_text(TABLE.replace(" / /home ", f" / {tmp_path} "))
    monkeypatch.setattr(filesystem, "MOUNTS", table)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["var-sweep", *arguments, "--runs", str(runs)])
        with pytest.raises(SystemExit) as ended:
            sweep.main()
        return int(ended.value.code or 0)

    assert run("launch", str(fake_study)) == 3
    assert "network file system (nfs4" in capsys.readouterr().err
    assert not runs.exists()
    folder = runs / "sweeps" / "fake"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    assert run("sync", "fake") == 3
    assert mlflow_mirror.main([str(runs), "fake", "--once"]) == 3
    assert "network file system (nfs4" in capsys.readouterr().err
    assert not (tmp_path / "mlflow.db").exists()
