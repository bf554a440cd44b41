"""DiT: a transformer that takes the noise out of a latent (Peebles and Xie 2022, arXiv:2212.09748).

What differs from a plain transformer:
  - tokens are patches of a noisy latent; the output is a latent again, or two (noise and variance values)
  - time and class, added up, modulate every norm and gate every residual branch (adaLN); gates, like the last layer,
    start at zero, so that a fresh model is the identity inside and predicts zero
  - positions are fixed sines and cosines

Nothing here consumes random numbers but initialisation (from a seed): which labels are dropped, which times and noises
are drawn is decided by the caller. Parameters have the published names.

Dimension key: B batch, C latent channels, O output channels = C or 2 C, H = W side of the latent, p side of a patch,
L tokens = (H / p) ** 2, P numbers of a patch = C p ** 2, D width, N heads, d = D / N, F frequencies of a time,
R rows = B, or 2 B under guidance, U distinct conditions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling.families.dit.config import DiTConfig, Target, problems
from var_scaling.families.dit.sizes import FREQUENCIES
from var_scaling.families.transformer.layers import FeedForward, modulated_norm

Modulation = tuple[Tensor, ...]  # (B, 1, D) each


def time_frequencies(t_B: Tensor) -> Tensor:
    """(B, F) float32: cosines, then sines, of a time at wavelengths from 2 pi to 10,000 times that."""
    half = FREQUENCIES // 2
    rates_f = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t_B.device) / half)
    angles_Bf = t_B[:, None].float() * rates_f
    return torch.cat((angles_Bf.cos(), angles_Bf.sin()), dim=-1)


def positions(side: int, width: int) -> Tensor:
    """(1, L, D) float32: half of the width for the column, then half for the row; sines before cosines in each."""
    rates = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    axis = torch.cat((angles.sin(), angles.cos()), dim=-1)  # (side, D / 2)
    column, row = axis[None].expand(side, -1, -1), axis[:, None].expand(-1, side, -1)
    return torch.cat((column, row), dim=-1).reshape(1, side * side, width).float()


class TimeEmbedding(nn.Module):
    """A time's frequencies through a small network."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        return self.mlp(time_frequencies(t_B))


class LabelEmbedding(nn.Module):
    """A vector a class, and a last one for "no class"."""

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, width)

    def forward(self, labels_B: Tensor) -> Tensor:
        return self.embedding_table(labels_B)


class PatchEmbedding(nn.Module):
    """A linear map of each patch; its weights are kept as those of the published convolution."""

    def __init__(self, channels: int, patch_size: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, L, D); tokens row by row."""
        batch, channels, height, width = x_BCHW.shape
        p = self.proj.kernel_size[0]
        x_BCypxp = x_BCHW.reshape(batch, channels, height // p, p, width // p, p)
        x_BLP = x_BCypxp.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * p * p)
        return F.linear(x_BLP, self.proj.weight.flatten(1), self.proj.bias)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        batch, tokens, width = x_BLD.shape
        qkv_BL3Nd = self.qkv(x_BLD).view(batch, tokens, 3, self.heads, width // self.heads)
        q_BNLd, k_BNLd, v_BNLd = qkv_BL3Nd.transpose(1, 3).unbind(2)
        out_BNLd = F.scaled_dot_product_attention(q_BNLd, k_BNLd, v_BNLd)
        return self.proj(out_BNLd.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """Attention and feed-forward, each a residual branch under its own modulated norm and gate."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = SelfAttention(width, heads)
        self.mlp = FeedForward(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x_BLD: Tensor, modulation: Modulation) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation
        x_BLD = torch.addcmul(x_BLD, gate1, self.attn(modulated_norm(x_BLD, scale1, shift1)))
        return torch.addcmul(x_BLD, gate2, self.mlp(modulated_norm(x_BLD, scale2, shift2)))


class FinalLayer(nn.Module):
    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x_BLD: Tensor, modulation: Modulation) -> Tensor:
        shift, scale = modulation
        return self.linear(modulated_norm(x_BLD, scale, shift))


class DiT(nn.Module):
    """A class-conditional diffusion transformer.

    Args:
        depth: number of blocks.
        width: D; a multiple of heads and of 4.
        heads: attention heads N.
        patch_size: p.
        latent_size: side H of the latent; a multiple of the patch.
        channels: latent channels C.
        num_classes: class ids are 0 .. num_classes - 1; num_classes itself is "no class", for guidance.
        learned_variance: 2 C output channels, the second half the variance's place between its two bounds.
        target: what the first C output channels are, as `GaussianDiffusion` reads them; nothing here depends on it.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        latent_size: int,
        channels: int,
        num_classes: int,
        learned_variance: bool = True,
        target: Target = "noise",
    ):
        super().__init__()
        self.depth, self.width, self.heads, self.patch_size = depth, width, heads, patch_size
        self.latent_size, self.channels, self.num_classes = latent_size, channels, num_classes
        self.learned_variance, self.target = learned_variance, target
        self.output_channels = 2 * channels if learned_variance else channels
        self.side = latent_size // patch_size
        self.x_embedder = PatchEmbedding(channels, patch_size, width)
        self.t_embedder = TimeEmbedding(width)
        self.y_embedder = LabelEmbedding(num_classes, width)
        self.register_buffer("pos_embed", positions(self.side, width))  # in the state dict, as published; not trained
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size**2 * self.output_channels)

    def forward(self, x_BCHW: Tensor, t_B: Tensor, labels_B: Tensor) -> Tensor:
        """What was added to the latents, as far as the model can tell.

        Args:
            x_BCHW: (B, C, H, H) noisy latents.
            t_B: (B) times 0 .. 999, of the full schedule also where fewer steps are taken. A time that was expanded
                from one number (`t.expand(B)`) is embedded once, and adaptive norms once a class.
            labels_B: (B) int64 class ids; `num_classes` is "no class". No label is dropped here, in no mode.

        Returns:
            (B, O, H, H) float32: C channels of noise (or velocity), then C of variance values where they are learned.

        Raises:
            ValueError: latents of another shape than the model's.
        """
        self._check(x_BCHW)
        return self._run(self.x_embedder(x_BCHW), *self._conditions(t_B, labels_B))

    def guided(self, x_BCHW: Tensor, t_B: Tensor, labels_B: Tensor, scale: float, channels: int = 3) -> Tensor:
        """The same under classifier-free guidance: uncond + scale (cond - uncond), on the first channels.

        Args:
            x_BCHW: (B, C, H, H), not doubled.
            t_B: as `forward`.
            labels_B: as `forward`.
            scale: the published s: 1 is off (no unconditional pass is run). This project's t is s - 1.
            channels: how many of the C latent channels are guided, the first ones; 3 is published. The other channels,
                and all variance values, are the conditional ones.

        Returns:
            (B, O, H, H) float32.
        """
        if scale == 1:
            return self(x_BCHW, t_B, labels_B)
        self._check(x_BCHW)
        x_BLD = self.x_embedder(x_BCHW)
        null_B = torch.full_like(labels_B, self.num_classes)
        t_R = t_B[:1].expand(2 * len(t_B)) if _one_time(t_B) else torch.cat((t_B, t_B))
        out_ROHW = self._run(torch.cat((x_BLD, x_BLD)), *self._conditions(t_R, torch.cat((labels_B, null_B))))
        with_BOHW, without_BOHW = out_ROHW.chunk(2)
        channels = min(channels, self.channels)
        guided_BcHW = torch.lerp(without_BOHW[:, :channels], with_BOHW[:, :channels], scale)
        return torch.cat((guided_BcHW, with_BOHW[:, channels:]), dim=1)

    def _conditions(self, t_R: Tensor, labels_R: Tensor) -> tuple[Tensor, Tensor | None]:
        """SiLU of time plus class, (U, D), and which of them each row has (None: row i has the i-th)."""
        with torch.autocast(t_R.device.type, enabled=False):
            if not _one_time(t_R):
                return F.silu(self.t_embedder(t_R) + self.y_embedder(labels_R)), None
            time_1D = self.t_embedder(t_R[:1])
            if self.num_classes < len(labels_R):  # never by what the labels are: rows must not depend on each other
                return F.silu(time_1D + self.y_embedder.embedding_table.weight), labels_R
            return F.silu(time_1D + self.y_embedder(labels_R)), None

    def _run(self, x_RLD: Tensor, condition_UD: Tensor, which_R: Tensor | None) -> Tensor:
        x_RLD = x_RLD + self.pos_embed

        def modulation(layer: Block | FinalLayer, parts: int) -> Modulation:
            numbers_UM = layer.adaLN_modulation[1](condition_UD)
            numbers_RM = numbers_UM if which_R is None else numbers_UM[which_R]
            return numbers_RM.unsqueeze(1).chunk(parts, dim=-1)

        for block in self.blocks:
            six = modulation(block, 6)
            x_RLD = block(x_RLD.to(six[0].dtype), six)  # autocast's, where the caller asked for it
        return self._picture(self.final_layer(x_RLD, modulation(self.final_layer, 2)).float())

    def _picture(self, x_RLO: Tensor) -> Tensor:
        """Tokens of (row in patch, column in patch, channel) as (R, O, H, H)."""
        p, side = self.patch_size, self.side
        x_RyxppO = x_RLO.view(-1, side, side, p, p, self.output_channels)
        return x_RyxppO.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.output_channels, side * p, side * p)

    def _check(self, x_BCHW: Tensor) -> None:
        expected = (self.channels, self.latent_size, self.latent_size)
        if tuple(x_BCHW.shape[1:]) != expected:
            raise ValueError(
                f"latents of shape {tuple(x_BCHW.shape)} do not fit this model; "
                f"give (batch, {', '.join(map(str, expected))})"
            )


def _one_time(t_B: Tensor) -> bool:
    """Whether the times were expanded from a single one: known without looking at them."""
    return len(t_B) > 1 and t_B.stride(0) == 0


@torch.no_grad()
def initialise(model: DiT, initial_values: str, generator: torch.Generator) -> None:
    """The published initialisation: Xavier-uniform weights, zero biases, zero gates and last layer.

    Args:
        model: changed in place.
        initial_values: "published": label table and time network are small, normal of standard deviation 0.02. "unit":
            both give vectors of unit variance, so that labels are learnt sooner (FID 7.7 against 10.1 after 10,240
            images, equal after 30,720; docs/log.md).
        generator: source of all random numbers, on the CPU.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or "adaLN_modulation" in name or name.startswith("final_layer"):
            parameter.zero_()
        elif name.startswith(("t_embedder", "y_embedder")):
            parameter.normal_(generator=generator)
        else:
            nn.init.xavier_uniform_(parameter.view(len(parameter), -1), generator=generator)
    first, second = model.t_embedder.mlp[0].weight, model.t_embedder.mlp[2].weight
    if initial_values == "published":
        stds = (0.02, 0.02, 0.02)
    else:  # frequencies have a squared length of F / 2; SiLU of a unit normal has a mean square of 0.356
        stds = (1.0, math.sqrt(2 / FREQUENCIES), math.sqrt(1 / (0.356 * model.width)))
    for weight, std in zip((model.y_embedder.embedding_table.weight, first, second), stds, strict=True):
        weight.mul_(std)


def build_dit(config: DiTConfig, *, seed: int = 0) -> DiT:
    """A freshly initialised model; its weights are a function of the config and the seed, of nothing else.

    Args:
        config: resolved (no None left).
        seed: of the initial weights.

    Raises:
        ValueError: the config is not resolved, or cannot be built.
    """
    unresolved = [name for name, value in config if value is None]
    if unresolved:
        raise ValueError(f"model.{unresolved[0]} is not set; resolve the config before building a model from it")
    for problem in problems(config):
        raise ValueError(problem)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their own initial weights first
        model = DiT(
            depth=config.depth,
            width=config.width,
            heads=config.heads,
            patch_size=config.patch_size,
            latent_size=config.latent_size,
            channels=config.latent_channels,
            num_classes=config.num_classes,
            learned_variance=config.learned_variance,
            target=config.target,
        )
    initialise(model, config.initial_values, torch.Generator().manual_seed(seed))
    return model
