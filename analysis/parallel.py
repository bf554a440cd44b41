"""Two processes for what does not depend on one another: a study's laws, its figures.

The second process is a fork, so that nothing has to be sent to it; it sends its results back through a pipe. Each takes
the next task when it is free. It prints nothing and calls nobody's progress. Where a fork is not to be had (another
system, one core) all is done in this one.
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


def in_two(tasks: Sequence[Callable[[], Result]], meanwhile: Callable[[], object] | None = None) -> list[Result]:
    """The results of all tasks, in their order; put the longest first.

    Args:
        tasks: what to do.
        meanwhile: done in this process, which keeps its effects, while the other already takes tasks.

    Raises:
        Exception: what a task, or `meanwhile`, raised, from either process.
    """
    own = meanwhile if meanwhile is not None else _nothing
    with no_collection():
        if len(tasks) < 2 or sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
            own()
            return [task() for task in tasks]
        return _forked(tasks, own)


def _nothing() -> None: ...


def _forked(tasks: Sequence[Callable[[], Result]], own: Callable[[], object]) -> list[Result]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    queue, filled = os.pipe()  # two bytes a task: whoever reads them does it
    os.write(filled, b"".join(place.to_bytes(TOKEN, "big") for place in range(len(tasks))))
    os.close(filled)
    worker = context.Process(target=_work, args=(tasks, queue, sender, receiver), daemon=True)
    worker.start()
    sender.close()
    try:
        own()
        results = dict(_taken(tasks, queue))
        try:
            others, problem = receiver.recv()
            results |= others
        except EOFError:  # killed, for instance for memory: what it had taken is done here
            problem = None
    except BaseException:
        worker.kill()  # or it would wait for ever for somebody to read its results
        raise
    finally:
        os.close(queue)
        receiver.close()
        worker.join()
    if problem is not None:
        raise problem
    return [results[place] if place in results else task() for place, task in enumerate(tasks)]


def _taken(tasks: Sequence[Callable[[], Result]], queue: int) -> Iterator[tuple[int, Result]]:
    while token := os.read(queue, TOKEN):
        place = int.from_bytes(token, "big")
        yield place, tasks[place]()


def _work(tasks: Sequence[Callable[[], Result]], queue: int, sender: Connection, receiver: Connection) -> None:
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
