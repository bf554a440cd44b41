"""Sampling: images per CPU second with and without guidance, against two slower ways of doing the same.

    python -m benchmarks.sampler_speed
    python -m benchmarks.sampler_speed --patch-nums 1 2 3 4 6 8 --depths 4 8

One thread, transformer only (no decoder). "recomputed" runs the whole prefix again at every scale instead of caching
keys and values; "norms each scale" caches, but computes the adaptive norms at every scale as the published code does.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch

from var_scaling.families.transformer.sampling import draw
from var_scaling.families.var.config import VARConfig
from var_scaling.families.var.model import VAR, build_var
from var_scaling.tokenizers.vq.model import Tokenizer


@torch.no_grad()
def recomputed(model: VAR, labels_B: torch.Tensor, tokenizer: Tokenizer, guidance: float) -> None:
    """The same tokens, without a cache."""
    picture, tokens, last = tokenizer.empty_picture(len(labels_B)), [], len(model.sizes) - 1
    uniform_BL = torch.rand(len(labels_B), model.tokens)
    null_B = torch.full_like(labels_B, model.num_classes)
    parts = [torch.zeros(len(labels_B), 0, model.latent_dim)]
    begin = 0
    for k, size in enumerate(model.sizes):
        rest = torch.zeros(
            len(labels_B), model.tokens - model.sizes[0] - sum(p.shape[1] for p in parts), model.latent_dim
        )
        x_BLZ = torch.cat((*parts, rest), dim=1)
        logits = model(labels_B, x_BLZ)[:, begin : begin + size]
        if guidance:
            t = guidance * k / last
            logits = (1 + t) * logits - t * model(null_B, x_BLZ)[:, begin : begin + size]
        tokens.append(draw(logits, uniform_BL[:, begin : begin + size]))
        picture = tokenizer.add_scale(picture, k, tokens[-1])
        if k < last:
            parts.append(tokenizer.scale_input(picture, k + 1))
        begin += size


def norms_each_scale(model: VAR, labels_B: torch.Tensor, tokenizer: Tokenizer, guidance: float) -> None:
    """Adds the cost of computing every adaptive norm again at all scales but the first."""
    rows_R = labels_B if guidance == 0 else torch.cat((labels_B, torch.full_like(labels_B, model.num_classes)))
    with torch.no_grad():
        for _ in model.sizes[1:]:
            model._modulations(model.class_emb(rows_R))
    model.sample_tokens(labels_B, tokenizer, guidance, 0, 0.0)


def best(run, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        run()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 6, 8])
    parser.add_argument("--patch-nums", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sides = tuple(args.patch_nums)
    tokenizer = Tokenizer(patch_nums=sides, vocab_size=512, latent_dim=16, channels=8, multipliers=(1,)).eval()
    for depth in args.depths:
        config = VARConfig(
            depth=depth,
            head_dim=16,
            patch_nums=sides,
            vocab_size=512,
            latent_dim=16,
            num_classes=10,
            gamma_init=1e-3,
            drop_path=0.0,
        )
        model, labels_B = build_var(config).eval(), torch.arange(args.batch) % 10
        ways = {
            "guided": partial(model.sample_tokens, labels_B, tokenizer, 1.5, 0, 0.0),
            "guided, top-p 0.96": partial(model.sample_tokens, labels_B, tokenizer, 1.5, 0, 0.96),
            "guidance 0": partial(model.sample_tokens, labels_B, tokenizer, 0.0, 0, 0.0),
            "guided, norms each scale": partial(norms_each_scale, model, labels_B, tokenizer, 1.5),
            "guided, recomputed": partial(recomputed, model, labels_B, tokenizer, 1.5),
        }
        rates = {name: args.batch / best(run, args.repeats) for name, run in ways.items()}
        print(
            f"d{depth}: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()) + " images per CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
