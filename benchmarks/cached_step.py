"""A training step on cached tokens against one that encodes its images with the full-size tokenizer.

    python -m benchmarks.cached_step

The reference trainer encodes in every step. The tokenizer has the paper's widths (160 channels, 1-1-2-2-4), at 128
pixels, so an 8 x 8 latent; the transformer is d4 of width 256 with the paper's vocabulary. One thread, random images;
the least of several steps each, side by side.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from benchmarks.steps import make_stepper
from var_scaling.tokenizers.vq.config import VQConfig, resolve_tokenizer
from var_scaling.tokenizers.vq.model import build_tokenizer

SCALES = (1, 2, 3, 4, 6, 8)


def least(action: Callable[[], object], times: int) -> float:
    """Least seconds of several goes."""
    best = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begin)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--times", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = {"preset": "paper", "patch_nums": SCALES}
    config = resolve_tokenizer(VQConfig.model_validate(tokenizer), resolution=128, channels=3, flip=False)
    model = build_tokenizer(config).eval()
    images = torch.rand(options.batch, 3, 128, 128) * 2 - 1
    step, count = make_stepper(
        4,
        data={
            "name": "imagefolder",
            "version": "benchmark",
            "resolution": 128,
            "classes": 1000,
            "unique_images": 1_000_000,
            "validation_images": 1_000,
        },
        tokenizer=tokenizer,
        model={"head_dim": 64, "depth": 4},
        train={"batch_size": options.batch},
        placement={"image_folder": "not-needed"},
    )

    @torch.no_grad()
    def encode() -> None:
        model.teacher_forcing_input(model.encode(images))

    cached = least(step, options.times)
    encoded = least(encode, max(1, options.times // 2))
    print(f"step on cached tokens: {count / cached:.2f} img/s")
    print(f"encoding with the full-size tokenizer: {count / encoded:.2f} img/s")
    print(f"step that encodes: {count / (cached + encoded):.2f} img/s; cached is {(cached + encoded) / cached:.1f} x")


if __name__ == "__main__":
    main()
