"""Sweep files: what they expand to, and how every mistake is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from var_scaling.errors import EnvironmentProblem, RequestProblem
from var_scaling.planning.plan import make_plan
from var_scaling.planning.study import load_study

GOOD = """
name: x
base:
  data: {name: fashion-mnist-mini}
  model: {head_dim: 16}
  train: {batch_size: 64}
grid: {model.depth: [2, 3, 5], seed: [0, 1]}
budgets: {images: [20_480]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


def problems(path: Path) -> str:
    """All sentences of a refused study."""
    with pytest.raises(RequestProblem) as caught:
        make_plan(*load_study(path), path.parent / "runs")
    assert caught.value.problems
    return "\n".join(caught.value.problems)


def test_the_grid_is_a_product_with_the_last_key_fastest(tmp_path: Path) -> None:
    _, configs = load_study(write(tmp_path, GOOD))
    assert [(c.model.depth, c.seed) for c in configs] == [(2, 0), (2, 1), (3, 0), (3, 1), (5, 0), (5, 1)]


def test_overrides_reach_the_base_and_the_study(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    study, configs = load_study(path, ["train.batch_size=128", "budgets.images=[40960]"])
    assert {c.train.batch_size for c in configs} == {128}
    assert study.budgets.images == (40960,)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size", "batchsize", ["line 6", "`train.batchsize`", "did you mean `batch_size`"]),
        ("model.depth", "model.dpeth", ["line 7", "`model.dpeth`", "did you mean `depth`"]),
        ("fashion-mnist-mini", "fashon-mnist", ["line 4", "data.name", "did you mean `fashion-mnist`"]),
        ("[2, 3, 5]", "[2, 0]", ["line 7", "model.depth", "0", "greater than or equal to 1"]),
        ("[2, 3, 5]", "[2, two]", ["line 7", "model.depth", "'two'", "integer"]),
        ("[2, 3, 5]", "2", ["`model.depth` needs a list"]),
        ("[2, 3, 5]", "[2, 2]", ["lists a value twice"]),
        ("[2, 3, 5]", "[]", ["no values"]),
        ("20_480", "10", ["below one batch of 64", "at least 64"]),
        ("20_480", "-1", ["must be positive"]),
        ("20_480", "1_000", ["inside the warm-up"]),
        ("name: x\n", "name: a/b\n", ["line 2", "`a/b`", "becomes a folder"]),
        ("name: x\n", f"name: {101 * 'x'}\n", ["line 2", "use 100 at most"]),
        ("name: x\n", "", ["`name` is missing"]),
        ("batch_size: 64", "batch_size: 64, schedule: cosine", ["horizon_images"]),
        ("batch_size: 64", "batch_size: 64.0", ["train.batch_size", "64.0", "integer"]),
        ("head_dim: 16", "head_dim: 16, vocab_size: 99", ["vocab_size", "99", "512", "leave it out"]),
        ("train:", "tokenizer: {patch_nums: [1, 3, 2, 4]}\n  train:", ["patch_nums"]),
        ("train:", "tokenizer: {patch_nums: [1, 2, 3]}\n  train:", ["patch_nums", "4"]),
        ("name: fashion-mnist-mini", "name: fashion-mnist-mini, unique_images: 1001", ["1001", "use 1000"]),
        ("budgets: {images: [20_480]}", "budgets: {images: [20_480], train_flops: [1e12]}", ["exactly one"]),
        ("train: {", "execution: {micro_batch: 24}\n  train: {", ["24", "64", "use 16"]),
        ("model.depth", "depth", ["line 7", "unknown key `depth` (did you mean `model.depth`?)"]),
        ("train: {", "learning_rate: 1\n  train: {", ["did you mean `train.learning_rate` or `tokenizer."]),
        ("name: x\n", "name: x\nbatch_size: 64\n", ["unknown key `batch_size` (did you mean `base.train.batch_size`"]),
        ("{images: [20_480]}", "[20_480]", ["`budgets` = [20480]: ", "keys below it: images, train_flops"]),
        ("batch_size: 64", "gradient_clip: big", ["`train.gradient_clip` = 'big'", "valid number or 'off'"]),
    ],
)
def test_each_mistake_is_one_sentence_with_value_rule_and_way_out(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert old in GOOD, "the premise: the text to be broken is there"
    told = problems(write(tmp_path, GOOD.replace(old, new, 1)))
    for part in expected:
        assert part in told, told


@pytest.mark.parametrize("fid", ["{features: inceptoin}", "[{features: inceptoin}]"])
def test_a_field_of_two_forms_is_told_of_in_the_form_that_was_meant(tmp_path: Path, fid: str) -> None:
    told = problems(write(tmp_path, f"{GOOD}\nevaluate: {{fid: {fid}}}\n"))
    assert told.count("\n") == 0 and "FidConfig" not in told and "tuple" not in told
    assert "features` = 'inceptoin'" in told and "did you mean `inception`" in told
    told = problems(write(tmp_path, f"{GOOD}\nevaluate: {{fid: 5}}\n"))
    assert told.count("\n") == 0 and "`evaluate.fid` = 5: input should be keys below it: samples, features" in told


def test_an_override_of_an_axis_of_the_grid_sets_its_values(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)

    def depths(*overrides: str) -> list[int]:
        return sorted({config.model.depth for config in load_study(path, overrides)[1]})

    assert depths() == [2, 3, 5]
    assert depths("model.depth=6") == depths("base.model.depth=6") == depths("grid.model.depth=6") == [6]
    assert depths("model.depth=[4, 6]") == depths("grid.model.depth=[4, 6]") == [4, 6]
    with pytest.raises(RequestProblem, match=r"`model.depth` is an axis of the grid.*--set grid.model.depth="):
        load_study(path, ["model={depth: 3}"])
    with pytest.raises(RequestProblem, match=r"with --set: `model.depth` = 'x'"):
        load_study(path, ["model.depth=x"])


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("head_dim", "headdim").replace("batch_size: 64", "batch_size: none").replace("seed", "sed")
    told = problems(write(tmp_path, text))
    assert all(word in told for word in ("unknown key `sed`", "headdim", "batch_size"))


def test_mistakes_of_the_study_do_not_hide_those_of_its_trials(tmp_path: Path) -> None:
    text = GOOD.replace("name: x", "name: a/b").replace("head_dim: 16", "head_din: 16").replace("[2, 3, 5]", "[0, 3]")
    found = problems(write(tmp_path, text.replace("batch_size: 64", "batch_size: 7.5")))
    assert found.count("\n") == 3
    assert all(
        word in found for word in ("`a/b`", "did you mean `head_dim`", "`model.depth` = 0", "`train.batch_size` = 7.5")
    )


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(RequestProblem, match=r"x\.yaml"):
        load_study(tmp_path / "y.yaml")


def test_nothing_is_written_by_a_refused_study(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("20_480", "10"))
    before = sorted(tmp_path.rglob("*"))
    problems(path)
    assert sorted(tmp_path.rglob("*")) == before


keys = st.sampled_from(
    "name base grid budgets images model model.depth depth train seed data evaluate fid".split()
) | st.text("abc.", min_size=1, max_size=4)
leaves = st.none() | st.booleans() | st.integers(-5, 99) | st.floats(-2, 2) | st.text("ab1-/", max_size=4)
trees = st.recursive(leaves, lambda t: st.dictionaries(keys, t, max_size=4) | st.lists(t, max_size=3), max_leaves=14)


@given(st.dictionaries(keys, trees, max_size=5))
def test_random_yaml_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]
) -> None:
    from var_scaling.config import yaml

    path = tmp_path_factory.mktemp("random") / "x.yaml"
    path.write_text(yaml.dump(tree))
    try:
        study, configs = load_study(path)
        make_plan(study, configs, path.parent / "runs")
    except (RequestProblem, EnvironmentProblem):
        return  # anything else is a traceback
