"""Where a program waits for the GPU, by file and line's text: `python -m tests.hollow.waits FAMILY` prints JSON.

torch itself tells of every synchronisation (`set_sync_debug_mode`), also of those that look like plain Python.
"""

from __future__ import annotations

import json
import linecache
import sys
import threading
import types
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from var_scaling.evaluation.generation import Trained, generate
from var_scaling.evaluation.validation import validation_loss
from var_scaling.families.registry import family_of
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import TrialConfig, read_trial
from var_scaling.tokenizers.registry import module_of
from var_scaling.training.device import choose_device
from var_scaling.training.distributed import ALONE
from var_scaling.training.leg import Run, advance
from var_scaling.training.schedule import Trunk
from var_scaling.training.state import fresh_state
from var_scaling.training.timing import OnePicture
from var_scaling.training.tokenizer import ArraySource, Training

PRESETS = {"var": "tiny", "raster": "tiny-raster", "dit": "tiny-kl"}
ROOT = Path(__file__).parents[2] / "var_scaling"


def trial(family: str) -> TrialConfig:
    raw = {
        "model": {"family": family, "depth": 2},
        "tokenizer": {"preset": PRESETS[family]},
        "train": {"batch_size": 8, "warmup_images": 8},
        "execution": {"journal_images": 80},
    }
    return resolve(read_trial(raw))


def waits(do: Callable[[], object]) -> dict[str, int]:
    """How often each line of ours, or the line of ours that called, waited."""
    found: Counter[str] = Counter()

    def seen(message: Warning | str, category: Any, filename: str, lineno: int, *_: object) -> None:
        if "synchronizing CUDA operation" not in str(message):
            return
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and ROOT not in Path(frame.f_code.co_filename).parents:
            frame = frame.f_back
        assert frame is not None
        path = Path(frame.f_code.co_filename)
        line = linecache.getline(str(path), frame.f_lineno).strip()
        found[f"{path.relative_to(ROOT)}: {line}"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = seen  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            do()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return dict(found)


def scene(family: str) -> dict[str, dict[str, int]]:
    """Twenty steps with two journal lines, a validation, a batch of samples, two steps of the tokenizer."""
    device = choose_device("cuda")
    config = trial(family)
    cache: Any = OnePicture(config, validation=20)
    attempt: Any = types.SimpleNamespace(
        check_owner=lambda: None,
        journal=types.SimpleNamespace(write=lambda **line: None),
        stop_requested=lambda needed=0.0: False,
        stop=threading.Event(),
    )
    state = fresh_state(config, device)
    run = Run(config, cache, attempt, device, ALONE, 1e15, lambda state, phase: None)
    advance(run, state, 8, "trunk", Trunk(config.train))  # what is made once is no part of it
    tokenizer = module_of(config.tokenizer).build(config.tokenizer).eval().to(device)
    sampler = family_of(config.model).sampler()
    if "steps" in type(sampler).model_fields:
        sampler = sampler.model_copy(update={"steps": 5})
    trained = Trained(config.model, state.model, tokenizer, device)
    training = Training(config.tokenizer, ArraySource([], []), device, module_of(config.tokenizer).make)
    side, channels = config.data.resolution, config.data.channels
    pictures = torch.zeros(config.tokenizer.train.batch_size, channels, side, side, device=device)
    training.step(pictures)
    return {
        "loop": waits(lambda: advance(run, state, 168, "trunk", Trunk(config.train))),
        "validation": waits(lambda: validation_loss(config.model, state.model, cache, device=device)),
        "sampling": waits(lambda: list(generate(trained, np.zeros(10, np.int64), sampler))),
        "tokenizer": waits(lambda: [training.step(pictures) for _ in range(2)]),
    }


if __name__ == "__main__":
    print(json.dumps({family: scene(family) for family in sys.argv[1:]}))
