"""Benchmarks are run by hand and seldom; what they import must still be there when they are."""

import importlib
from pathlib import Path

import pytest

import benchmarks


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[a-z]*.py")))
def test_a_benchmark_imports_what_there_is(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__
