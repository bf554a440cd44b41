"""The decoder's upsampling as four small convolutions against one large one, in pairs: seconds of CPU, one thread.

    python -m benchmarks.decoder_speed [--preset paper] [--images 1] [--pairs 3]

The same weights and latents; both are timed in turn, so that a busy machine slows both, and the least of each counts.
"""

from __future__ import annotations

import argparse
import time
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from var_scaling.tokenizers.autoencoder import Upsample
from var_scaling.tokenizers.registry import kind_of, module_of
from var_scaling.tokenizers.vq.config import VQConfig


def plain(layer: Upsample, x_BCHW: Tensor) -> Tensor:
    """As it is published."""
    return layer.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


def main() -> None:
    """Print both, their ratio and how far they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = VQConfig(preset=given.preset)
    config = kind_of(config).resolve(config, resolution=256, channels=3, flip=True)
    decoder = module_of(config).build(config).eval().decoder
    side = config.patch_nums[-1]
    latents = torch.randn(given.images, config.latent_dim, side, side, generator=torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    pictures = {}
    with torch.no_grad():
        for _ in range(given.pairs):
            with patch.object(Upsample, "forward", plain):
                begin = time.process_time()
                pictures["plain"] = decoder(latents)
                seconds["plain"].append(time.process_time() - begin)
            begin = time.process_time()
            pictures["ours"] = decoder(latents)
            seconds["ours"].append(time.process_time() - begin)
    ratios = sorted(a / b for a, b in zip(seconds["plain"], seconds["ours"], strict=True))
    off = float((pictures["plain"] - pictures["ours"]).abs().max() / pictures["plain"].abs().max())
    best = {name: min(values) for name, values in seconds.items()}
    print(
        f"{given.preset}, {given.images} images: {best['plain']:.2f} and {best['ours']:.2f} CPU s, "
        f"{best['plain'] / best['ours']:.2f} times as fast (pairs {ratios[0]:.2f} to {ratios[-1]:.2f}), "
        f"largest difference {off:.1e} of the largest value"
    )


if __name__ == "__main__":
    main()
