"""DiT's training step and its guided sampler against a plain implementation with torch's fused attention.

    python -m benchmarks.dit_speed [--depth 3] [--latent 4] [--patch 1] [--head-dim 16]

Both have the same weights and give the same numbers, which is checked first. CPU seconds of one thread, the least of
several goes taken in turn, so that a busy machine shows least. The plain form is what one would write down from the
paper: a convolution for patches, one adaptive-norm projection a row, a doubled batch under guidance, and a schedule
that is looked up for every row at every step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling.config.train import TrainConfig
from var_scaling.families.base import Batch
from var_scaling.families.dit import FAMILY
from var_scaling.families.dit.config import DiTConfig, DiTSampler
from var_scaling.families.dit.diffusion import GaussianDiffusion
from var_scaling.families.dit.model import DiT, build_dit, time_frequencies
from var_scaling.families.dit.sampling import draw
from var_scaling.families.dit.training import draws, groups, loss


class Plain(nn.Module):
    """The published model over the weights of one of ours."""

    def __init__(self, dit: DiT) -> None:
        super().__init__()
        self.dit = dit

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        dit = self.dit
        x = dit.x_embedder.proj(x).flatten(2).transpose(1, 2) + dit.pos_embed
        c = dit.t_embedder.mlp(time_frequencies(t)) + dit.y_embedder.embedding_table(y)
        for block in dit.blocks:
            shift1, scale1, gate1, shift2, scale2, gate2 = block.adaLN_modulation(c).chunk(6, dim=1)
            h = self.modulate(x, shift1, scale1)
            batch, tokens, width = h.shape
            q, k, v = block.attn.qkv(h).reshape(batch, tokens, 3, dit.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
            x = x + gate1.unsqueeze(1) * block.attn.proj(h)
            h = block.mlp.fc1(self.modulate(x, shift2, scale2))
            x = x + gate2.unsqueeze(1) * block.mlp.fc2(F.gelu(h, approximate="tanh"))
        shift, scale = dit.final_layer.adaLN_modulation(c).chunk(2, dim=1)
        x = dit.final_layer.linear(self.modulate(x, shift, scale))
        p, side = dit.patch_size, dit.side
        x = x.reshape(len(x), side, side, p, p, dit.output_channels)
        return torch.einsum("nhwpqc->nchpwq", x).reshape(len(x), dit.output_channels, side * p, side * p)

    @staticmethod
    def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)

    def guided(self, x: Tensor, t: Tensor, y: Tensor, scale: float, channels: int) -> Tensor:
        null = torch.full_like(y, self.dit.num_classes)
        out = self(torch.cat((x, x)), torch.cat((t, t)), torch.cat((y, null)))
        conditional, unconditional = out.chunk(2)
        guided = unconditional[:, :channels] + scale * (conditional[:, :channels] - unconditional[:, :channels])
        return torch.cat((guided, conditional[:, channels:]), dim=1)


@torch.no_grad()
def plain_ddim(model: Plain, x: Tensor, y: Tensor, diffusion: GaussianDiffusion, scale: float) -> Tensor:
    channels = x.shape[1]
    for place in range(len(diffusion) - 1, -1, -1):
        t = torch.full((len(x),), place)
        times = torch.tensor(diffusion.timesteps)[t]

        def at(values: np.ndarray, t: Tensor = t) -> Tensor:
            return torch.from_numpy(values)[t].float().view(-1, 1, 1, 1)

        out = model.guided(x, times, y, scale, channels)[:, :channels]
        if diffusion.target == "velocity":
            x_start = at(diffusion.signal) * x - at(diffusion.noise_share) * out
        else:
            x_start = at(diffusion.inverse_signal) * x - at(diffusion.noise_over_signal) * out
        noise = (at(diffusion.inverse_signal) * x - x_start) / at(diffusion.noise_over_signal)
        before = at(diffusion.alphas_cumprod_before)
        x = before.sqrt() * x_start + (1 - before).sqrt() * noise
    return x


def least(ours: Callable[[], object], plain: Callable[[], object], times: int) -> tuple[float, float]:
    """Least CPU seconds of each, in turn."""
    best = [float("inf"), float("inf")]
    for _ in range(times):
        for i, action in enumerate((ours, plain)):
            begin = time.process_time()
            action()
            best[i] = min(best[i], time.process_time() - begin)
    return best[0], best[1]


def stepper(config: DiTConfig, batch: int, wrap: Callable[[DiT], nn.Module]) -> Callable[[], None]:
    """One training step: addressed draws, loss, gradients, clipping, AdamW."""
    model = build_dit(config)
    forward = wrap(model)
    optimizer = torch.optim.AdamW(groups(model), lr=1e-4, fused=True)
    latents = torch.randn(batch, config.latent_channels, config.latent_size, config.latent_size)
    labels, train = torch.arange(batch) % config.num_classes, TrainConfig(label_drop=0.1)

    def step() -> None:
        drawn = draws(config, train, 0, np.arange(batch))
        optimizer.zero_grad(set_to_none=True)
        loss(forward, config, train, Batch(labels, {"latents": latents}, drawn)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--head-dim", type=int, default=16)
    parser.add_argument("--latent", type=int, default=4)
    parser.add_argument("--patch", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = DiTConfig(
        depth=options.depth,
        head_dim=options.head_dim,
        patch_size=options.patch,
        latent_channels=4,
        latent_size=options.latent,
        num_classes=10,
    )
    name = FAMILY.default_recipe(config)
    config = config.model_copy(update=dict(FAMILY.recipe(name, config, TrainConfig(), None).model))
    model = build_dit(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    plain = Plain(model)
    x = torch.randn(options.samples, 4, options.latent, options.latent)
    y, diffusion = torch.arange(options.samples) % 10, GaussianDiffusion(str(options.steps), config.target)
    sampler = DiTSampler(steps=options.steps, guidance=0.5)
    sample = partial(draw, model, y, sampler)
    t = torch.arange(options.samples) * 7
    torch.testing.assert_close(model(x, t, y), plain(x, t, y), rtol=1e-4, atol=1e-5)
    few = GaussianDiffusion("5", config.target)
    ours = draw(model, y, DiTSampler(steps=5, guidance=0.5), iter([x]))
    torch.testing.assert_close(ours, plain_ddim(plain, x, y, few, 1.5), rtol=1e-3, atol=1e-3)

    ours_s, plain_s = least(
        stepper(config, options.batch, lambda dit: dit), stepper(config, options.batch, Plain), options.times
    )
    print(f"training step: {options.batch / ours_s:.0f} img/CPU-s, plain {options.batch / plain_s:.0f}", end=" ")
    print(f"({plain_s / ours_s:.2f} x)")
    goes = max(2, options.times // 10)
    ours_s, plain_s = least(lambda: sample(iter([x])), lambda: plain_ddim(plain, x, y, diffusion, 1.5), goes)
    rate, plain_rate = options.samples / ours_s, options.samples / plain_s
    print(f"guided samples of {options.steps} steps: {rate:.1f} a CPU-s, plain {plain_rate:.1f}", end=" ")
    print(f"({plain_s / ours_s:.2f} x)")


if __name__ == "__main__":
    main()
