#!/usr/bin/env python3
"""A real SLURM on one machine, for the tests and for trying a profile: several nodes, accounting, preemption.

    python slurm/local_cluster.py up        # start it, or what is missing of it; then: eval "$(... env)"
    python slurm/local_cluster.py env       # export SLURM_CONF=...
    python slurm/local_cluster.py status
    python slurm/local_cluster.py down      # cancel every job, stop the daemons, delete the folder

`make slurm-up` and `make slurm-down` call it. Everything lies in one folder (VAR_SCALING_SLURM_DIR, by default
/tmp/var-scaling-slurm-<uid>): keys, sockets, database, logs, state. Nothing in /etc is touched. It needs the packages
munge, mariadb-server, slurm-wlm and slurmdbd (`up --install` fetches them with apt, as root), and no systemd.

Partitions: `batch` (default), `low` (preempted and requeued by the others after 10 s) and `high`. The nodes n1..n4
claim two CPUs, 4 GB and one GPU each; none of these need exist, since no cgroup enforces them: a "GPU" is a link to
/dev/null.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

PACKAGES = ("munge", "mariadb-server", "slurm-wlm", "slurmdbd")
NEEDED = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacctmgr")
NODES = ("n1", "n2", "n3", "n4")
SYSTEM_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"

SLURM_CONF = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits for cred_expire; it must exceed KillWait + 6, or its old copy may still be there.
AuthInfo=socket={run}/munge.sock,cred_expire={requeue_wait}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={run}/ctld.pid
SlurmdPidFile={run}/%n.pid
SlurmctldLogFile={log}/slurmctld.log
SlurmdLogFile={log}/slurmd-%n.log
# Any container will do: no cgroups, no pinning, jobs share what the machine really has.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=1
MailProg=/bin/true
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={run}/munge.sock
AccountingStoreFlags=job_comment
# As on a shared cluster: accounts, QoS and limits are not only written down.
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
JobAcctGatherParams=OverMemoryKill
# Answers in a second rather than a minute.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=512
PriorityType=priority/basic
JobRequeue=1
KillWait={kill_wait}
MinJobAge=300
SlurmdTimeout={slurmd_timeout}
SlurmctldTimeout=30
MessageTimeout=10
BatchStartTimeout=10
CompleteWait=0
InactiveLimit=0
MaxArraySize=1001
MaxJobCount=20000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
{nodes}
PartitionName=batch Default=YES PriorityTier=10 PreemptMode=OFF Nodes=ALL MaxTime=1-0 DefaultTime=10 State=UP
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 Nodes=ALL MaxTime=1-0 DefaultTime=10 State=UP
PartitionName=high PriorityTier=100 PreemptMode=OFF Nodes=ALL MaxTime=1-0 DefaultTime=10 State=UP
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={run}/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
LogFile={log}/slurmdbd.log
PidFile={run}/dbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageLoc=slurm_acct
StorageUser=slurm
CommitDelay=1
"""


class Trouble(Exception):
    """Why the cluster cannot be had, in one sentence."""


class Cluster:
    """The daemons of one folder."""

    def __init__(self, folder: Path, kill_wait: int = 3, requeue_wait: int = 10, slurmd_timeout: int = 30) -> None:
        self.folder = folder.resolve()
        self.slurmd_timeout = slurmd_timeout  # seconds of silence after which a node counts as down
        self.etc, self.log, self.run = (self.folder / name for name in ("etc", "log", "run"))
        self.kill_wait, self.requeue_wait = kill_wait, requeue_wait
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "SRUN"))}
        self.env["PATH"] = self.env.get("PATH", "") + SYSTEM_PATH
        self.env["SLURM_CONF"] = str(self.etc / "slurm.conf")
        self.env["MYSQL_UNIX_PORT"] = str(self.run / "db.sock")

    # ---- processes ------------------------------------------------------------------------------------------------

    def pid(self, name: str) -> int | None:
        """The live process that this folder started under a name; a stale pid file is not trusted."""
        try:
            pid = int((self.run / f"{name}.started").read_text(encoding="utf-8"))
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if state != "Z" and f"SLURM_CONF={self.env['SLURM_CONF']}".encode() in environ else None

    def start(self, name: str, *command: str) -> None:
        """Start a daemon in its foreground mode, in a session of its own, unless it lives."""
        if self.pid(name):
            return
        program = shutil.which(command[0], path=self.env["PATH"])
        with open(self.log / f"{name}.out", "ab") as out:
            process = subprocess.Popen(
                [str(program), *command[1:]],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                start_new_session=True,
            )
        (self.run / f"{name}.started").write_text(str(process.pid), encoding="utf-8")

    def stop(self, name: str, seconds: float = 8.0) -> None:
        """End a daemon: politely, then not."""
        if not (pid := self.pid(name)):
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.pid(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.pid(name):
            os.kill(pid, signal.SIGKILL)

    def call(self, *command: str, seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run a client command against this cluster."""
        try:
            return subprocess.run(
                command, env=self.env, capture_output=True, encoding="utf-8", errors="replace", timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no answer in {seconds:.0f} s")

    def wait(self, what: str, ready: Callable[[], bool], log: str, seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                files = [f for f in (self.log / f"{log}.log", self.log / f"{log}.out") if f.exists()]
                tail = "\n".join(f.read_text(errors="replace", encoding="utf-8")[-800:] for f in files)
                raise Trouble(f"{what} did not come up in {seconds:.0f} s; the logs are in {self.log}\n{tail}")
            time.sleep(0.1)

    # ---- up and down ----------------------------------------------------------------------------------------------

    def up(self, install: bool) -> None:
        """Start what is missing and wait until every node is usable."""
        self._check_programs(install)
        for path in (self.folder, self.etc, self.log, self.run, self.folder / "state", self.folder / "dev"):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        if len(f"{self.run}/munge.sock.lock") > 100:
            raise Trouble(f"{self.folder} is too long for a socket's path; set VAR_SCALING_SLURM_DIR to a shorter one")
        self._configure()
        self._munge()
        self._database()
        self.start("slurmctld", "slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        self.wait("slurmctld", lambda: self.call("scontrol", "ping").returncode == 0, "slurmctld")
        resumed = False

        def usable() -> bool:
            nonlocal resumed
            states = self.call("sinfo", "-h", "-N", "-p", "batch", "-o", "%T").stdout.split()
            good = [s for s in states if s in ("idle", "mixed", "allocated", "completing")]
            if len(good) < len(NODES) and not resumed and any(s.startswith(("down", "drain")) for s in states):
                resumed = True  # left so by an earlier run
                self.call("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")
            return len(good) == len(NODES)

        self.wait("the nodes", usable, "slurmctld")

    def start_node(self, node: str) -> None:
        """Start a node's daemon unless it lives."""
        self.start(f"slurmd-{node}", "slurmd", "-D", "-N", node)

    def down(self) -> None:
        """Cancel every job, stop every daemon, delete the folder."""
        if self.pid("slurmctld") and self.call("scontrol", "ping").returncode == 0:
            self.call("scancel", "-u", getpass.getuser())
            deadline = time.monotonic() + 4 * self.kill_wait
            while time.monotonic() < deadline and self.call("squeue", "-h").stdout.strip():
                time.sleep(0.2)
        for name in (*(f"slurmd-{n}" for n in NODES), "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def status(self) -> int:
        """Print what lives; 3 where something does not."""
        names = ("munged", "mariadbd", "slurmdbd", "slurmctld", *(f"slurmd-{n}" for n in NODES))
        for name in names:
            print(f"{name:<12} {self.pid(name) or 'not running'}")
        print(self.call("sinfo").stdout + self.call("squeue").stdout, end="")
        return 0 if all(self.pid(name) for name in names) else 3

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _check_programs(self, install: bool) -> None:
        missing = [name for name in NEEDED if not shutil.which(name, path=self.env["PATH"])]
        if not missing:
            return
        command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
        if not install:
            raise Trouble(f"{', '.join(missing)} not found; as root: {' '.join(command)} (or `up --install`)")
        policy = Path("/usr/sbin/policy-rc.d")  # keeps the packages' own daemons from starting
        ours = not policy.exists()
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
            policy.chmod(0o755)
        try:
            for step in (["apt-get", "update", "-qq"], command):
                if subprocess.run(step, env={**self.env, "DEBIAN_FRONTEND": "noninteractive"}, stdout=2).returncode:
                    raise Trouble(f"`{' '.join(step)}` failed; install {', '.join(PACKAGES)} by hand")
        finally:
            if ours:
                policy.unlink(missing_ok=True)

    def _ports(self) -> list[int]:
        """Drawn once per folder and kept, below the range from which clients take theirs.

        Each folder begins elsewhere, so that two clusters that start at once do not draw the same.
        """
        kept = self.folder / "ports"
        if not kept.exists():
            free, port = [], 17_400 + zlib.crc32(str(self.folder).encode()) % 1_400 * 10
            while len(free) < 2 + len(NODES):
                with contextlib.closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)):
                        free.append(port)
                port += 1
            kept.write_text(" ".join(map(str, free)), encoding="utf-8")
        return [int(port) for port in kept.read_text(encoding="utf-8").split()]

    def _configure(self) -> None:
        ctld_port, dbd_port, *node_ports = self._ports()
        host = socket.gethostname().split(".")[0]
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4096 "
            "Gres=gpu:fake:1 State=UNKNOWN"
            for node, port in zip(NODES, node_ports, strict=True)
        ]
        for node in NODES:
            (self.folder / "spool" / node).mkdir(parents=True, exist_ok=True)
            device = self.folder / "dev" / node
            if not device.is_symlink():
                device.symlink_to("/dev/null")
        values = {
            "host": host,
            "user": getpass.getuser(),
            "folder": self.folder,
            "run": self.run,
            "log": self.log,
            "ctld_port": ctld_port,
            "dbd_port": dbd_port,
            "nodes": "\n".join(nodes),
            "kill_wait": self.kill_wait,
            "requeue_wait": self.requeue_wait,
            "slurmd_timeout": self.slurmd_timeout,
        }
        gres = "".join(f"NodeName={n} Name=gpu Type=fake File={self.folder}/dev/{n}\n" for n in NODES)
        texts = {
            "slurm.conf": SLURM_CONF.format_map(values),
            "slurmdbd.conf": SLURMDBD_CONF.format_map(values),
            "gres.conf": gres,
        }
        for name, text in texts.items():
            path = self.etc / name
            if name == "slurm.conf" and path.exists() and path.read_text(encoding="utf-8") != text:
                self.stop("slurmctld")  # its jobs go on; it reads the new text when it is started again
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600 if name == "slurmdbd.conf" else 0o644)

    def _munge(self) -> None:
        key = self.etc / "munge.key"
        if not key.exists():
            with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(os.urandom(128))
        sock = f"--socket={self.run}/munge.sock"
        files = (f"--key-file={key}", f"--log-file={self.log}/munged.log", f"--seed-file={self.run}/munge.seed")
        self.start("munged", "munged", "--foreground", "--force", sock, *files, f"--pid-file={self.run}/munge.pid")
        self.wait("munge", lambda: self.call("munge", sock, "-n").returncode == 0, "munged")

    def _database(self) -> None:
        """Accounting: without slurmdbd there is no sacct, hence no reason for a job that has left the queue."""
        data, user = self.folder / "db", getpass.getuser()
        if not (data / "mysql").exists():
            made = self.call(
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={data}",
                f"--user={user}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=16M",
                seconds=90,
            )
            if made.returncode:
                raise Trouble(f"the accounting database could not be made: {made.stderr.strip()}")
        options = (f"--socket={self.run}/db.sock", "--skip-networking", f"--pid-file={self.run}/db.pid")
        small = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--performance-schema=OFF")
        fast = ("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--innodb-lock-wait-timeout=900")
        self.start(
            "mariadbd", "mariadbd", "--no-defaults", f"--datadir={data}", f"--user={user}", *options, *small, *fast
        )
        sql = ("mariadb", "--no-defaults", f"--socket={self.run}/db.sock", "-u", "root", "-e")
        self.wait("mariadb", lambda: self.call(*sql, "select 1").returncode == 0, "mariadbd")
        self.call(
            *sql,
            "create database if not exists slurm_acct; create user if not exists slurm@localhost; "
            "grant all on slurm_acct.* to slurm@localhost",
        )
        self.start("slurmdbd", "slurmdbd", "-D")
        known = ("sacctmgr", "-n", "-P", "list", "cluster", "format=cluster")
        self.wait("slurmdbd", lambda: self.call(*known).returncode == 0, "slurmdbd")
        if "local" not in self.call(*known).stdout.split():
            self.call("sacctmgr", "-i", "add", "cluster", "local")
        user = ("sacctmgr", "-n", "-P", "show", "assoc", "where", f"user={getpass.getuser()}", "format=account")
        if not self.call(*user).stdout.strip():  # root has an account from the start
            self.call("sacctmgr", "-i", "add", "account", "default", "cluster=local")
            self.call("sacctmgr", "-i", "add", "user", getpass.getuser(), "account=default")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        with open(f"{self.folder}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def default_folder() -> Path:
    """Where the cluster lies unless told."""
    return Path(os.environ.get("VAR_SCALING_SLURM_DIR") or f"/tmp/var-scaling-slurm-{os.getuid()}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("up", "env", "status", "down"))
    parser.add_argument("--install", action="store_true", help="fetch missing packages with apt (as root)")
    parser.add_argument("--kill-wait", type=int, default=3, help="seconds from TERM to KILL (SLURM's default: 30)")
    parser.add_argument("--requeue-wait", type=int, default=10, help="seconds before a requeued job may start again")
    given = parser.parse_args()
    cluster = Cluster(default_folder(), given.kill_wait, given.requeue_wait)
    try:
        if given.verb == "status":
            return cluster.status()
        if given.verb != "env":
            with cluster.alone():
                cluster.up(given.install) if given.verb == "up" else cluster.down()
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 3
    if given.verb != "down":
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
