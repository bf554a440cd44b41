"""A next-token transformer over an image's tokens, the blocks being VAR's.

What differs from VAR: attention is causal from token to token, the first token alone reads the class, and every other
reads the codebook's vector of the token before it. Sampling therefore takes a pass for every token.

Dimension key: B batch, L tokens of an image, C width, V vocabulary, Z latent channels, R rows = B, or 2 B under
guidance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from var_scaling.families.raster.config import RasterConfig, RasterSampler
from var_scaling.families.transformer.attention import KeyValueCache, causal_attention, levels
from var_scaling.families.transformer.sampling import draw, filter_logits
from var_scaling.families.transformer.trunk import TokenTransformer, initialise


class Raster(TokenTransformer):
    """`forward(labels_B, codes_BLZ[:, :-1])` gives the logits of every token; see the head of this file.

    Args:
        config: resolved.
    """

    def __init__(self, config: RasterConfig):
        self.sizes = tuple(side * side for side in config.patch_nums or ())
        super().__init__(
            depth=config.depth,
            width=config.width,
            heads=config.head_count,
            start_tokens=1,
            tokens=sum(self.sizes),
            scales=len(self.sizes),
            vocab_size=config.vocab_size,
            latent_dim=config.latent_dim,
            num_classes=config.num_classes,
            shared_adaln=config.adaln == "shared",
            l2_norm=config.attention == "l2-norm",
            attend=causal_attention,
        )
        self.register_buffer("lvl_1L", torch.tensor(levels(self.sizes))[None], persistent=False)

    @torch.no_grad()
    def sample_tokens(
        self,
        labels_B: Tensor,
        tokenizer: Any,
        sampler: RasterSampler,
        uniform_BL: Tensor,
        known: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Draws the tokens of one image for each label, one after another, with cached keys and values.

        Args:
            labels_B: (B) int64 class ids; `num_classes` draws unconditionally.
            tokenizer: `derive("codes", ...)` gives the vectors of tokens.
            sampler: guidance and filters.
            uniform_BL: (B, L) numbers in [0, 1): image i depends on row i alone.
            known: (B, L) int64 tokens of images of which a part is kept.
            kept: (B, L) bool: where the token of `known` stands, whatever was drawn: later tokens read it.

        Returns:
            (B, L) int64.
        """
        batch, device = len(labels_B), self.pos_1LC.device
        guided = sampler.guidance != 0
        rows_R = torch.cat((labels_B, torch.full_like(labels_B, self.num_classes))) if guided else labels_B
        class_RC = self.class_emb(rows_R)
        modulations, head_modulation = self.modulations(class_RC)
        positions_1LC, dtype = self.positions(), modulations[0][0].dtype
        shape = (len(rows_R), self.tokens, self.heads, self.width // self.heads)
        caches = [KeyValueCache(*shape, dtype, device) for _ in self.blocks]
        tokens_BL = torch.empty(batch, self.tokens, dtype=torch.int64, device=device)
        x_R1C = class_RC[:, None] + self.pos_start
        for place in range(self.tokens):
            x_R1C = (x_R1C + positions_1LC[:, place : place + 1]).to(dtype)
            for block, modulation, cache in zip(self.blocks, modulations, caches, strict=True):
                x_R1C = block(x_R1C, modulation, cache=cache)
            logits_B1V = self.logits(x_R1C, head_modulation)
            if guided:
                t = sampler.guidance * (place / max(self.tokens - 1, 1) if sampler.ramp == "linear" else 1.0)
                conditional_B1V, unconditional_B1V = logits_B1V.chunk(2)
                logits_B1V = (1 + t) * conditional_B1V - t * unconditional_B1V
            if sampler.top_k == 1:
                drawn_B1 = logits_B1V.argmax(-1)
            else:
                filtered_B1V = filter_logits(logits_B1V, sampler.top_k, sampler.top_p)
                drawn_B1 = draw(filtered_B1V, uniform_BL[:, place : place + 1])
            if known is not None and kept is not None:
                here = slice(place, place + 1)
                drawn_B1 = torch.where(kept[:, here], known[:, here], drawn_B1)
            tokens_BL[:, place : place + 1] = drawn_B1
            if place + 1 < self.tokens:
                x_B1C = self.word_embed(tokenizer.derive("codes", {"tokens": drawn_B1}))
                x_R1C = torch.cat((x_B1C, x_B1C)) if guided else x_B1C
        return tokens_BL


def build_raster(config: RasterConfig, *, seed: int = 0) -> Raster:
    """A freshly initialised model; its weights are a function of the config and the seed, of nothing else."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their own initial weights first
        model = Raster(config)
    assert config.gamma_init is not None, "resolve the config first"
    initialise(model, config.gamma_init, torch.Generator().manual_seed(seed))
    return model
