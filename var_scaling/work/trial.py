"""Train a trial's budgets and evaluate them, or lend another process a share of that."""

from __future__ import annotations

from pathlib import Path

import torch

from var_scaling.data.latents import open_latents
from var_scaling.planning.trial import read_trial
from var_scaling.runs.frozen import code_hash
from var_scaling.runs.ranks import Meeting
from var_scaling.runs.store import Lost, Stopped
from var_scaling.training.device import memory_advice, set_precision, with_micro_batch
from var_scaling.training.distributed import ALONE, gather, join
from var_scaling.training.lender import lend as lend_gradients
from var_scaling.training.trial import train_budgets
from var_scaling.work.asked import read_asked
from var_scaling.work.context import Context
from var_scaling.work.evaluation import evaluate


def do(context: Context) -> None:
    config = with_micro_batch(read_trial(context.config), context.device)
    set_precision(context.device, config.train.precision)
    processes = context.placement.gpus
    ranks = gather(context.attempt, processes, context.device) if processes > 1 else ALONE
    tokenizer = context.tokenizer()
    cache = open_latents(context.needs["tokens"], tokenizer)
    provenance = {
        "device": _device_name(context.device),
        "host": context.attempt.holder.host,
        "threads": context.execution.threads,
        "processes": processes,
        "code": code_hash(),
        "data": cache.meta["data_hash"],
        "tokenizer": cache.meta["tokenizer_hash"],
    }
    try:
        while True:  # a launch may ask for more while this runs
            asked = read_asked(context.folder)
            train_budgets(config, asked.budgets, cache, context.attempt, context.device, provenance, ranks)
            evaluate(context, config, asked, tokenizer)
            if read_asked(context.folder) == asked:
                break
    except (Stopped, Lost):  # between two steps; after a fault the others may stand in a collective, which never ends
        ranks.dismiss()
        raise
    except torch.OutOfMemoryError as error:
        error.add_note(memory_advice(config, context.device))
        raise
    ranks.dismiss()


def lend(context: Context, meeting: Meeting, rank: int) -> None:
    """Compute a share of the trial that rank 0's attempt runs.

    Raises:
        Lost: rank 0 is gone.
    """
    trial = with_micro_batch(read_trial(context.config), context.device)
    set_precision(context.device, trial.train.precision)
    ranks = join(meeting, rank, context.device)
    cache = open_latents(context.needs["tokens"], context.tokenizer())
    try:
        lend_gradients(trial, cache, ranks, context.device)
    except torch.OutOfMemoryError as error:
        error.add_note(memory_advice(trial, context.device))
        raise


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")) + " (CPU)"
    except (OSError, StopIteration):
        return "CPU"
