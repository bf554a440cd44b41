"""Plans are made for the models that a sweep trained: with its launch's --set and recipe, every ladder of its grid."""

import json

import pandas as pd
import pytest

from analysis.plans.predict import predict_run
from analysis.study.sources import study_of_csv
from tests.support.fake_study import write_study
from tests.support.laws import run

STUDY = """
name: depth
base:
  data: {name: fashion-mnist-mini}
  tokenizer: {preset: tiny}
  model: {head_dim: 16}
  train: {batch_size: 64}
grid:
  model.depth: [2, 3, 4, 5, 6]
budgets: {images: [20_480, 61_440]}
"""


@pytest.fixture
def sweep(tmp_path):
    """A sweep folder with the study's file; call it with another grid and with what its launch was told."""
    folder = write_study(tmp_path, fid=False)

    def write(grid="", **how):
        (folder / "study.yaml").write_text(STUDY.replace("grid:\n", f"grid:\n  {grid}\n" if grid else "grid:\n"))
        (folder / "launches" / "000").mkdir(parents=True, exist_ok=True)
        (folder / "launches" / "000" / "launch.json").write_text(json.dumps({"launcher": "local", "how": how}))
        return folder

    return write


def params_of(folder, depth=6):
    code, text, problem = run("predict", folder, "--depth", depth, "--target", "loss_all_scales", "--json")
    assert (code, problem) == (0, "")
    return json.loads(text)["params"]


def test_a_depth_is_that_of_the_launch(sweep):
    plain = params_of(sweep())
    wide = params_of(sweep(set=["model.head_dim=32"]))
    assert 3.5 < wide / plain < 4.5
    code, text, _ = run("allocate", sweep(set=["model.head_dim=32"]), "--flops", 1e13)
    assert code == 0
    assert "with --set model.head_dim=32" in " ".join(text.split())


def test_a_tuned_recipe_is_part_of_the_plan(sweep):
    recipe = {"name": "t", "family": "var", "depth": 4, "batch_size": 64, "learning_rate": 0.5}
    recipe |= {"knobs": {"gamma_init": 0.5}, "at_edge": [], "evidence": []}
    code, text, problem = run("allocate", sweep(recipe=recipe), "--flops", 1e13, "--json", "--top", 3)
    assert (code, problem) == (0, "")
    rates = {line["depth"]: line["learning_rate"] for line in json.loads(text)["table"]}
    assert rates[4] == pytest.approx(0.5)
    assert rates[8] == pytest.approx(0.25)


def test_a_depth_of_several_models_is_refused_with_their_sizes(sweep):
    folder = sweep("model.head_dim: [16, 32]")
    code, _, problem = run("predict", folder, "--depth", 6)
    assert code == 2
    assert "depth 6 is 2 models of this study (model.head_dim=16:" in problem
    assert "--size" in problem
    code, text, _ = run("allocate", folder, "--flops", 1e13)
    assert code == 0
    assert "parameters)" in text  # a depth alone does not say which
    folder = sweep("train.learning_rate: [0.01, 0.02]")  # of one size: one ladder
    assert params_of(folder) == params_of(sweep())


def table():
    """Losses whose budgets each have a law of their own, to all of which no joint law bends."""
    params = [5.9e4, 1.6e5, 3.4e5, 6.4e5, 1.1e6, 2e6]
    rows = [(n, d) for n in params for d in (5e3, 1.5e4, 3e4)]
    frame = pd.DataFrame(rows, columns=["params", "images"])
    bend = {5e3: -0.0006, 1.5e4: -0.0035, 3e4: -0.0085}
    level = {5e3: 5.70, 1.5e4: 5.63, 3e4: 5.51}
    frame["loss"] = [level[d] * (n / 5.9e4) ** bend[d] for n, d in rows]
    return frame


def test_at_a_budget_the_law_that_predicts_it_better_is_asked(tmp_path):
    table().to_csv(tmp_path / "rows.csv", index=False)
    study = study_of_csv(tmp_path / "rows.csv")
    answer = predict_run(study, "loss", 3e6, 3e4)
    assert "at 30000" in answer.law
    assert answer.value == pytest.approx(5.51 * (3e6 / 5.9e4) ** -0.0085, rel=1e-3)
    assert "params, data" in predict_run(study, "loss", 3e6, 6e4).law  # where no budget has a law


def test_more_passes_than_were_ever_made_are_said(tmp_path):
    table().assign(unique_images=10_000).to_csv(tmp_path / "rows.csv", index=False)
    arguments = (tmp_path / "rows.csv", "--x", "params", "--data", "images", "--y", "loss")
    code, text, _ = run("predict", *arguments, "--size", 1e6, "--images", 1.22e6)
    assert code == 0
    assert "122 epochs of the 10,000 there are, and the rows make 3 at most" in " ".join(text.split())
    _, text, _ = run("predict", *arguments, "--size", 1e6, "--images", 3e4)
    assert "epochs of the" not in text


def test_an_error_rate_is_no_more_than_all(tmp_path):
    frame = table().assign(error=lambda rows: 0.98 * (rows["params"] / 5.9e4) ** -0.01)
    frame["error"] *= [1.004, 0.996] * 9
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for size in (100, 3e4, 6e4):
        code, text, _ = run("predict", tmp_path / "rows.csv", "--y", "error", "--size", size, "--images", 3e4, "--json")
        assert code == 0
        (answer,) = json.loads(text)["predictions"]
        assert 0 <= answer["low"] <= answer["value"] <= answer["high"] <= 1
        assert answer["law_high"] <= 1


def test_a_quantity_that_the_form_fixes_is_asked_of_the_other_form(tmp_path):
    rows = [(n, d) for n in (2e7, 6e7, 2e8, 6e8) for d in (2e8, 8e8, 3e9, 1e10)]
    frame = pd.DataFrame(rows, columns=["params", "tokens"])
    wiggle = [1 + 0.004 * (-1) ** place for place in range(len(rows))]
    frame["loss"] = (1.8 + 60 / frame["params"] ** 0.25 + 260 / frame["tokens"] ** 0.25) * wiggle
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, text, problem = run("design", tmp_path / "rows.csv", "--quantity", "a_opt", "--flops", 1e21, "--json")
    assert (code, problem) == (0, "")
    document = json.loads(text)
    assert document["law"].endswith("chinchilla")
    assert all(line["shrinks"] is not None and line["shrinks"] >= 0 for line in document["trials"])
