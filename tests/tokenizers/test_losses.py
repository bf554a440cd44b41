"""Losses by hand, and the sentence for weights that are not here."""

import math

import pytest
import torch

from var_scaling.errors import EnvironmentProblem
from var_scaling.tokenizers.discriminator import build_critic
from var_scaling.tokenizers.losses import (
    Lpips,
    RandomFeatures,
    adaptive_weight,
    hinge_for_critic,
    perceptual_network,
    psnr,
)


def test_psnr_by_hand():
    truth = torch.zeros(2, 3, 5, 7)
    ours = truth.clone()
    ours[0] = 0.2  # a tenth of the range
    ours[1, 0, 0, 0] = 5.0  # clamped to 1: a quarter of the squared range in one of 105 values
    assert psnr(ours, truth).tolist() == pytest.approx([20.0, 10 * math.log10(4 * 105)], abs=1e-4)


def test_hinge_by_hand():
    assert float(hinge_for_critic(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 1.0]))) == pytest.approx(0.625)


def test_adaptive_weight_makes_gradients_equally_long():
    layer = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    others, critic = (layer * torch.tensor([3.0, 4.0])).sum(), (layer * torch.tensor([0.0, 0.5])).sum()
    assert float(adaptive_weight(others, critic, layer)) == pytest.approx(10.0, rel=1e-3)
    assert float(adaptive_weight(others * 1e9, critic, layer)) == 1e4, "capped"


@pytest.mark.parametrize("channels", [1, 3])
def test_random_features(channels):
    network = perceptual_network("random", channels)
    assert isinstance(network, RandomFeatures)
    assert not any(p.requires_grad for p in network.parameters())
    truth = torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float(network(truth, truth)) == 0.0
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1).requires_grad_()
    distance = network(blurred, truth)
    assert distance > 0.05
    distance.backward()
    assert blurred.grad.abs().max() > 0
    again = perceptual_network("random", channels)(blurred.detach(), truth)
    assert torch.equal(again, distance.detach()), "the same network every time"


def test_lpips_without_its_backbone_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(
        EnvironmentProblem, match="VGG16 backbone is not here: put .*vgg16-397923af.pth .*network: random"
    ):
        Lpips()


def test_critic():
    state = torch.random.get_rng_state()
    critic = build_critic(3, 4, 2, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    scores = critic(torch.randn(2, 3, 24, 16))
    assert scores.shape == (2, 1, 6, 4)
    again = build_critic(3, 4, 2, seed=5)
    for a, b in zip(critic.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
