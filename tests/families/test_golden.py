"""The published vectors: logits, tokens, images and samples to 2e-5, through the public loaders."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from var_scaling.published import load_tokenizer, load_var

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "var_tiny.npz"
pytestmark = pytest.mark.skipif(not GOLDEN.exists(), reason="no ../shared/golden/var_tiny.npz beside the repository")
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def golden():
    return {name: value for name, value in np.load(GOLDEN).items() if name != "config"}


@pytest.fixture(scope="module")
def config():
    return ast.literal_eval(str(np.load(GOLDEN)["config"]))


def weights(golden, prefix):
    return {name[len(prefix) :]: torch.from_numpy(v) for name, v in golden.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def var(golden, config):
    return load_var(weights(golden, "var/"), config["patch_nums"])


@pytest.fixture(scope="module")
def tokenizer(golden, config):
    return load_tokenizer(weights(golden, "vae/"), config["patch_nums"])


@pytest.fixture(scope="module")
def image(golden):
    return torch.from_numpy(golden["in/image"])


def labels(golden):
    return torch.from_numpy(golden["in/label"])


def assert_close(ours, golden, name):
    assert np.abs(golden[name]).max() > 0.1, "the vector is not trivially zero"
    np.testing.assert_allclose(ours.numpy(), golden[name], rtol=0, atol=TOLERANCE)


def test_sizes_are_read_from_the_shapes(var, tokenizer, config):
    assert (var.depth, var.heads, var.width) == (config["depth"], config["heads"], config["width"])
    assert (var.vocab_size, var.latent_dim, var.num_classes) == (64, 8, config["num_classes"])
    assert (tokenizer.image_size, tokenizer.vocab_size, tokenizer.latent_dim) == (config["image_size"], 64, 8)


@torch.no_grad()
def test_encoder_and_tokens(tokenizer, image, golden):
    assert_close(tokenizer.features(image), golden, "out/encoder_features")
    tokens_BL = torch.cat(tokenizer.encode(image), dim=1)
    assert len(tokens_BL.unique()) > 10, "many codes are in play"
    np.testing.assert_array_equal(tokens_BL.numpy(), golden["out/tokens"])


@torch.no_grad()
def test_teacher_forcing_and_logits(var, tokenizer, image, golden):
    teacher_forcing_BLZ = tokenizer.teacher_forcing_input(tokenizer.encode(image))
    assert_close(teacher_forcing_BLZ, golden, "out/teacher_forcing_input")
    assert_close(var(labels(golden), teacher_forcing_BLZ), golden, "out/logits")


@torch.no_grad()
def test_reconstruction(tokenizer, image, golden):
    tokens = tokenizer.encode(image)
    assert_close(tokenizer.quantize.pictures(tokens)[-1], golden, "out/f_hat_last")
    assert_close(tokenizer.decode(tokens), golden, "out/reconstruction")


@pytest.mark.parametrize(("guidance", "name"), [(0.0, "out/greedy_cfg0"), (1.5, "out/greedy_cfg1.5")])
def test_greedy_samples(var, tokenizer, golden, guidance, name):
    assert np.abs(golden["out/greedy_cfg0"] - golden["out/greedy_cfg1.5"]).max() > 0.05, "guidance changes the images"
    ours = var.sample(labels(golden), tokenizer, guidance=guidance, top_k=1)
    assert 0 <= ours.min() < ours.max() <= 1
    assert_close(ours, golden, name)


def test_no_label_is_dropped_and_weights_matter(var, tokenizer, image, golden):
    teacher_forcing_BLZ = tokenizer.teacher_forcing_input(tokenizer.encode(image))
    with torch.no_grad():
        var.train()
        training_mode = var(labels(golden), teacher_forcing_BLZ)
        var.eval()
        shifted = var((labels(golden) + 1) % 7, teacher_forcing_BLZ)
    assert_close(training_mode, golden, "out/logits")
    with pytest.raises(AssertionError):
        assert_close(shifted, golden, "out/logits")
