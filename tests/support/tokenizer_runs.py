"""Short trainings of a tokenizer in this process, with stops."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file

from var_scaling.runs import store
from var_scaling.runs.journal import Journal, read_effective
from var_scaling.tokenizers.autoencoder_config import GanConfig, PerceptualConfig
from var_scaling.tokenizers.vq import training as vq
from var_scaling.tokenizers.vq.config import CodebookConfig
from var_scaling.training.tokenizer import train_tokenizer

BATCH = 5
EVERYTHING = dict(
    perceptual=PerceptualConfig(network="random", weight=0.5),
    gan=GanConfig(start=0.4, channels=4, layers=2),
    codebook=CodebookConfig(update="ema", restart_below=0.2, restart_every=20),
    flip=True,
)


def images(count=23, channels=3, side=12):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 3, 3, channels), dtype=np.uint8)
    whole = coarse.repeat(side // 3, axis=1).repeat(side // 3, axis=2)
    return SimpleNamespace(train=whole[7:], validation=whole[:7])


def attempt(folder, stop_after=None):
    """A real attempt; asked to stop once that many steps are done."""
    folder.mkdir(exist_ok=True)
    taken = store.take(folder)
    taken.journal = Journal(taken.folder / "journal.jsonl")
    if stop_after is not None:
        taken.progress = lambda done, total, what: done >= stop_after * BATCH and taken.stop.set()
    return taken


def run(folder, config, stops=(), make=vq.make, **options):
    """Trains with stops in between; returns weights, journal and report."""
    for stop_after in stops:
        taken = attempt(folder, stop_after)
        out = taken.scratch("result")
        with pytest.raises(store.Stopped):
            train_tokenizer(config, images(), attempt=taken, out=out, make=make, **options)
        assert list(out.iterdir()) == [], "a stopped attempt publishes nothing"
        taken.end("stopped")
    taken = attempt(folder)
    out = taken.scratch("result")
    report = train_tokenizer(config, images(), attempt=taken, out=out, make=make, **options)
    assert json.loads((out / "report.json").read_text()) == report
    lines = [
        {k: v for k, v in line.items() if k not in ("time", "train/images_per_second")}
        for line in read_effective(folder)
    ]
    return load_file(out / "weights.safetensors"), lines, report
