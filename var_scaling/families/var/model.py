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

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from var_scaling.families.transformer.attention import (
    KeyValueCache,
    block_causal_attention,
    levels,
    masked_attention,
)
from var_scaling.families.transformer.sampling import draw, filter_logits
from var_scaling.families.transformer.trunk import TokenTransformer, initialise
from var_scaling.families.var.config import VARConfig

if TYPE_CHECKING:
    from var_scaling.tokenizers.vq.model import Tokenizer


class VAR(TokenTransformer):
    """A class-conditional next-scale transformer; `forward` reads `tokenizer.teacher_forcing_input(tokens)`.

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
        sizes = tuple(side * side for side in patch_nums)
        super().__init__(
            depth=depth,
            width=width,
            heads=heads,
            start_tokens=sizes[0],
            tokens=sum(sizes),
            scales=len(sizes),
            vocab_size=vocab_size,
            latent_dim=latent_dim,
            num_classes=num_classes,
            shared_adaln=shared_adaln,
            l2_norm=l2_norm,
            attend=(masked_attention if masked else block_causal_attention)(sizes),
        )
        self.patch_nums, self.sizes, self.drop_path = tuple(patch_nums), sizes, drop_path
        self.register_buffer("lvl_1L", torch.tensor(levels(sizes))[None], persistent=False)

    def drop_path_rates(self) -> Tensor:
        """(2 * depth) drop probabilities of the residual branches: 0 in the first block, `drop_path` in the last."""
        return torch.linspace(0, self.drop_path, self.depth).repeat_interleave(2)

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
        known: Tensor | None = None,
        kept: Tensor | None = None,
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
            known: (B, L) int64 tokens of images of which a part is kept.
            kept: (B, L) bool: where the token of `known` stands, whatever was drawn: later scales read the picture
                with it.

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
        modulations, head_modulation = self.modulations(class_RC)
        positions_1LC = self.positions()
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
            logits_BlV = self.logits(x_RlC, head_modulation)
            if guidance != 0:
                t = guidance * k / last if last else 0.0
                conditional_BlV, unconditional_BlV = logits_BlV.chunk(2)
                logits_BlV = (1 + t) * conditional_BlV - t * unconditional_BlV
            if top_k == 1:
                tokens.append(logits_BlV.argmax(-1))
            else:
                tokens.append(draw(filter_logits(logits_BlV, top_k, top_p), uniform_BL[:, begin:end]))
            if known is not None and kept is not None:
                tokens[-1] = torch.where(kept[:, begin:end], known[:, begin:end], tokens[-1])
            if k < last:
                picture = tokenizer.add_scale(picture, k, tokens[-1])
                x_BlC = self.word_embed(tokenizer.scale_input(picture, k + 1))
                x_RlC = x_BlC if guidance == 0 else torch.cat((x_BlC, x_BlC))
            begin = end
        return tokens


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
            heads=config.head_count,
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
