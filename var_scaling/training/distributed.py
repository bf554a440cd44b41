"""Several processes for one trial: rank 0 decides, the others lend it their gradients.

    rank 0, the worker with the claim:       -- order -->       rank 1, 2, ...: replicas of
    journal, checkpoints, rows            <- gradients ->       model and optimizer, no file

A lender needs no more than an order (images seen, rates), because every draw is addressed by images seen: it takes its
own rows of the batch, and torch's DistributedDataParallel adds the gradients up. Two ranks are therefore two
micro-batches, to the bit, and a trial may go on with another number of ranks than it began with.

Whatever all ranks take part in comes after an order, so a rank 0 that only evaluates keeps nobody waiting in a
collective. A rank that fails says so on disk and leaves: the others must not be told by a collective, for they may
stand in another one.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from var_scaling.errors import EnvironmentProblem, NodeProblem
from var_scaling.runs.ranks import (
    ARRIVAL_SECONDS,
    Meeting,
    interface_of,
    leave_with,
    open_meeting,
    own_addresses,
    reach,
)
from var_scaling.runs.slurm_task import this_task
from var_scaling.runs.store import Attempt, Lost
from var_scaling.training.device import gpu_name

if TYPE_CHECKING:
    from var_scaling.training.state import State

ARRIVAL = datetime.timedelta(seconds=ARRIVAL_SECONDS)
IDLE = datetime.timedelta(days=30)  # between two orders may lie a whole evaluation; a closed connection ends the wait

_STEP, _LOAD, _LEAVE, _BUILD = 0.0, 1.0, 2.0, 3.0


@dataclass(frozen=True)
class Step:
    """A step that rank 0 is about to take."""

    images: int  # seen before it
    rates: tuple[float, float]  # learning rate, weight decay


@dataclass(frozen=True)
class Ranks:
    """The processes of one trial; one where nothing else is said."""

    rank: int = 0
    size: int = 1
    orders: dist.ProcessGroup | None = None  # gloo: orders cost no kernel, and a rank that dies is noticed at once
    lenders: tuple[subprocess.Popen[bytes], ...] = ()  # started by this process

    def share(self, batch_size: int) -> int:
        """Images of a batch that each rank computes; `planning.resolve` has seen to it that they are equal."""
        return batch_size // self.size

    def parallel(self, model: nn.Module) -> nn.Module:
        """What is called instead of the model, so that gradients are those of all ranks."""
        if self.size == 1:
            return model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `broadcast_buffers` has a new name since torch 2.13
            # Gradients live in the buckets that travel, not beside them; the buffers are constants.
            return DistributedDataParallel(model, gradient_as_bucket_view=True, broadcast_buffers=False)

    def accumulate(self, forward: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around every micro-batch: gradients travel with the last one."""
        if self.size == 1 or last:
            return nullcontext()
        assert isinstance(forward, DistributedDataParallel)
        return forward.no_sync()  # type: ignore[no-any-return]

    def total(self, value: Tensor) -> Tensor:
        """The sum over the ranks."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    # ---- rank 0 -------------------------------------------------------------------------------------------------

    def tell_build(self) -> None:
        """The lenders build a fresh state, as rank 0 is about to: wrapping a model is a collective."""
        self._tell(_BUILD)

    def tell_step(self, images: int, rates: tuple[float, float]) -> None:
        """The lenders take the step that rank 0 is about to take."""
        self._tell(_STEP, images, rates)

    def tell_state(self, state: State) -> None:
        """The lenders take over weights and moments."""
        if self.size > 1 and self.rank == 0:
            self._tell(_LOAD, state.images, (float(bool(state.optimizer.state)), 0.0))
            for tensor in _tensors(state):
                dist.broadcast(tensor, 0)

    def dismiss(self) -> None:
        """The lenders, who wait for an order, leave. Harmless where they have gone already."""
        if self.size == 1:
            return
        try:
            self._tell(_LEAVE)
        except RuntimeError as error:
            print(f"the other ranks had gone: {error}", flush=True)
        for lender in self.lenders:
            try:
                lender.wait(20)
            except subprocess.TimeoutExpired:
                lender.kill()
        dist.destroy_process_group()

    def _tell(self, kind: float, images: int = 0, rates: tuple[float, float] = (0.0, 0.0)) -> None:
        if self.size > 1 and self.rank == 0:
            said = torch.tensor([kind, images, *rates], dtype=torch.float64)
            dist.broadcast(said, 0, group=self.orders)

    # ---- the others ---------------------------------------------------------------------------------------------

    def listen(self, build: Callable[[], State]) -> Iterator[tuple[State, Step]]:
        """Steps to take, and the state to take them with, until rank 0 says leave.

        Args:
            build: a fresh state; called whenever rank 0 makes one. States that it sends are taken over on the way.

        Raises:
            Lost: rank 0 is gone.
        """
        state: State | None = None
        while True:
            said = torch.empty(4, dtype=torch.float64)
            try:
                dist.broadcast(said, 0, group=self.orders)
            except RuntimeError as error:
                raise Lost(f"rank 0 is gone: {error}") from None
            kind, images, *rates = said.tolist()
            if kind == _LEAVE:
                dist.destroy_process_group()
                return
            if kind == _BUILD:
                state = None  # its memory is needed for the next
                state = build()
                continue
            assert state is not None, "rank 0 orders a state to be built before anything is done with it"
            if kind == _STEP:
                yield state, Step(int(images), (rates[0], rates[1]))
                continue
            _make_moments(state, present=bool(rates[0]))
            for tensor in _tensors(state):
                dist.broadcast(tensor, 0)


ALONE = Ranks()


def gather(attempt: Attempt, size: int, device: torch.device) -> Ranks:
    """Rank 0 opens a meeting in its attempt and waits until all are there.

    Raises:
        EnvironmentProblem: SLURM has started another number of tasks, or a rank did not arrive.
    """
    leave_with(attempt)
    task = this_task()
    started = task.step_tasks if task else 1
    if started not in (1, size):
        raise EnvironmentProblem(f"placement.gpus = {size}, but SLURM started {started} tasks; they must be equal")
    store = dist.TCPStore("127.0.0.1", 0, size, is_master=True, timeout=ARRIVAL, wait_for_workers=False)
    addresses = own_addresses() if started > 1 else ("127.0.0.1",)
    lenders = open_meeting(attempt, Meeting(addresses, store.port, size), started_by_scheduler=started > 1)
    return _meet(store, 0, size, device, lenders)


def join(meeting: Meeting, rank: int, device: torch.device) -> Ranks:
    """A lender comes to the meeting.

    Raises:
        Lost: nobody is there any more.
    """
    try:
        address = reach(meeting)
        store = dist.TCPStore(address, meeting.port, meeting.size, is_master=False, timeout=ARRIVAL)
        store.set(f"address_{rank}", address)
    except (OSError, RuntimeError) as error:
        raise Lost(f"rank 0 is gone: {error}") from None
    return _meet(store, rank, meeting.size, device, ())


def _meet(
    store: dist.Store, rank: int, size: int, device: torch.device, lenders: tuple[subprocess.Popen[bytes], ...]
) -> Ranks:
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        # NCCL finds its interface; gloo takes that of the host's own name, which on many nodes is the loopback. The
        # last rank is the likeliest to be on another node: all use the way by which it has come.
        address = store.get(f"address_{size - 1}" if rank == 0 else f"address_{rank}").decode()
        if interface := interface_of(address):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        if device.type == "cuda":
            store.set(f"gpu_{rank}", gpu_name(device))
            if rank == 0:
                _check_gpus([store.get(f"gpu_{r}").decode() for r in range(size)])
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=ARRIVAL)
        orders = dist.new_group(backend="gloo", timeout=IDLE)
    except RuntimeError as error:  # DistError is one, but gloo's own are not DistErrors
        raise EnvironmentProblem(
            f"the {size} processes of this trial did not find each other within {ARRIVAL_SECONDS:.0f} s: {error}"
        ) from None
    return Ranks(rank, size, orders, lenders)


def _check_gpus(names: Sequence[str]) -> None:
    """NCCL refuses two ranks on one GPU in words that say neither which nor why."""
    for rank, name in enumerate(names):
        if (first := names.index(name)) != rank:
            raise NodeProblem(
                f"ranks {first} and {rank} are on the same GPU ({name}); placement.gpus = {len(names)} needs as many "
                "GPUs, so lower it, or give each process its own"
            )


def _tensors(state: State) -> Iterator[Tensor]:
    """Weights and moments, in the order of the parameters."""
    for parameter in state.model.parameters():
        yield parameter.detach()
        if moments := state.optimizer.state.get(parameter):
            yield from (moments[name] for name in sorted(moments))


def _make_moments(state: State, present: bool) -> None:
    """Room for AdamW's moments, or none before the first step."""
    state.optimizer.state.clear()
    if present:
        for parameter in state.model.parameters():
            state.optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
