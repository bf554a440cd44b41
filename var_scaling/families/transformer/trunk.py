"""What transformers over an image's tokens share, whatever the order in which they predict them.

The class is both the first token (or the first scale's) and, through adaptive layer norms, the condition of every
block; queries and keys have unit length, with a learned temperature for each head. What each token reads and which
tokens it sees is the family's: what it hands to `forward`, and the attention. Parameters have VAR's published names.

Dimension key: B batch, L tokens of an image, C width, V vocabulary, D residual branches = 2 * depth.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling.families.transformer.attention import Attend
from var_scaling.families.transformer.layers import Block, HeadNorm, Modulation


class TokenTransformer(nn.Module):
    """Embeddings, blocks and head.

    Args:
        depth: number of blocks.
        width: channels C; a multiple of heads.
        heads: attention heads.
        start_tokens: tokens that read the class alone.
        tokens: of an image, L.
        scales: levels that are told apart by an embedding.
        vocab_size: codes of the tokenizer, V.
        latent_dim: numbers of a latent vector, of which every token but the first ones reads one.
        num_classes: class ids are 0 .. num_classes - 1; num_classes itself is the null class of guidance.
        shared_adaln: one adaptive-norm projection for all blocks instead of one a block.
        l2_norm: unit-length queries and keys with a learned temperature.
        attend: attention without a cache.
    """

    def __init__(
        self,
        *,
        depth: int,
        width: int,
        heads: int,
        start_tokens: int,
        tokens: int,
        scales: int,
        vocab_size: int,
        latent_dim: int,
        num_classes: int,
        shared_adaln: bool,
        l2_norm: bool,
        attend: Attend,
    ):
        super().__init__()
        self.depth, self.width, self.heads, self.tokens = depth, width, heads, tokens
        self.vocab_size, self.latent_dim, self.num_classes = vocab_size, latent_dim, num_classes
        self.word_embed = nn.Linear(latent_dim, width)
        self.class_emb = nn.Embedding(num_classes + 1, width)
        self.pos_start = nn.Parameter(torch.zeros(1, start_tokens, width))
        self.pos_1LC = nn.Parameter(torch.zeros(1, tokens, width))
        self.lvl_embed = nn.Embedding(scales, width)
        if shared_adaln:
            self.shared_ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.shared_adaln = shared_adaln
        self.blocks = nn.ModuleList(Block(width, heads, l2_norm, shared_adaln, attend) for _ in range(depth))
        self.head_nm = HeadNorm(width)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, labels_B: Tensor, read_BLZ: Tensor, keep_path_DB: Tensor | None = None) -> Tensor:
        """Logits of every token, teacher-forced.

        Args:
            labels_B: (B) int64 class ids; `num_classes` is the null class. No label is dropped here.
            read_BLZ: (B, L - start tokens, Z), what each token reads but those that read the class alone.
            keep_path_DB: (2 * depth, B) multipliers of the residual branches, 0 or 1 / keep probability; None keeps
                all.

        Returns:
            (B, L, V) float32.
        """
        with torch.autocast(labels_B.device.type, enabled=False):
            class_BC = self.class_emb(labels_B)
            first_BlC = class_BC[:, None] + self.pos_start
            x_BLC = torch.cat((first_BlC, self.word_embed(read_BLZ.float())), dim=1) + self.positions()
        modulations, head_modulation = self.modulations(class_BC)
        x_BLC = x_BLC.to(modulations[0][0].dtype)  # autocast's, where the caller asked for it
        for i, (block, modulation) in enumerate(zip(self.blocks, modulations, strict=True)):
            keep_path_2B = None if keep_path_DB is None else keep_path_DB[2 * i : 2 * i + 2].to(x_BLC.dtype)
            x_BLC = block(x_BLC, modulation, keep_path_2B)
        return self.logits(x_BLC, head_modulation)

    def positions(self) -> Tensor:
        """(1, L, C): place, and level (`lvl_1L`, a buffer of the family's)."""
        return self.pos_1LC + self.lvl_embed(self.lvl_1L)

    def modulations(self, class_BC: Tensor) -> tuple[list[Modulation], Modulation]:
        """Everything that the class says to the blocks and to the head's norm: once an image."""
        active_BC = F.silu(class_BC)
        shared_B6C = self.shared_ada_lin[1](active_BC) if self.shared_adaln else active_BC
        return [block.modulation(shared_B6C) for block in self.blocks], self.head_nm.modulation(active_BC)

    def logits(self, x_BLC: Tensor, head_modulation: Modulation) -> Tensor:
        scale, shift = (part.float() for part in head_modulation)
        return self.head(self.head_nm(x_BLC.float(), (scale, shift))).float()


@torch.no_grad()
def initialise(model: TokenTransformer, gamma_init: float, generator: torch.Generator) -> None:
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
