"""Ids: pinned, independent of the machine and of the writing, changed by every identity field and by nothing else."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import create_model

from var_scaling.config.base import Neutral, Strict
from var_scaling.planning import identity
from var_scaling.planning.resolve import resolve
from var_scaling.planning.trial import NOT_IDENTITY, read_trial

GOLDEN = Path(__file__).parents[1] / "golden" / "ids.json"
SMALL: dict[str, Any] = {"model": {"head_dim": 16, "depth": 3}}


def configs() -> dict[str, dict[str, Any]]:
    """Some fifty configs that users would write."""
    result: dict[str, dict[str, Any]] = {}
    for depth, seed in itertools.product((2, 3, 4, 5, 6, 8), (0, 1, 2)):
        result[f"ladder d{depth} s{seed}"] = {"model": {"head_dim": 16, "depth": depth}, "seed": seed}
    for depth in (6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 30):
        result[f"imagenet d{depth}"] = {
            "data": {"name": "imagenet"},
            "tokenizer": {"preset": "paper"},
            "model": {"depth": depth},
            "train": {"batch_size": 768, "schedule": "lin0", "horizon_images": 256_233_400},
        }
    for change in (
        {"tokenizer": {"preset": "small"}},
        {"tokenizer": {"vocab_size": 256}},
        {"tokenizer": {"train": {"images": 1_000}}},
        {"data": {"unique_images": 5_000}},
        {"data": {"views": 4}},
        {"data": {"name": "fashion-mnist"}},
        {"data": {"name": "cifar10"}},
        {"train": {"learning_rate": 1e-3}},
        {"train": {"batch_size": 128}},
        {"train": {"schedule": "cosine", "horizon_images": 61_440}},
        {"train": {"decay_share": 0.1}},
        {"train": {"decay_shape": "linear"}},
        {"train": {"precision": "bfloat16"}},
        {"train": {"ema_half_life_images": 1_000}},
        {"train": {"gradient_clip": "off"}},
        {"train": {"label_drop": 0.0}},
        {"model": {"head_dim": 16, "depth": 3, "adaln": "shared"}},
        {"model": {"head_dim": 16, "depth": 3, "attention": "scaled"}},
        {"model": {"head_dim": 16, "depth": 3, "drop_path": 0.0}},
        {"numerics": 2},
    ):
        result[f"d3 with {json.dumps(change)}"] = {**SMALL, **change}
    return result


def trial_id(raw: dict[str, Any]) -> str:
    return identity.digest(identity.of_trial(resolve(read_trial(raw))))


def test_ids_are_what_they_were() -> None:
    """If you meant to change ids, run `VAR_SCALING_UPDATE_GOLDEN=1 pytest tests/planning/test_identity.py`; it renames
    every finished trial of every user, so say so in docs/log.md."""
    ids = {name: trial_id(raw) for name, raw in configs().items()}
    assert len(ids) >= 50
    assert len(set(ids.values())) == len(ids), "two different configs share an id"
    if os.environ.get("VAR_SCALING_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(ids, indent=1) + "\n")
    assert ids == json.loads(GOLDEN.read_text())


def test_execution_and_placement_are_no_identity() -> None:
    plain = trial_id(SMALL)
    assert trial_id({**SMALL, "execution": {"threads": 2, "micro_batch": 16, "loader_workers": 3}}) == plain
    assert trial_id({**SMALL, "placement": {"device": "cpu"}}) == plain


def test_the_writing_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trial_id({**SMALL, "train": {"learning_rate": 0.001, "gradient_clip": 2.0}})
    assert trial_id({"train": {"gradient_clip": 2, "learning_rate": 1e-3}, **SMALL}) == plain
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert trial_id({**SMALL, "train": {"learning_rate": 0.001, "gradient_clip": 2.0}}) == plain


def test_a_derived_value_given_by_hand_is_the_same_trial() -> None:
    resolved = resolve(read_trial(SMALL))
    assert trial_id({**SMALL, "train": {"learning_rate": resolved.train.learning_rate}}) == trial_id(SMALL)


def test_each_leaf_of_the_identity_changes_the_id() -> None:
    whole = identity.of_trial(resolve(read_trial(SMALL)))
    leaves = list(identity.flatten(whole))
    assert len(leaves) > 40
    plain = identity.digest(whole)
    for path, value in leaves:
        assert identity.digest(_changed(whole, path.split("."), value)) != plain, path


def _changed(tree: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    head, *rest = path
    return {**tree, head: _changed(tree[head], rest, value) if rest else [value, "changed"]}


def test_a_resolved_config_resolves_to_itself_and_holds_no_none() -> None:
    resolved = resolve(read_trial(SMALL))
    assert resolve(resolved) == resolved
    assert not any(v is None for _, v in identity.flatten(resolved.model_dump(exclude=set(NOT_IDENTITY))))


def test_a_new_field_at_its_neutral_value_renames_nothing() -> None:
    class Before(Strict):
        a: int = 1

    after = create_model("After", __base__=Before, b=(Annotated[int, Neutral(0)], 0))
    moved_default = create_model("Moved", __base__=Before, b=(Annotated[int, Neutral(0)], 5))
    plain = identity.digest(identity.canonical(Before()))
    assert identity.digest(identity.canonical(after())) == plain
    assert identity.digest(identity.canonical(after(b=3))) != plain
    assert identity.digest(identity.canonical(moved_default())) != plain, "a changed default must be noticed"


def test_the_cell_forgets_the_seed_only() -> None:
    a, b, c = (
        identity.of_trial(resolve(read_trial({**SMALL, **change})))
        for change in ({"seed": 0}, {"seed": 1}, {"train": {"batch_size": 32}})
    )
    assert identity.cell(a) == identity.cell(b) != identity.cell(c)


def test_what_has_no_stable_form_is_refused() -> None:
    class Odd(Strict):
        a: object = object()

    with pytest.raises(TypeError, match="no stable form"):
        identity.canonical(Odd())
