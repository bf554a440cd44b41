"""The block of a VAR transformer: its layer norms have no weights of their own, the class gives them.

Six vectors a block (two gains for the branches, two scales and two shifts for the norms) come from the class embedding,
once an image and not once a token. A branch's gain starts near zero, so a fresh block is almost the identity.

Dimension key: B batch, L tokens, C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from var_scaling.models.attention import Attend, KeyValueCache, SelfAttention

NORM_EPSILON = 1e-6

Modulation = tuple[Tensor, ...]  # gain1, gain2, scale1, scale2, shift1, shift2: six of (B, 1, C)


class FeedForward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BLC), approximate="tanh"))


def modulated_norm(x_BLC: Tensor, scale_B1C: Tensor, shift_B1C: Tensor) -> Tensor:
    """LayerNorm without weights, times (1 + scale), plus shift."""
    normed_BLC = F.layer_norm(x_BLC, x_BLC.shape[-1:], eps=NORM_EPSILON).to(shift_B1C.dtype)
    return torch.addcmul(shift_B1C, normed_BLC, 1 + scale_B1C)


class Block(nn.Module):
    """Attention and feed-forward, each a residual branch under its own modulated norm and gain.

    With `shared_adaln` the six vectors come from one projection for all blocks, plus an offset learned by each.
    """

    def __init__(self, width: int, heads: int, l2_norm: bool, shared_adaln: bool, attend: Attend):
        super().__init__()
        self.attn = SelfAttention(width, heads, l2_norm, attend)
        self.ffn = FeedForward(width)
        self.shared_adaln = shared_adaln
        if shared_adaln:
            self.ada_gss = nn.Parameter(torch.zeros(1, 1, 6, width))
        else:
            self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def modulation(self, condition_BC: Tensor) -> Modulation:
        """Six (B, 1, C) vectors.

        Args:
            condition_BC: SiLU of the class embedding; (B, 6C), the shared projection of it, with `shared_adaln`.
        """
        if self.shared_adaln:
            return (condition_BC.view(len(condition_BC), 1, 6, -1) + self.ada_gss).unbind(2)
        return self.ada_lin[1](condition_BC).unsqueeze(1).chunk(6, dim=-1)

    def forward(
        self,
        x_BLC: Tensor,
        modulation: Modulation,
        keep_path_2B: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        gain1, gain2, scale1, scale2, shift1, shift2 = modulation
        if keep_path_2B is not None:  # on the gain: (B, 1, C) is smaller than the branch
            gain1, gain2 = gain1 * keep_path_2B[0, :, None, None], gain2 * keep_path_2B[1, :, None, None]
        x_BLC = torch.addcmul(x_BLC, gain1, self.attn(modulated_norm(x_BLC, scale1, shift1), cache))
        return torch.addcmul(x_BLC, gain2, self.ffn(modulated_norm(x_BLC, scale2, shift2)))


class HeadNorm(nn.Module):
    """The norm before the head: scale and shift from the class embedding, in that order."""

    def __init__(self, width: int):
        super().__init__()
        self.ada_lin = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def modulation(self, condition_BC: Tensor) -> Modulation:
        return self.ada_lin[1](condition_BC).unsqueeze(1).chunk(2, dim=-1)

    def forward(self, x_BLC: Tensor, modulation: Modulation) -> Tensor:
        return modulated_norm(x_BLC, *modulation)
