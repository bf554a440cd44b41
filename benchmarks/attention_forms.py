"""Training steps of the VAR transformer: images per CPU second by depth, our attention against the masked form.

    python -m benchmarks.attention_forms                      # 30 tokens, batch 64: the demo's ladder
    python -m benchmarks.attention_forms --patch-nums 1 2 3 4 6 8 --depths 2 4
    python -m benchmarks.attention_forms --patch-nums 1 2 3 4 5 6 8 10 13 16 --depths 4 --batch 2 --head-dim 64

One thread; a step is forward, loss and backward. The two forms take turns in one process and the best of several steps
counts, so that other work on the machine hits both alike. Page faults cost up to 15 % unless the allocator keeps its
memory: MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=67108864.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F

from var_scaling.families.var.config import VARConfig
from var_scaling.families.var.model import build_var
from var_scaling.planning import flops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 3, 4, 5, 6, 8])
    parser.add_argument("--patch-nums", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--head-dim", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0, help="CPU seconds for each depth and form")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for depth in args.depths:
        config = VARConfig(
            depth=depth,
            head_dim=args.head_dim,
            patch_nums=tuple(args.patch_nums),
            vocab_size=512,
            latent_dim=16,
            num_classes=10,
            gamma_init=1e-3,
            drop_path=0.0,
        )
        tokens, batch = config.tokens_per_image, args.batch
        labels_B = torch.randint(10, (batch,))
        x_BLZ = torch.randn(batch, tokens - args.patch_nums[0] ** 2, 16)
        target_n = torch.randint(512, (batch * tokens,))
        models = {"scale by scale": build_var(config), "masked": build_var(config, masked=True)}
        best = dict.fromkeys(models, float("inf"))
        spent = 0.0
        while spent < args.seconds * len(models):
            for name, model in models.items():
                begin = time.process_time()
                F.cross_entropy(model(labels_B, x_BLZ).flatten(0, 1), target_n).backward()
                model.zero_grad()
                seconds = time.process_time() - begin
                best[name], spent = min(best[name], seconds), spent + seconds
        ours, masked = (batch / best[name] for name in models)
        rate = ours * flops.train_flops_visible_per_image(config) / 1e9
        print(
            f"d{depth} width {config.width}: {ours:,.0f} images per CPU s ({rate:.0f} GFLOP/s); "
            f"masked {masked:,.0f}; ratio {ours / masked:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
