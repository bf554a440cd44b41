"""What several test files share: the reference folder beside the repository, and a study to launch with fake work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.tiny import tiny, tiny_stages  # noqa: F401 (fixtures)
from var_scaling.runs import store
from var_scaling.runs.journal import Journal
from var_scaling.runs.store import Attempt

settings.register_profile("fast", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("nightly", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
FAKE_WORKER = (sys.executable, str(ROOT / "tests" / "support" / "fake_worker.py"))

FAKE_STUDY = """
name: fake
base:
  data: {name: fashion-mnist-mini}
  tokenizer: {preset: tiny}
  model: {head_dim: 16}
  train: {batch_size: 500, warmup_images: 500}
grid:
  model.depth: [2, 3]
  seed: [0, 1]
budgets: {images: [3_000, 7_000]}
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden vectors and published data; a test that needs it is skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference folder {SHARED.name}/ beside the repository: golden vectors, published data")
    return SHARED


@pytest.fixture
def fake_study(tmp_path: Path) -> Path:
    """A sweep file of four trials with two budgets each."""
    path = tmp_path / "fake.yaml"
    path.write_text(FAKE_STUDY)
    return path


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[[], Attempt]:
    """Starts an attempt on one work folder; call it again for the next (the one before is ended)."""
    work = tmp_path / "work"
    work.mkdir()
    running: list[Attempt] = []

    def start() -> Attempt:
        if running:
            running[-1].end("stopped")
        one = store.take(work)
        one.journal = Journal(one.folder / "journal.jsonl")
        running.append(one)
        return one

    return start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # noqa: ANN201
    """In CI a test that is skipped for want of something is a failure; one that is left to `-m slow` is not."""
    report = yield
    if report.skipped and os.environ.get("VAR_SCALING_NO_SKIPS") and "-m slow" not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI allows no skips: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def tokenizer():
    """Three scales, untrained."""
    import torch

    from var_scaling.tokenizers.vq.model import Tokenizer

    torch.manual_seed(0)
    return Tokenizer(
        patch_nums=(1, 2, 4),
        vocab_size=31,
        latent_dim=5,
        channels=4,
        multipliers=(1, 1, 1),
        blocks=1,
        attention=False,
        stem_stride=2,
        image_channels=1,
    ).eval()
