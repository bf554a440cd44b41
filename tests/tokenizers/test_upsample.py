"""Upsampling as four small convolutions: the same map, and training keeps its bits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from var_scaling.tokenizers.autoencoder import Upsample


def plain(layer: Upsample, x_BCHW: torch.Tensor) -> torch.Tensor:
    larger_BCHW = F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")
    return F.conv2d(larger_BCHW, layer.conv.weight, layer.conv.bias, padding=1)


@pytest.mark.parametrize(("channels", "height", "width"), [(8, 16, 16), (16, 7, 9), (24, 12, 5)])
def test_four_small_convolutions_are_the_large_one(channels: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    layer, x_BCHW = Upsample(channels), torch.randn(3, channels, height, width)
    with torch.no_grad():
        exact = plain(layer.double(), x_BCHW.double())
        found = layer.float()(x_BCHW)
        assert not torch.equal(found, plain(layer, x_BCHW)), "the premise: it is computed in another order"
        assert float((found - exact).abs().max()) < 2e-6
    assert torch.equal(layer(x_BCHW), plain(layer, x_BCHW)), "with gradients the bits are what they were"
