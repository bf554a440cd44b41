"""The validation loss is the plain definition, for any batch size, to the bit."""

import numpy as np
import pytest
import torch
from torch import nn

from var_scaling.evaluation import validation
from var_scaling.families.var.config import VARConfig

PATCH_NUMS, VOCABULARY, LATENT = (1, 2, 3), 11, 5
TOKENS = 14


class Cache:
    """23 validation images in memory."""

    def __init__(self, images=23):
        rng = np.random.default_rng(0)
        self.validation_labels = rng.integers(0, 7, images)
        self.tokens = torch.from_numpy(rng.integers(0, VOCABULARY, (images, TOKENS)))
        self.features = torch.from_numpy(rng.normal(size=(images, TOKENS - 1, LATENT)).astype(np.float32))

    def validation_batch(self, start, stop, names):
        arrays = {"tokens": self.tokens[start:stop], "features": self.features[start:stop]}
        return torch.from_numpy(self.validation_labels[start:stop]), {name: arrays[name] for name in names}


class Toy(nn.Module):
    """Logits from features and label; drops out in train mode, which a validation must not see."""

    sizes = [side * side for side in PATCH_NUMS]

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Embedding(8, LATENT)
        self.body = nn.Sequential(nn.Linear(LATENT, 37), nn.GELU(), nn.Dropout(0.5), nn.Linear(37, VOCABULARY))

    def forward(self, labels_B, features_BLC):
        return self.body(torch.cat([self.first(labels_B)[:, None], features_BLC], 1))


def validation_loss(model, cache, **options):
    return validation.validation_loss(VARConfig(patch_nums=PATCH_NUMS), model, cache, **options)


@pytest.fixture(autouse=True)
def small_passes(monkeypatch):
    monkeypatch.setattr(validation, "VALIDATED_AT_ONCE", 5)


def test_it_is_the_mean_cross_entropy_and_error_by_scale():
    cache, model = Cache(), Toy().train()
    measured = validation_loss(model, cache, batch_size=7)
    assert model.training, "the mode is left as it was"
    model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(cache.validation_labels), cache.features)
    loss_BL = nn.functional.cross_entropy(logits.flatten(0, 1), cache.tokens.flatten(), reduction="none").view(-1, 14)
    wrong_BL = (logits.argmax(-1) != cache.tokens).float()
    assert 0 < float(wrong_BL.mean()) < 1
    expected = {"loss_all_scales": loss_BL, "loss_last_scale": loss_BL[:, 5:], "loss_scale_1": loss_BL[:, :1]}
    expected |= {"loss_scale_2": loss_BL[:, 1:5], "loss_scale_3": loss_BL[:, 5:]}
    expected |= {"error_all_scales": wrong_BL, "error_scale_2": wrong_BL[:, 1:5]}
    for name, values in expected.items():
        assert measured[name] == pytest.approx(float(values.mean()), abs=1e-6), name
    assert len(measured) == 2 * (2 + 3)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_any_batch_size_gives_the_same_bits(batch_size):
    assert validation_loss(Toy(), Cache(), batch_size=batch_size) == validation_loss(Toy(), Cache(), batch_size=23)


def test_it_bites(monkeypatch):
    before = validation_loss(Toy(), Cache())
    monkeypatch.setattr(validation, "VALIDATED_AT_ONCE", 6)
    assert validation_loss(Toy(), Cache()) == pytest.approx(before, abs=1e-6)
    short = Cache()
    short.validation_labels = short.validation_labels[:22]
    assert validation_loss(Toy(), short)["loss_all_scales"] != before["loss_all_scales"]


def test_bfloat16_is_near_and_not_equal():
    exact = validation_loss(Toy(), Cache())["loss_all_scales"]
    half = validation_loss(Toy(), Cache(), precision="bfloat16")["loss_all_scales"]
    assert half != exact
    assert half == pytest.approx(exact, abs=0.02)
