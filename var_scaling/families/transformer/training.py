"""How models of tokens learn and are judged: parameter groups, what is drawn by address, cross-entropy of each scale.

Dimension key: B batch, L tokens of an image, V vocabulary, K scales, M validation images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from var_scaling import randomness
from var_scaling.config.train import TrainConfig
from var_scaling.families.transformer.config import TokenModelConfig

# No decay for these, nor for biases and one-dimensional parameters; the class embedding does decay (var.md 2.6).
UNDECAYED = ("pos_1LC", "pos_start", "lvl_embed", "ada_gss", "scale_mul")


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on a parameter."""
    return parameter.ndim > 1 and not name.endswith("bias") and not any(word in name for word in UNDECAYED)


def groups(module: nn.Module) -> list[dict[str, Any]]:
    """The reference's two groups of parameters."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    return [
        {"params": [p for n, p in named if decays(n, p)], "decayed": True},
        {"params": [p for n, p in named if not decays(n, p)], "decayed": False},
    ]


def blocks(module: Any) -> nn.ModuleList:
    """What is computed again under `execution.recompute`."""
    return module.blocks  # type: ignore[no-any-return]


def draws(config: TokenModelConfig, train: TrainConfig, seed: int, positions: NDArray[np.int64]) -> dict[str, Tensor]:
    """Which labels and which residual branches are dropped."""
    assert train.label_drop is not None and config.drop_path is not None, "resolve the config first"
    found = {"dropped": label_drops(seed, train.label_drop, positions)}
    if config.drop_path:
        found["keep_path"] = path_keeps(seed, config.drop_path, config.depth, positions)
    return found


def label_drops(seed: int, label_drop: float, positions: NDArray[np.int64]) -> Tensor:
    """(B) bool: the images of a run that are learnt without their class, each by its own address."""
    return torch.from_numpy(randomness.uniform(seed, "label-drop", positions) < label_drop)


def path_keeps(seed: int, drop_path: float, depth: int, positions: NDArray[np.int64]) -> Tensor:
    """(B, 2 * depth) multipliers of the residual branches, 0 or 1 / keep probability: the rate rises with the block."""
    rates_D = np.repeat(np.linspace(0.0, drop_path, depth), 2)
    draws_DB = randomness.uniform(seed, "drop-path", np.arange(len(rates_D))[:, None], positions[None, :])
    keeps_DB = np.where(draws_DB < rates_D[:, None], 0.0, 1.0 / (1.0 - rates_D[:, None]))
    return torch.from_numpy(keeps_DB.T.astype(np.float32))


def noise(module: Any, sampler: Any, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """One uniform number a token."""
    return {"uniform": torch.rand(count, module.tokens, generator=generator)}


def summarise(config: TokenModelConfig, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Loss (nats per token) and token error: of all scales, the last, and each."""
    assert config.patch_nums is not None, "resolve the config first"
    return means_of_scales(sums, [side * side for side in config.patch_nums])


def cross_entropy(logits_BLV: Tensor, tokens_BL: Tensor, smoothing: float) -> Tensor:
    """Mean over all tokens of a batch, in nats."""
    return F.cross_entropy(logits_BLV.float().flatten(0, 1), tokens_BL.flatten(), label_smoothing=smoothing)


def kept_log_probability(logits_BLV: Tensor, tokens_BL: Tensor, kept_BL: Tensor) -> Tensor:
    """(B) nats: what a model gives the kept tokens, each after all that stands before it, the drawn ones included.

    It is the weight of a drawn sample among others of the same picture (importance sampling): the model drew its tokens
    without having seen the kept ones that come later.
    """
    each_BL = -F.cross_entropy(logits_BLV.float().flatten(0, 1), tokens_BL.flatten(), reduction="none").view_as(
        tokens_BL
    )
    return (each_BL * kept_BL).double().sum(1)


def sums_of_scales(logits_BLV: Tensor, tokens_BL: Tensor, sizes: Sequence[int]) -> dict[str, Tensor]:
    """Sums over the tokens of each scale, (B, K) float64: "loss" in nats, "error" in wrong tokens."""
    logits_BLV = logits_BLV.float()
    loss_BL = F.cross_entropy(logits_BLV.flatten(0, 1), tokens_BL.flatten(), reduction="none").view_as(tokens_BL)
    wrong_BL = logits_BLV.argmax(-1) != tokens_BL
    return {
        name: torch.stack([s.sum(1) for s in values_BL.double().cpu().split(list(sizes), 1)], 1)
        for name, values_BL in (("loss", loss_BL), ("error", wrong_BL))
    }


def means_of_scales(sums: Mapping[str, NDArray[np.float64]], sizes: Sequence[int]) -> dict[str, float]:
    """The columns of a row from the (M, K) sums of all validation images."""
    columns: dict[str, float] = {}
    for name in ("loss", "error"):
        sums_MK = sums[name]
        images = len(sums_MK)
        by_scale = [float(sums_MK[:, k].sum()) / (images * size) for k, size in enumerate(sizes)]
        columns[f"{name}_all_scales"] = float(sums_MK.sum(1).sum()) / (images * sum(sizes))
        columns[f"{name}_last_scale"] = by_scale[-1]
        columns |= {f"{name}_scale_{k + 1}": value for k, value in enumerate(by_scale)}
    return columns
