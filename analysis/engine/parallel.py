"""A few processes for what does not depend on one another: a study's laws, its figures.

The others are forks, so that nothing has to be sent to them; each sends its results back through a pipe. Each takes the
next task when it is free. They print nothing and call nobody's progress. Where a fork is not to be had (another system,
one core) all is done in this one.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

Result = TypeVar("Result")
TOKEN = 2  # bytes
MOST = 4  # processes: a study has some fifteen tasks, the longest an eighth of all


def in_parallel(tasks: Sequence[Callable[[], Result]], meanwhile: Callable[[], object] | None = None) -> list[Result]:
    """The results of all tasks, in their order; put the longest first.

    Args:
        tasks: what to do.
        meanwhile: done in this process, which keeps its effects, while the others already take tasks.

    Raises:
        Exception: what a task, or `meanwhile`, raised, from any process.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    with no_collection():
        return _forked(tasks, meanwhile, min(cores, MOST, len(tasks)) - 1)


def _forked(tasks: Sequence[Callable[[], Result]], meanwhile: Callable[[], object] | None, others: int) -> list[Result]:
    context = multiprocessing.get_context("fork")
    queue, filled = os.pipe()  # two bytes a task: whoever reads them does it
    os.write(filled, b"".join(place.to_bytes(TOKEN, "big") for place in range(len(tasks))))
    os.close(filled)
    workers, receivers = [], []
    for _ in range(others):
        receiver, sender = context.Pipe(duplex=False)
        receivers.append(receiver)
        workers.append(context.Process(target=_work, args=(tasks, queue, sender, receivers), daemon=True))
        workers[-1].start()
        sender.close()
    try:
        if meanwhile is not None:
            meanwhile()
        results, problems = dict(_taken(tasks, queue)), []
        for receiver in receivers:
            try:
                more, problem = receiver.recv()
            except EOFError:  # killed, for instance for memory: what it had taken is done here
                continue
            results |= more
            problems.append(problem)
    except BaseException:
        for worker in workers:
            worker.kill()  # or it would wait for ever for somebody to read its results
        raise
    finally:
        os.close(queue)
        for receiver, worker in zip(receivers, workers, strict=True):
            receiver.close()
            worker.join()
    for problem in filter(None, problems):
        raise problem
    return [results[place] if place in results else task() for place, task in enumerate(tasks)]


def _taken(tasks: Sequence[Callable[[], Result]], queue: int) -> Iterator[tuple[int, Result]]:
    while token := os.read(queue, TOKEN):
        place = int.from_bytes(token, "big")
        yield place, tasks[place]()


def _work(tasks: Sequence[Callable[[], Result]], queue: int, sender: Connection, receivers: list[Connection]) -> None:
    for receiver in receivers:
        receiver.close()  # so that a parent that is gone is an error here, and not a wait
    results: dict[int, Result] = {}
    problem: Exception | None = None
    try:
        results = dict(_taken(tasks, queue))
    except Exception as error:
        problem = error
    sender.send((results, problem))
    sender.close()


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the garbage collector, which takes a tenth of importing and a twentieth of drawing, and finds nothing."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
