"""YAML 1.2 scalars, lists as tuples, lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from var_scaling.config import yaml
from var_scaling.errors import RequestProblem


def test_scalars_follow_yaml_1_2() -> None:
    text = "a: 1e-3\nb: no\nc: 20_480\nd: [1, 2.5, true]\ne: 0x10\nf: '3'\ng: ~\nh: 1:30\ni: 2026-01-01\nj: -4\n"
    assert yaml.parse(text)[0] == {
        "a": 0.001,
        "b": "no",
        "c": 20480,
        "d": (1, 2.5, True),
        "e": "0x10",
        "f": "3",
        "g": None,
        "h": "1:30",
        "i": "2026-01-01",
        "j": -4,
    }


def test_every_key_has_its_line() -> None:
    _, lines = yaml.parse("a: 1\nb:\n  c: {d: 2}\n  e: [5,\n   6]\n")
    assert lines[("b", "c", "d")] == 3
    assert lines[("b", "e", "1")] == 5


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a: [1, 2\n", "", "\t- x", "a: b: c"])
def test_what_is_not_a_mapping_of_distinct_keys_is_one_sentence(text: str) -> None:
    with pytest.raises(RequestProblem, match="<text>"):
        yaml.parse(text)


words = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.sampled_from(["no", "1e-3", "1_000", "null", "0x1", "on", "1.5", ".5", "-", "1:2"])
)
trees = st.recursive(
    scalars,
    lambda inner: st.dictionaries(words, inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=12,
)


@given(st.dictionaries(words, trees, min_size=1, max_size=4))
def test_what_is_written_is_read_back(value: dict[str, object]) -> None:
    assert yaml.parse(yaml.dump(value))[0] == value
