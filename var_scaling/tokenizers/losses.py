"""What a reconstruction is judged by while a tokenizer trains: pixels, features, and a critic.

The feature networks here compute no metric of ours: training on a metric's own network halves that metric and means
nothing (docs/log.md).

Dimension key: B batch, 3 image channels (or 1), H height, W width, C feature channels.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling.errors import EnvironmentProblem

VGG_FILE = "vgg16-397923af.pth"


class RandomFeatures(nn.Module):
    """Distance of unit-length features of a fixed random convolutional network, at three resolutions.

    Random filters see edges and texture that pixels do not weigh, need no download, and are no metric's network.
    """

    def __init__(self, image_channels: int, seed: int = 0, widths: tuple[int, ...] = (16, 32, 64)):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = nn.ParameterList()
        before = image_channels
        for width in widths:
            weight = torch.randn(width, before, 3, 3, generator=generator)
            weight -= weight.mean((1, 2, 3), keepdim=True)  # blind to brightness: the pixel loss sees that
            self.weights.append(nn.Parameter(weight / weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1), False))
            before = width

    def forward(self, ours_B3HW: Tensor, truth_B3HW: Tensor) -> Tensor:
        """Mean over images, positions and resolutions of the squared distance of unit feature vectors."""
        x, total = torch.cat((ours_B3HW, truth_B3HW)), ours_B3HW.new_zeros(())
        for i, weight in enumerate(self.weights):
            x = F.relu(F.conv2d(x, weight, stride=2 if i else 1, padding=1))
            ours_BCHW, truth_BCHW = F.normalize(x, dim=1).chunk(2)
            total = total + (ours_BCHW - truth_BCHW).square().sum(1).mean()
        return total / len(self.weights)


class Lpips(nn.Module):
    """LPIPS (Zhang et al. 2018) on VGG16, whose weights must be at hand: in torch's hub folder."""

    def __init__(self) -> None:
        super().__init__()
        import lpips

        path = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
        if not path.exists():
            raise EnvironmentProblem(
                f"tokenizer.train.perceptual.network is lpips, but its VGG16 backbone is not here: put torchvision's "
                f"{VGG_FILE} into {path.parent}, or use network: random"
            )
        with contextlib.redirect_stdout(io.StringIO()):
            self.net = lpips.LPIPS(net="vgg", verbose=False).requires_grad_(False).eval()

    def forward(self, ours_B3HW: Tensor, truth_B3HW: Tensor) -> Tensor:
        if ours_B3HW.shape[1] == 1:
            ours_B3HW, truth_B3HW = ours_B3HW.expand(-1, 3, -1, -1), truth_B3HW.expand(-1, 3, -1, -1)
        return self.net(ours_B3HW, truth_B3HW).mean()


def perceptual_network(network: Literal["random", "lpips"], image_channels: int) -> nn.Module:
    """A frozen module: (ours, truth), both (B, 3, H, W) in [-1, 1], to a scalar distance.

    Raises:
        EnvironmentProblem: LPIPS without its backbone's weights.
    """
    return RandomFeatures(image_channels) if network == "random" else Lpips()


def hinge_for_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Pushes scores of real images above 1 and of reconstructions below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adaptive_weight(others: Tensor, critic: Tensor, last_layer: Tensor) -> Tensor:
    """How much the critic's loss is scaled so that its gradient at the last layer is as long as the others'.

    Source: VQGAN (Esser et al. 2021, Eq. 7), with its cap.
    """
    (others_grad,) = torch.autograd.grad(others, last_layer, retain_graph=True)
    (critic_grad,) = torch.autograd.grad(critic, last_layer, retain_graph=True)
    return (others_grad.norm() / (critic_grad.norm() + 1e-4)).clamp(0, 1e4).detach()


def psnr(ours_B3HW: Tensor, truth_B3HW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (B); images in [-1, 1], ours clamped to it."""
    error_B = (ours_B3HW.clamp(-1, 1) - truth_B3HW).square().flatten(1).mean(1)
    return -10 * torch.log10((error_B / 4).clamp_min(1e-10))
