"""Copies of training images: told from new images, in every view, behind a tokenizer that blurs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.data.images import load_images
from var_scaling.evaluation.copies import BELOW, MOST_IMAGES, TrainingImages, can_be_told
from var_scaling.evaluation.features import image_bytes, to_bytes
from var_scaling.evaluation.fid import evaluate_model
from var_scaling.runs import store


class Exact:
    """A first stage that keeps everything."""

    def latents(self, images_BCHW):
        return images_BCHW

    def pictures(self, latents):
        return latents


class Blurring:
    """A first stage that keeps a quarter of the side."""

    def latents(self, images_BCHW):
        return {"small": F.avg_pool2d(images_BCHW, 4)}

    def pictures(self, latents):
        return F.interpolate(latents["small"], scale_factor=4)


def shown(images_BCHW):
    """uint8 images as the tokenizer gives them back."""
    back = Blurring().pictures(Blurring().latents(images_BCHW.float() / 127.5 - 1))
    return to_bytes((back + 1) / 2)


@pytest.fixture(scope="module", params=[1, 2], ids=["plain", "two views"])
def small(request):
    config = DataConfig(unique_images=300, validation_images=500, views=request.param)
    return load_images(resolve_data(config))


def test_training_images_are_copies_and_validation_images_are_not(small):
    learnt = TrainingImages(small, Blurring())
    train, held_out = (shown(image_bytes(small, split, np.arange(200))) for split in ("train", "validation"))
    assert (learnt.ratios(train) < BELOW).mean() > 0.95
    assert (learnt.ratios(held_out) < BELOW).mean() < 0.03
    assert learnt.by_chance < 0.03
    files = TrainingImages(small, Exact())
    assert (files.ratios(train) < BELOW).mean() < 0.5, "why the training images go through the tokenizer"


def test_a_view_of_a_training_image_is_its_copy(small):
    last = small.config.views - 1
    moved = ((small.batch(np.arange(100), last, "train") + 1) * 127.5).round().to(torch.uint8)
    assert (TrainingImages(small, Blurring()).ratios(shown(moved)) < BELOW).mean() > 0.95


def test_an_evaluation_says_which_share_is_copied(
    model, evaluation, images, classifier_folder, attempt, monkeypatch, tmp_path
):
    """The toy model draws the first 2,000 images of each class: a tenth of its samples lie in the first 200."""
    config = resolve_data(DataConfig(unique_images=2_000, validation_images=100))
    learnt = TrainingImages(load_images(config), Exact())
    arguments = {"extractor_folder": classifier_folder, "cache": tmp_path, "learnt": learnt}
    straight = evaluate_model(model, evaluation, images, **arguments)
    assert 0.05 < straight["copies"] < 0.17
    assert straight["copies_by_chance"] <= 0.05
    assert straight["class_agreement"] > 0.7, "of real images of the class that was asked for"
    assert straight["classes"] == 10
    running = attempt()
    calls = []
    monkeypatch.setattr(running, "stop_requested", lambda: calls.append(1) or len(calls) == 2)
    with pytest.raises(store.Stopped):
        evaluate_model(model, evaluation, images, attempt=running, **arguments)
    again = evaluate_model(model, evaluation, images, attempt=attempt(), **arguments)
    assert again["copies"] == straight["copies"]


def test_only_small_sets_are_looked_at():
    def told(images, views):
        return can_be_told(DataConfig(unique_images=images, views=views))

    assert told(1_250, 8)
    assert told(MOST_IMAGES, 1)
    assert not told(MOST_IMAGES, 2)
    assert not told(1, 1)
