"""Features that see shape: what a person ranks, the network ranks; it needs no labels and resumes to the bit."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.config.evaluate import EvaluateConfig, FidConfig, ShapeConfig, fid_evaluations, metric_data
from var_scaling.data.images import load_images
from var_scaling.evaluation.features import load_extractor
from var_scaling.evaluation.reconstruction import sanity_report
from var_scaling.evaluation.shape import exchanged, train_shape
from var_scaling.runs import store

QUICK = ShapeConfig(features=32, channels=(16, 32, 48), epochs=2, batch_size=64)
TINY = ShapeConfig(features=7, channels=(3, 5), epochs=3, batch_size=23)


@pytest.fixture(scope="module")
def small():
    return load_images(resolve_data(DataConfig(unique_images=130, validation_images=40)))


def train(images, recipe, running):
    out = running.scratch("result")
    report = train_shape(images.config, images, recipe, attempt=running, out=out)
    return report, load_file(out / "weights.safetensors")


def test_it_sees_that_parts_are_exchanged_and_that_images_are_blurred(attempt):
    images = load_images(resolve_data(DataConfig(unique_images=5_000, validation_images=1_000)))
    running = attempt()
    out = running.scratch("result")
    report = train_shape(images.config, images, QUICK, attempt=running, out=out)
    assert report["known_again"] > 0.6, "among 511 others"
    extractor = load_extractor("shape", data=images.config, recipe=QUICK, folder=out)
    assert extractor.identity.startswith("shape-")
    real, blurred, shrunk, parts, noise = (row["fid_corrected"] for row in sanity_report(images, extractor))
    assert 5 * abs(real) < blurred < shrunk < parts
    assert noise > shrunk


def test_a_stopped_training_goes_on_to_the_same_bits(small, attempt, monkeypatch):
    _, straight = train(small, TINY, attempt())
    running = attempt()
    asked = []
    monkeypatch.setattr(running, "stop_requested", lambda: asked.append(1) or len(asked) == 9)
    with pytest.raises(store.Stopped):
        train(small, TINY, running)
    _, again = train(small, TINY, attempt())
    assert straight.keys() == again.keys()
    assert all(torch.equal(straight[name], again[name]) for name in straight)


@pytest.mark.parametrize("side", [32, 30])
def test_parts_are_exchanged_and_nothing_else(side):
    images = torch.arange(3 * 2 * side * side, dtype=torch.float32).reshape(3, 2, side, side)
    rows = np.array([4, 9, 2])
    found = exchanged(images, rows, 4)
    assert not torch.equal(found, images)
    assert torch.equal(found.flatten(2).sort(2).values, images.flatten(2).sort(2).values), "the same pixels"
    assert torch.equal(found[1:], exchanged(images[1:], rows[1:], 4)), "each by its own address"
    assert torch.equal(found[..., side // 4 * 4 :, :], images[..., side // 4 * 4 :, :])
    first = found[0, 0, : side // 4, : side // 4]
    assert torch.equal(first.diff(dim=1), torch.ones_like(first)[:, 1:]), "a part stays whole"
    many = torch.arange(4.0).view(1, 1, 2, 2).expand(200, 1, 2, 2)
    assert not (exchanged(many, np.arange(200), 2) == many).flatten(1).all(1).any(), "none is put together rightly"


def test_one_class_can_be_measured():
    data = metric_data(resolve_data(DataConfig())).model_copy(update={"classes": 1})
    config = EvaluateConfig(fid=FidConfig(features="shape", samples=640))
    (found,) = fid_evaluations(config, data)
    assert found.extractor == ShapeConfig()
    again = type(found).model_validate_json(found.model_dump_json())
    assert again == found, "its recipe is read back as its own, not as a classifier's"
    with pytest.raises(ValueError, match="4.7 for each of the 128 dimensions of shape features.*use 640"):
        fid_evaluations(EvaluateConfig(fid=FidConfig(features="shape", samples=600)), data)
