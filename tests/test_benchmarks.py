"""Benchmarks are run by hand and seldom; what they import must still be there when they are."""

import importlib
from pathlib import Path

import pytest
import torch

import benchmarks
from benchmarks import gpu_check
from var_scaling.families.registry import families


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[a-z]*.py")))
def test_a_benchmark_imports_what_there_is(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_a_gpu_check_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu_check"])
    assert gpu_check.main() == gpu_check.NO_GPU == 3
    assert "nothing was checked" in capsys.readouterr().out


def test_what_a_gpu_check_compares_is_equal_where_both_are_the_cpu() -> None:
    found = list(gpu_check.numbers(torch.device("cpu"), ("float32", "tf32", "bfloat16")))
    assert len(found) == 1 + 3 * len(families())
    assert all(f.ok and f.values["relative"] == 0 for f in found if f.name.endswith("float32") and "b" not in f.name)
    assert all(f.ok is None for f in found if f.name.endswith("tf32")), "a CPU has none"
    rounded = [f.values["relative"] for f in found if f.name.endswith("bfloat16")]
    assert all(0 < off < 3e-2 for off in rounded), "bfloat16 differs, and not much"
