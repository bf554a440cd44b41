"""Which of a trial's processes this one is, and where they meet. Standard library only.

Rank 0 holds the claim and runs the trial; it opens a meeting by writing `ranks.json` into its attempt. The other ranks
are tasks of the same SLURM job step, or children of rank 0 where no scheduler starts them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from var_scaling.exits import EXIT_STOPPED
from var_scaling.runs import layout, store
from var_scaling.runs.slurm_task import SlurmTask, this_task
from var_scaling.runs.store import Attempt

RANK = "VAR_SCALING_RANK"  # set by rank 0 for the processes that it starts
ATTEMPT = "VAR_SCALING_ATTEMPT"
REACH_SECONDS = 10.0  # for one address of rank 0 to answer
LEAVE_SECONDS = 5.0  # after another rank has said why the attempt ended
_SIOCGIFADDR = 0x8915  # Linux: the address of an interface
ARRIVAL_SECONDS = 300.0  # for rank 0 to claim, and for every rank to import torch and arrive


@dataclass(frozen=True)
class Meeting:
    """Where the ranks find each other."""

    addresses: tuple[str, ...]  # of rank 0, the likeliest first
    port: int
    size: int


def this_rank() -> int:
    """0 for the process that runs the trial."""
    task = this_task()
    return int(os.environ.get(RANK, task.rank if task else 0))


def local_rank() -> int:
    """This process's number on its node, which is the number of its GPU."""
    task = this_task()
    return int(os.environ.get(RANK) or (task.local_rank if task else 0))


def leave_with(attempt: Attempt) -> None:
    """End this process when another rank has written why the attempt ended: it may wait in a collective for ever."""

    def watch() -> None:
        while not layout.end(attempt.folder).exists():
            time.sleep(1.0)
        time.sleep(LEAVE_SECONDS)
        if not attempt.ended:
            print("another rank has ended this attempt, see end.json", flush=True)
            os._exit(EXIT_STOPPED)

    threading.Thread(target=watch, daemon=True).start()


def own_addresses() -> tuple[str, ...]:
    """Where other nodes may reach this one: what its names mean, then every interface, then the names themselves."""
    names = [name for name in (os.environ.get("SLURMD_NODENAME"), os.uname().nodename) if name]
    meant = []
    for name in names:
        with contextlib.suppress(OSError):
            meant.append(socket.gethostbyname(name))
    numbers = [address for address in (*meant, *_interfaces()) if not address.startswith("127.")]
    return tuple(dict.fromkeys([*numbers, *names, "127.0.0.1"]))


def reach(meeting: Meeting) -> str:
    """The first address of rank 0 that answers.

    Raises:
        OSError: none does.
    """
    problem = OSError("ranks.json names no address")
    for address in meeting.addresses:
        try:
            with socket.create_connection((address, meeting.port), timeout=REACH_SECONDS):
                return address
        except OSError as error:
            problem = error
    raise problem


def interface_of(address: str) -> str | None:
    """The interface of this machine by which it talks to an address, its own ones included."""
    own = _interfaces()
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # no packet is sent: it asks the routing table
        return own.get(socket.gethostbyname(address)) or own.get(probe.getsockname()[0])
    return None


def _interfaces() -> dict[str, str]:
    """IPv4 addresses of this machine, each with the name of its interface."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found[socket.inet_ntoa(answer[20:24])] = name
    return found


def open_meeting(attempt: Attempt, meeting: Meeting, started_by_scheduler: bool) -> tuple[subprocess.Popen[bytes], ...]:
    """Tell the other ranks where to come, and start them where no scheduler did.

    Returns:
        The processes started here.
    """
    store.write_json(layout.meeting(attempt.folder), vars(meeting))
    if started_by_scheduler:
        return ()
    return tuple(
        subprocess.Popen(sys.orig_argv, env={**os.environ, RANK: str(rank), ATTEMPT: str(attempt.number)})
        for rank in range(1, meeting.size)
    )


def find_meeting(folder: Path, done: Callable[[Path], bool]) -> tuple[Attempt, Meeting] | None:
    """Rank 0's attempt and where it waits; None where all is `done`, it ended, or did not come."""
    task = this_task()
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while time.monotonic() < deadline and not done(folder):
        attempt = _attempt_of_rank_0(folder, task)
        if attempt is not None:
            if layout.end(attempt.folder).exists():
                return None
            if place := store.read_json(layout.meeting(attempt.folder)):
                return attempt, Meeting(**place)
        time.sleep(0.1)
    return None


def _attempt_of_rank_0(folder: Path, task: SlurmTask | None) -> Attempt | None:
    numbers = store.attempt_numbers(folder)
    number = int(os.environ.get(ATTEMPT, numbers[-1] if numbers else -1))
    holder = store.read_holder(folder, number) if number >= 0 else None
    if holder is None or (ATTEMPT not in os.environ and (task is None or holder.scheduler != task.holder)):
        return None
    return Attempt(folder, number, holder)
