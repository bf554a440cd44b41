"""A small set of images."""

import pytest

from var_scaling.config.data import DataConfig, resolve_data
from var_scaling.data.images import load_images


@pytest.fixture(scope="session")
def small_images():
    return load_images(resolve_data(DataConfig(unique_images=130, validation_images=70, views=3)))
