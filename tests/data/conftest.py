"""A small tokenizer, a small set, and attempts on a work folder."""

import pytest
import torch

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.data.images import load_images
from var_scaling.models.tokenizer import Tokenizer


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return Tokenizer(
        patch_nums=(1, 2, 4),
        vocab_size=31,
        latent_dim=5,
        channels=4,
        multipliers=(1, 1, 1),
        blocks=1,
        attention=False,
        stem_stride=2,
        image_channels=1,
    ).eval()


@pytest.fixture(scope="session")
def small_images():
    return load_images(resolve_data(DataConfig(unique_images=130, validation_images=70, views=3)))
