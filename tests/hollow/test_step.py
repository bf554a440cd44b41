"""One training step on a GPU that computes nothing: what it waits for, which kernels it takes, what it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hollow.library import python


def scene(*arguments: str, **settings: object) -> dict[str, Any]:
    done = python("-m", "tests.hollow.scenes", *arguments, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("precision", "kernels"), [("bfloat16", "flash"), ("float32", "fmha")])
def test_a_step_waits_for_nothing_and_takes_torchs_own_attention(precision: str, kernels: str) -> None:
    found = scene("step", precision)
    assert found["pageable"] == 0, "a copy from pageable memory waits for the steps that are queued"
    assert found["loss"] == ["cuda:0", "torch.float32"] and found["norm"] == "cuda:0"
    assert set(found["moments"].values()) == {"torch.float32"}
    assert found["attention"] and all(name.startswith(kernels) for name in found["attention"])
    assert found["restarted"] == [0, 0] and found["again"], "there and back"
    assert found["grown"] <= 0, "one state on the card, whatever was loaded into it"


STEPS = [
    (6, 32, "bfloat16", "blocks"),
    (16, 32, "bfloat16", "off"),
    (24, 16, "float32", "blocks"),
    (30, 16, "bfloat16", "off"),
]


@pytest.mark.parametrize(("depth", "images", "precision", "recompute"), STEPS)
def test_plan_counts_what_a_step_takes(depth: int, images: int, precision: str, recompute: str) -> None:
    """It counted four bytes a number whatever the precision: 1.7 times what bfloat16 takes."""
    found = scene("memory", str(depth), precision, str(images), recompute, HOLLOW_BYTES=200 * 2**30)
    assert 0.78 * found["planned"] < found["peak"] < found["planned"], found
    assert found["between"] == pytest.approx(found["state"], rel=0.05), "one state, and the last batch"


@pytest.mark.parametrize("architecture", [80, 90, 100])
def test_cards_agree_on_their_attention(architecture: int) -> None:
    """torch takes cuDNN's for nine of ten scales from H100 on, which plans anew for each shape."""
    found = scene("attention", HOLLOW_SM=architecture)
    assert found["torch.bfloat16 ours"] == ["FLASH"] * 10
    assert found["torch.float32 ours"] == ["EFFICIENT"] * 10
    if architecture > 80:
        assert found["torch.bfloat16 torch"].count("CUDNN") >= 9, "the premise: it would not be so"
