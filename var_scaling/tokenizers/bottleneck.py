"""What stands between encoder and decoder while a tokenizer is trained: all that the trainer does not know of a kind.

Dimension key: B batch, Z latent channels, h = w side of the latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Squeezed:
    """A batch that has passed the bottleneck.

    picture_BZhw: what the decoder reads.
    losses: the bottleneck's own, by name, with their weights.
    seen: whatever the bottleneck wants back in `after`.
    """

    picture_BZhw: Tensor
    losses: dict[str, Tensor]
    seen: Any = None


class Judge(Protocol):
    """Reconstructions of validation images, and what is to be said of all of them."""

    def __call__(self, truth_B3HW: Tensor) -> Tensor:
        """The images as the tokenizer gives them back, (B, 3, H, W) in [-1, 1]."""

    def report(self) -> dict[str, Any]:
        """Of all images so far."""


class Bottleneck(Protocol):
    """See the head of this file. Random choices are addressed by images seen."""

    def start(self, features: Callable[[], Tensor]) -> None:
        """Before the first step; `features` computes those of the first batch, float32, without gradients."""

    def __call__(self, features_BZhw: Tensor, images: int) -> Squeezed:
        """One batch's float32 features; `images` were seen before it."""

    def after(self, squeezed: Squeezed, images: int, batch: int) -> None:
        """After the optimizer's step; `images` were seen, this batch's `batch` included."""

    def measured(self) -> dict[str, float]:
        """What is journalled of the batches since `open_window`."""

    def open_window(self) -> None:
        """Start measuring anew."""

    def finish(self, batches: Iterable[Tensor]) -> None:
        """After the last step: (B, 3, H, W) training images in their plain view, if they are wanted."""

    def judge(self) -> Judge:
        """For the report."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, the open window included; names are unique in the trainer's own state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave; other names are others'."""


Make = Callable[[Any, torch.device], tuple[nn.Module, Bottleneck]]  # from a resolved config, freshly initialised
