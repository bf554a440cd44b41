"""Several processes for one trial: rank 0 decides, the others lend it their gradients.

    rank 0, the worker with the claim:       -- order -->       rank 1, 2, ...: replicas of
    journal, checkpoints, rows            <- gradients ->       model and optimizer, no file

A lender needs no more than an order (images seen, rates), because every draw is addressed by images seen: it takes its
own rows of the batch, and torch's DistributedDataParallel adds the gradients up. Two ranks are therefore two
micro-batches, to the bit, and a trial may go on with another number of ranks than it began with.
"""

from __future__ import annotations

import datetime
import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from var_scaling.errors import EnvironmentProblem
from var_scaling.runs.ranks import ARRIVAL_SECONDS, Meeting, open_meeting
from var_scaling.runs.slurm_task import this_task
from var_scaling.runs.store import Attempt, Lost

if TYPE_CHECKING:
    from var_scaling.training.state import State

ARRIVAL = datetime.timedelta(seconds=ARRIVAL_SECONDS)
IDLE = datetime.timedelta(days=30)  # between two orders may lie a whole evaluation; a closed connection ends the wait

_STEP, _LOAD, _LEAVE = 0.0, 1.0, 2.0


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
        return model if self.size == 1 else DistributedDataParallel(model)

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
        """The lenders leave. Harmless where they have gone already."""
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

    def listen(self, state: State) -> Iterator[Step]:
        """Steps to take, until rank 0 says leave; states that it sends are taken over on the way.

        Raises:
            Lost: rank 0 is gone.
        """
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
            if kind == _STEP:
                yield Step(int(images), (rates[0], rates[1]))
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
    task = this_task()
    started = task.step_tasks if task else 1
    if started not in (1, size):
        raise EnvironmentProblem(f"placement.gpus = {size}, but SLURM started {started} tasks; they must be equal")
    address = os.uname().nodename if started > 1 else "127.0.0.1"
    store = dist.TCPStore(address, 0, size, is_master=True, timeout=ARRIVAL, wait_for_workers=False)
    lenders = open_meeting(attempt, Meeting(address, store.port, size), started_by_scheduler=started > 1)
    return _meet(store, 0, size, device, lenders)


def join(meeting: Meeting, rank: int, device: torch.device) -> Ranks:
    """A lender comes to the meeting.

    Raises:
        Lost: nobody is there any more.
    """
    try:
        store = dist.TCPStore(meeting.address, meeting.port, meeting.size, is_master=False, timeout=ARRIVAL)
    except dist.DistError as error:
        raise Lost(f"rank 0 is gone: {error}") from None
    return _meet(store, rank, meeting.size, device, ())


def _meet(
    store: dist.Store, rank: int, size: int, device: torch.device, lenders: tuple[subprocess.Popen[bytes], ...]
) -> Ranks:
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=ARRIVAL)
        orders = dist.new_group(backend="gloo", timeout=IDLE)
    except dist.DistError as error:
        raise EnvironmentProblem(
            f"the {size} processes of this trial did not find each other within {ARRIVAL_SECONDS:.0f} s: {error}"
        ) from None
    return Ranks(rank, size, orders, lenders)


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
