"""The Ray launcher. Disk is the truth and Tune only schedules: each launch is a fresh experiment of what is unfinished.

Ray itself lives in a driver process (`driver`), started here and told what to run by a file. It places the ordinary
worker as a child process of each Tune trial. What a work came to is read from its folder, as under any launcher.

    <launch>/ray/jobs.json          what to run, the longest first, with what each one needs and asks for
    <launch>/ray/ready.json         the driver's answer: it runs, or why it cannot
    <launch>/ray/state/<work>       "running" or "gone"; absent while it waits
    <launch>/ray/cancel/<work>      the wish that a work saves and stops
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from var_scaling.errors import EnvironmentProblem
from var_scaling.launch.early_log import last_line
from var_scaling.launch.local import available_cores
from var_scaling.launch.protocol import Job, Queue
from var_scaling.runs import frozen, health, layout, pilot, store

CONNECT_SECONDS = 2.0
START_SECONDS = 120.0


class RayLauncher:
    """Runs jobs on a private Ray of this machine, or on the cluster at an address."""

    name = "ray"

    def __init__(
        self, runs: Path, cores: int | None = None, address: str | None = None, worker: Sequence[str] = ()
    ) -> None:
        self.runs, self.address = runs.resolve(), address
        self.cores = cores or available_cores()
        self.worker = tuple(worker) or (sys.executable, "-P", "-m", "var_scaling.worker")
        self._driver: subprocess.Popen[bytes] | None = None
        self._folder = self.runs
        self._works: list[str] = []
        self._cancelled: set[str] = set()
        self._killed = False
        self._temporary: Path | None = None  # a private Ray's own files; sockets want a short path

    def submit(self, jobs: Sequence[Job], launch: Path) -> None:
        """Start the driver and wait until Ray answers.

        Raises:
            EnvironmentProblem: nobody at the address, or a request that no node can meet; nothing was started.
        """
        self._works = [job.work.folder for job in jobs]
        if not jobs:
            return
        if self.address not in (None, "auto"):
            check_address(str(self.address))
        requests = [self._request(job) for job in jobs]
        if self.address is None:
            check_feasible(requests, {"CPU": float(self.cores)})
        self._folder = layout.ray(launch.resolve())
        if self.address is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="vs-ray-", dir="/tmp"))
        for name in ("state", "cancel"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        order = sorted(zip(jobs, requests, strict=True), key=lambda pair: -pair[0].seconds)
        store.write_json(
            layout.ray_jobs(self._folder),
            {
                "runs": str(self.runs),
                "worker": list(self.worker),
                "address": self.address,
                "cores": self.cores,
                "temporary": str(self._temporary),
                "requests": [request for _, request in order],
                "env": {
                    **frozen.environment(frozen.freeze(self.runs)),
                    "VAR_SCALING_LAUNCH": str(launch.resolve()),
                    **{name: os.environ[name] for name in ("VAR_SCALING_TAKE_OVER",) if name in os.environ},
                },
            },
        )
        self._start()

    def _request(self, job: Job) -> dict[str, object]:
        device = job.work.config["placement"]["device"]
        return {
            "work": job.work.folder,
            "after": list(job.after),
            "held": job.held,
            "cpu": job.threads,
            "gpu": job.processes if device == "cuda" else 0,
            "gpu_if_any": job.processes if device == "auto" else 0,
        }

    def _start(self) -> None:
        # A Ray that is reachable runs code for whoever reaches it, so a private one wants a token of its own.
        env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
        if self.address is None:  # whatever other Ray the shell speaks of
            token = layout.ray_token(self._folder)
            token.touch(mode=0o600)
            token.write_text(secrets.token_hex(32), encoding="utf-8")
            env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
            env.pop("RAY_ADDRESS", None)
            env.pop("RAY_AUTH_TOKEN", None)
        with open(layout.ray_log(self._folder), "ab") as log:
            self._driver = subprocess.Popen(
                [sys.executable, "-m", "var_scaling.launch.ray.driver", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while (ready := store.read_json(layout.ray_ready(self._folder))) is None:
            if self._cancelled.issuperset(self._works):  # Ctrl-C while Ray starts: nothing is at work yet
                self.kill()
                return
            if self._driver.poll() is not None or time.monotonic() > deadline:
                self.kill()
                own = layout.ray_log(self._folder)
                tail = own.read_text(errors="replace", encoding="utf-8").strip().splitlines()[-1:]
                raise EnvironmentProblem(f"Ray did not start ({' '.join(tail)}); its log is {own}")
            time.sleep(0.1)
        if problem := ready.get("problem"):
            self._driver.wait()
            raise EnvironmentProblem(problem)

    def states(self) -> Mapping[str, Queue]:
        ended = self._driver is None or self._driver.poll() is not None
        if ended:
            self._tidy_up()
        return {work: "gone" if ended else read_state(self._folder, work) for work in self._works}

    @property
    def held_because(self) -> str | None:
        """Why what is left was not run, where it was kept back."""
        launch = self._folder.parent
        if bug := health.common_bug(health.read_notes(launch)):
            return (
                f"{health.EQUAL_FAILURES} works failed in the same way before any progress ({bug.cause}: {bug.message})"
            )
        gate = pilot.read_gate(launch)
        return "; ".join(gate.lines(self.runs)) if gate and not gate.open(self.runs) else None

    @property
    def broken(self) -> str | None:
        """Why Ray ended before its works did, where it did."""
        if self._driver is None or not self._driver.poll() or self._killed:
            return None
        log = layout.ray_log(self._folder)
        return f"Ray ended before its time ({last_line(log) or f'status {self._driver.returncode}'}; its log is {log})"

    def cancel(self, folders: Sequence[str]) -> None:
        self._cancelled |= set(folders) & set(self._works)
        for work in self._cancelled if layout.wishes(self._folder).is_dir() else ():
            layout.wish(self._folder, work).touch()

    def kill(self) -> None:
        """End the driver, and Ray with it; workers are told to save by the kernel when their parent dies."""
        self._killed = True
        if self._driver and self._driver.poll() is None:
            os.killpg(self._driver.pid, signal.SIGKILL)
            self._driver.wait()
        self._tidy_up()

    def _tidy_up(self) -> None:
        """Remove a private Ray's own files, unless its processes put some there just now."""
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)


def read_state(folder: Path, work: str) -> Queue:
    """What the driver's side says of a work."""
    try:
        return "gone" if layout.ray_state(folder, work).read_text(encoding="utf-8") == "gone" else "running"
    except OSError:
        return "waiting"


def check_address(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself would wait for minutes.

    Raises:
        EnvironmentProblem: within two seconds.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        raise EnvironmentProblem(
            f"--address {address} is no Ray address; write host:port, or auto for one started here"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise EnvironmentProblem(
            f"nobody answers at --address {address} ({error}); start a cluster there (`ray start --head`, or "
            "slurm/ray.sbatch), or leave --address out for a private one"
        ) from None


def check_feasible(requests: Sequence[Mapping[str, object]], largest_node: Mapping[str, float]) -> None:
    """Refuse what no node can ever run; Ray would let it wait for ever.

    Raises:
        EnvironmentProblem: naming the work, what it asks for, and what the largest node has.
    """
    for request in requests:
        for key, field in (("cpu", "execution.threads"), ("gpu", "placement.gpus")):
            has = largest_node.get(key.upper(), 0.0)
            if float(str(request[key])) > has:
                raise EnvironmentProblem(
                    f"{request['work']} asks for {request[key]} {key.upper()}s ({field}), the largest node has "
                    f"{has:g}; "
                    f"lower {field} with --set, or use a cluster with larger nodes"
                )
