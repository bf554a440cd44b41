"""A real tokenizer and a real token cache, tiny, built once by the real workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from var_scaling.launch.follow import follow
from var_scaling.launch.local import Local, LocalLauncher
from var_scaling.launch.order import Order
from var_scaling.planning.plan import Plan, make_plan
from var_scaling.planning.study import parse_study
from var_scaling.runs.journal import read_effective

STUDY = """
name: tiny
base:
  data: {name: fashion-mnist-mini, unique_images: 130, validation_images: 70}
  tokenizer:
    channels: 8
    latent_dim: 8
    vocab_size: 37
    train: {images: 320, batch_size: 32, warmup_images: 32}
  model: {head_dim: 4, depth: 3}
  train: {batch_size: 10, warmup_images: 30}
  execution: {checkpoint_seconds: 0.02, journal_images: 30}
budgets: {images: [200, 400]}
evaluate: {samples_grid: off}
"""


ROOT = Path(__file__).parents[2]


@dataclass
class Tiny:
    """A runs folder with the stages of the tiny study, and trials to be run in it."""

    runs: Path

    def plan(self, *overrides: str, text: str = STUDY) -> Plan:
        return make_plan(*parse_study(text, "tiny", overrides), self.runs)

    def prepare(self, *overrides: str, text: str = STUDY) -> Path:
        """The folder of the study's one trial, asked for and not run."""
        planned = self.plan(*overrides, text=text)
        Order(planned, text, Local()).write()
        return self.runs / planned.trials[0].work.folder

    def worker(self, folder: Path) -> subprocess.Popen[bytes]:
        env = dict(os.environ, OMP_NUM_THREADS="1")
        return subprocess.Popen([sys.executable, "-m", "var_scaling.worker", str(folder)], cwd=ROOT, env=env)

    def run(self, *overrides: str, text: str = STUDY) -> Path:
        """Run the study's trial to its end in one go; returns its folder."""
        folder = self.prepare(*overrides, text=text)
        assert self.worker(folder).wait(240) == 0, log(folder)
        return folder

    def copy(self, to: Path) -> Tiny:
        """The same stages with no trials."""
        shutil.copytree(self.runs / "store", to / "store")
        return Tiny(to)


def log(folder: Path) -> str:
    return "\n".join(p.read_text() for p in sorted(folder.glob("attempts/*/log.txt")))


def rows(folder: Path) -> dict[int, dict[str, Any]]:
    """Rows without the columns that bit-equality leaves out, and a hash of the weights."""
    from var_scaling.runs import store
    from var_scaling.runs.columns import NOT_COMPARED

    found = {}
    for path in folder.glob("budgets/*/row.json"):
        row = json.loads(path.read_text())
        assert set(row) > NOT_COMPARED - {"seconds"}, "the premise: what is left out exists"
        kept = {k: v for k, v in row.items() if k not in NOT_COMPARED}
        found[int(path.parent.name)] = {**kept, "weights": store.digest(path.parent / "weights.safetensors")}
    return found


def effective(folder: Path) -> list[dict[str, object]]:
    """The journal as it counts, without times and rates."""
    lines = [
        {k: v for k, v in line.items() if k != "time" and "per_second" not in k and "mfu" not in k}
        for line in read_effective(folder)
    ]
    assert lines
    return lines


@pytest.fixture(scope="session")
def tiny_stages(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = Tiny(tmp_path_factory.mktemp("tiny") / "runs")
    launch = Order(tiny.plan(), STUDY, Local(), stages_only=("tokens",)).write()
    launcher = LocalLauncher(tiny.runs, 2)
    launcher.submit(launch.jobs, launch.folder)
    follow(launch, launcher, lambda view: None)
    assert not launcher.failed, [log(tiny.runs / f) for f in launcher.failed]
    return tiny


@pytest.fixture
def tiny(tiny_stages: Tiny, tmp_path: Path) -> Tiny:
    return tiny_stages.copy(tmp_path / "runs")
