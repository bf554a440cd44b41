"""VAR: next-scale prediction over a pyramid of token maps (Tian et al. 2024, arXiv:2404.02905).

What differs from a GPT:
  - all tokens of a scale are predicted at once, from the scales before it; attention is full within a scale
  - the input at scale k is no token embedding: it is the tokenizer's picture so far, shrunk to scale k's size
  - the class is both the first token and, through adaptive layer norms, the condition of every block
  - queries and keys have unit length, with a learned temperature for each head

Nothing here consumes random numbers but initialisation (from a seed) and sampling (from a generator): label dropout and
drop path are decided by the caller, who addresses them by seed and image. Parameters have the published names.

Dimension key: B batch, L tokens of an image, l tokens of one scale, K scales, C width, H heads, V vocabulary, Z latent
channels, D residual branches = 2 * depth (attention and feed-forward of each block), R rows = B, or 2 B under guidance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling.families.transformer.attention import KeyValueCache, block_causal_attention, masked_attention
from var_scaling.families.transformer.layers import Block, HeadNorm, Modulation
from var_scaling.families.transformer.sampling import draw, filter_logits
from var_scaling.families.var.config import VARConfig

if TYPE_CHECKING:
    from var_scaling.tokenizers.vq.model import Tokenizer


class VAR(nn.Module):
    """A class-conditional next-scale transformer.

    Args:
        depth: number of blocks.
        width: channels C; a multiple of heads.
        heads: attention heads.
        patch_nums: side of each token map, coarse to fine.
        vocab_size: codes of the tokenizer.
        latent_dim: channels Z of the tokenizer's feature map.
        num_classes: class ids are 0 .. num_classes - 1; num_classes itself is the null class of guidance.
        shared_adaln: one adaptive-norm projection for all blocks instead of one a block.
        l2_norm: unit-length queries and keys with a learned temperature.
        drop_path: highest stochastic-depth rate, reached by the last block (see `drop_path_rates`).
        masked: compute attention in the published dense masked form (equal numbers, slower).
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_nums: tuple[int, ...],
        vocab_size: int,
        latent_dim: int,
        num_classes: int,
        shared_adaln: bool = False,
        l2_norm: bool = True,
        drop_path: float = 0.0,
        masked: bool = False,
    ):
        super().__init__()
        self.depth, self.width, self.heads = depth, width, heads
        self.patch_nums, self.vocab_size, self.latent_dim = tuple(patch_nums), vocab_size, latent_dim
        self.num_classes, self.drop_path = num_classes, drop_path
        self.sizes = tuple(side * side for side in self.patch_nums)
        self.tokens = sum(self.sizes)

        self.word_embed = nn.Linear(latent_dim, width)
        self.class_emb = nn.Embedding(num_classes + 1, width)
        self.pos_start = nn.Parameter(torch.zeros(1, self.sizes[0], width))
        self.pos_1LC = nn.Parameter(torch.zeros(1, self.tokens, width))
        self.lvl_embed = nn.Embedding(len(self.sizes), width)
        level_L = torch.tensor([level for level, size in enumerate(self.sizes) for _ in range(size)])
        self.register_buffer("lvl_1L", level_L[None], persistent=False)

        if shared_adaln:
            self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.shared_adaln = shared_adaln
        attend = (masked_attention if masked else block_causal_attention)(self.sizes)
        self.blocks = nn.ModuleList(Block(width, heads, l2_norm, shared_adaln, attend) for _ in range(depth))
        self.head_nm = HeadNorm(width)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, labels_B: Tensor, teacher_forcing_BLZ: Tensor, keep_path_DB: Tensor | None = None) -> Tensor:
        """Logits of every token given the true scales before it.

        Args:
            labels_B: (B) int64 class ids; `num_classes` is the null class. No label is dropped here.
            teacher_forcing_BLZ: (B, L - l_1, Z), `tokenizer.teacher_forcing_input(tokens)`; the first scale reads the
                class alone.
            keep_path_DB: (2 * depth, B) multipliers of the residual branches, 0 or 1 / keep probability; None keeps
                all.

        Returns:
            (B, L, V) float32.
        """
        with torch.autocast(labels_B.device.type, enabled=False):
            class_BC = self.class_emb(labels_B)
            first_BlC = class_BC[:, None] + self.pos_start
            x_BLC = torch.cat((first_BlC, self.word_embed(teacher_forcing_BLZ.float())), dim=1) + self._positions()
        modulations, head_modulation = self._modulations(class_BC)
        x_BLC = x_BLC.to(modulations[0][0].dtype)  # autocast's, where the caller asked for it
        for i, (block, modulation) in enumerate(zip(self.blocks, modulations, strict=True)):
            keep_path_2B = None if keep_path_DB is None else keep_path_DB[2 * i : 2 * i + 2].to(x_BLC.dtype)
            x_BLC = block(x_BLC, modulation, keep_path_2B)
        return self._logits(x_BLC, head_modulation)

    def drop_path_rates(self) -> Tensor:
        """(2 * depth) drop probabilities of the residual branches: 0 in the first block, `drop_path` in the last."""
        return torch.linspace(0, self.drop_path, self.depth).repeat_interleave(2)

    def _positions(self) -> Tensor:
        return self.pos_1LC + self.lvl_embed(self.lvl_1L)

    def _modulations(self, class_BC: Tensor) -> tuple[list[Modulation], Modulation]:
        """Everything that the class says to the blocks and to the head's norm: once an image."""
        active_BC = F.silu(class_BC)
        shared_B6C = self.shared_ada_lin[1](active_BC) if self.shared_adaln else active_BC
        return [block.modulation(shared_B6C) for block in self.blocks], self.head_nm.modulation(active_BC)

    def _logits(self, x_BLC: Tensor, head_modulation: Modulation) -> Tensor:
        scale, shift = (part.float() for part in head_modulation)
        return self.head(self.head_nm(x_BLC.float(), (scale, shift))).float()

    @torch.no_grad()
    def sample(
        self,
        labels_B: Tensor,
        tokenizer: Tokenizer,
        guidance: float = 1.5,
        top_k: int = 900,
        top_p: float = 0.96,
        generator: torch.Generator | None = None,
        uniform_BL: Tensor | None = None,
    ) -> Tensor:
        """Images of the given classes, (B, channels, height, width) in [0, 1]. Arguments: see `sample_tokens`."""
        tokens = self.sample_tokens(labels_B, tokenizer, guidance, top_k, top_p, generator, uniform_BL)
        return (tokenizer.decode(tokens) + 1) / 2

    @torch.no_grad()
    def sample_tokens(
        self,
        labels_B: Tensor,
        tokenizer: Tokenizer,
        guidance: float = 1.5,
        top_k: int = 900,
        top_p: float = 0.96,
        generator: torch.Generator | None = None,
        uniform_BL: Tensor | None = None,
    ) -> list[Tensor]:
        """Draws the token maps of one image for each label, scale by scale, with cached keys and values.

        Guidance follows VAR: (1 + t) conditional - t unconditional logits, t rising linearly from 0 at the first scale
        to `guidance` at the last. With guidance 0 no unconditional branch is run; otherwise it is run from the first
        scale on, whose own t is 0, because later scales attend to it.

        Args:
            labels_B: (B) int64 class ids; `num_classes` draws unconditionally.
            tokenizer: supplies the picture so far at each scale.
            guidance: t at the last scale.
            top_k: 0 or at least V: off. 1 is greedy.
            top_p: 0: off.
            generator: of the numbers drawn; None uses torch's global one.
            uniform_BL: (B, L) numbers in [0, 1) instead of a generator: image i then depends on row i alone.

        Returns:
            One (B, p * p) int64 map a scale, coarse to fine.

        Source: var.py of the published code, with adaptive norms computed once an image and not once a scale.
        """
        batch, device = len(labels_B), self.pos_1LC.device
        if uniform_BL is None and top_k != 1:
            generator_device = device if generator is None else generator.device
            uniform_BL = torch.rand(batch, self.tokens, generator=generator, device=generator_device).to(device)
        rows_R = labels_B if guidance == 0 else torch.cat((labels_B, torch.full_like(labels_B, self.num_classes)))
        class_RC = self.class_emb(rows_R)
        modulations, head_modulation = self._modulations(class_RC)
        positions_1LC = self._positions()
        dtype = modulations[0][0].dtype
        cache_shape = (len(rows_R), self.tokens, self.heads, self.width // self.heads)
        caches = [KeyValueCache(*cache_shape, dtype, device) for _ in self.blocks]

        picture, tokens = tokenizer.empty_picture(batch), []
        x_RlC, begin, last = class_RC[:, None] + self.pos_start, 0, len(self.sizes) - 1
        for k, size in enumerate(self.sizes):
            end = begin + size
            x_RlC = (x_RlC + positions_1LC[:, begin:end]).to(dtype)
            for block, modulation, cache in zip(self.blocks, modulations, caches, strict=True):
                x_RlC = block(x_RlC, modulation, cache=cache)
            logits_BlV = self._logits(x_RlC, head_modulation)
            if guidance != 0:
                t = guidance * k / last if last else 0.0
                conditional_BlV, unconditional_BlV = logits_BlV.chunk(2)
                logits_BlV = (1 + t) * conditional_BlV - t * unconditional_BlV
            if top_k == 1:
                tokens.append(logits_BlV.argmax(-1))
            else:
                tokens.append(draw(filter_logits(logits_BlV, top_k, top_p), uniform_BL[:, begin:end]))
            if k < last:
                picture = tokenizer.add_scale(picture, k, tokens[-1])
                x_BlC = self.word_embed(tokenizer.scale_input(picture, k + 1))
                x_RlC = x_BlC if guidance == 0 else torch.cat((x_BlC, x_BlC))
            begin = end
        return tokens


@torch.no_grad()
def initialise(model: VAR, gamma_init: float, generator: torch.Generator) -> None:
    """The published initialisation: a truncated normal of variance 1 / (3 C), then corrections by part.

    Args:
        model: changed in place.
        gamma_init: factor on the weights that give the branches' gains; near 0, a fresh block is the identity.
        generator: source of all random numbers, on the CPU.
    """
    width, depth = model.width, model.depth
    std = math.sqrt(1 / (3 * width))
    for name, parameter in model.named_parameters():
        if name.endswith("ada_gss"):
            parameter.normal_(std=1 / math.sqrt(width), generator=generator)
        elif name.endswith("bias"):
            parameter.zero_()
        elif not name.endswith("scale_mul_1H11"):  # keeps its ln 4
            nn.init.trunc_normal_(parameter, std=std, generator=generator)
    model.head.weight.mul_(0.02)
    model.head_nm.ada_lin[1].weight.mul_(0.5)
    for block in model.blocks:
        block.attn.proj.weight.div_(math.sqrt(2 * depth))
        block.ffn.fc2.weight.div_(math.sqrt(2 * depth))
        if model.shared_adaln:
            block.ada_gss[:, :, :2].mul_(gamma_init)
            block.ada_gss[:, :, 2:].mul_(0.5)
        else:
            block.ada_lin[1].weight[: 2 * width].mul_(gamma_init)
            block.ada_lin[1].weight[2 * width :].mul_(0.5)


def build_var(config: VARConfig, *, seed: int = 0, masked: bool = False) -> VAR:
    """A freshly initialised model; its weights are a function of the config and the seed, of nothing else.

    Args:
        config: resolved (no None left).
        seed: of the initial weights.
        masked: attention in the dense published form.

    Raises:
        ValueError: the config is not resolved.
    """
    unresolved = [name for name, value in config if value is None]
    if unresolved:
        raise ValueError(f"model.{unresolved[0]} is not set; resolve the config before building a model from it")
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their own initial weights first
        model = VAR(
            depth=config.depth,
            width=config.width,
            heads=config.heads,
            patch_nums=config.patch_nums,
            vocab_size=config.vocab_size,
            latent_dim=config.latent_dim,
            num_classes=config.num_classes,
            shared_adaln=config.adaln == "shared",
            l2_norm=config.attention == "l2-norm",
            drop_path=config.drop_path,
            masked=masked,
        )
    initialise(model, config.gamma_init, torch.Generator().manual_seed(seed))
    return model
