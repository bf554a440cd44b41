"""Two processes for what does not depend on one another: a study's targets, its figures.

The second process is a fork, so that nothing has to be sent to it; it sends its results back through a pipe. It prints
nothing and calls nobody's progress. Where a fork is not to be had (another system, one core) all is done in this one.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

Result = TypeVar("Result")


def in_two(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of all tasks, in order; every other one is done by a second process.

    Raises:
        Exception: what a task raised, from either process.
    """
    if len(tasks) < 2 or sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return [task() for task in tasks]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(tasks[1::2], sender), daemon=True)
    worker.start()
    sender.close()
    try:
        own = [task() for task in tasks[::2]]
        try:
            others, problem = receiver.recv()
        except EOFError:  # killed, for instance for memory: do it here
            others, problem = [task() for task in tasks[1::2]], None
    finally:
        receiver.close()
        worker.join()
    if problem is not None:
        raise problem
    results: list = [None] * len(tasks)
    results[::2], results[1::2] = own, others
    return results


def _work(tasks: Sequence[Callable[[], Result]], sender: Connection) -> None:
    results: list[Result] = []
    problem: Exception | None = None
    try:
        results = [task() for task in tasks]
    except Exception as error:
        problem = error
    sender.send((results, problem))
    sender.close()
