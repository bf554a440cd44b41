"""The feature network trains, resumes to the bit, and is refused when its file is not whole."""

import pytest
import torch
from safetensors.torch import load_file

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import ClassifierConfig
from var_scaling.data.images import load_images
from var_scaling.errors import EnvironmentProblem
from var_scaling.evaluation.classifier import build_classifier, load_classifier, train_classifier
from var_scaling.runs import store

RECIPE = ClassifierConfig(features=7, channels=(3, 5), epochs=3, batch_size=23)


@pytest.fixture(scope="module")
def small():
    return load_images(resolve_data(DataConfig(unique_images=130, validation_images=70)))


def train(small, running):
    out = running.scratch("result")
    report = train_classifier(small.config, small, RECIPE, attempt=running, out=out)
    return report, load_file(out / "weights.safetensors")


def test_stopped_after_any_epoch_it_gives_the_same_weights(small, attempt, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    whole.mkdir()
    straight = store.take(whole)
    straight.journal = attempt().journal
    report, expected = train(small, straight)
    assert report["images"] == 130
    assert not list(straight.folder.glob("checkpoints/*"))
    for steps in (8, 7):  # an epoch is 6 steps: stopped inside the second, and inside the one after that
        running = attempt()
        calls = []
        monkeypatch.setattr(running, "stop_requested", lambda c=calls, n=steps: c.append(1) or len(c) >= n)
        with pytest.raises(store.Stopped):
            train(small, running)
    _, resumed = train(small, attempt())
    assert sorted(resumed) == sorted(expected)
    for name in expected:
        assert torch.equal(resumed[name], expected[name]), name


def test_the_seed_is_the_only_randomness(small):
    torch.manual_seed(1)
    first = build_classifier(RECIPE, small.config)
    torch.manual_seed(2)
    again = build_classifier(RECIPE, small.config)
    other = build_classifier(RECIPE.model_copy(update={"seed": 1}), small.config)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_damaged_file_and_another_recipe_are_refused(classifier_folder, evaluation, tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        load_classifier(classifier_folder, RECIPE, evaluation.data)
    content = (classifier_folder / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(EnvironmentProblem, match="delete the folder and launch again"):
        load_classifier(tmp_path, evaluation.extractor, evaluation.data)


@pytest.mark.slow  # 40 CPU seconds
def test_the_default_recipe_reaches_90_percent(attempt):
    images = load_images(resolve_data(DataConfig()))
    running = attempt()
    out = running.scratch("result")
    report = train_classifier(images.config, images, ClassifierConfig(), attempt=running, out=out)
    assert report["accuracy"] >= 0.9
