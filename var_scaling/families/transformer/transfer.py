"""Hyper-parameters that hold at every size: what initial weights and rates are beside those of a smaller model.

The paper initialises every part by the width and trains every part at one rate; the best rate then falls with size.
Under transfer a model is the paper's at a base depth, and wider and deeper ones change so that every update moves the
function as far as it does there (maximal update, for Adam; depth as in CompleteP with exponent 1). Width grows with
depth here, heads keep their size, and queries and keys have unit length, so attention needs no rule of its own.

    part                                      initial std, of the base's      rate, of the base's
    embeddings (class, position, level), what latents enter by    1                   1
    hidden: queries, keys, values, fc1, adaptive norms            (w / w0) ** -1/2    w0 / w
    hidden at a branch's end: proj, fc2                           ... * d0 / d        w0 / w * d0 / d
    head                                                          w0 / w              w0 / w
    biases, temperatures; those at a branch's end                 0                   1; d0 / d

Weight decay acts through rate times decay, which stays what it is at the base: its factor is one over the rate's.

Source: Yang et al. 2022 (arXiv:2203.03466, table 3), Dey et al. 2025 (arXiv:2505.01618); nobody has published it for
VAR. The adaptive norms' gains are hidden weights and start near zero in proportion (`gamma_init`, as the paper's).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from var_scaling.families.transformer.training import decays
from var_scaling.families.transformer.trunk import TokenTransformer

_INPUT = re.compile(r"^(word_embed\.weight|class_emb|pos_start|pos_1LC|lvl_embed)|ada_gss$")
_BRANCH_END = re.compile(r"\.(attn\.proj|ffn\.fc2)\.")


@dataclass(frozen=True)
class Factors:
    """Of one parameter, beside the paper's rule at its own size (`std`) and beside the base's (`rate`)."""

    std: float
    rate: float


def factors(name: str, larger: float) -> Factors:
    """The rule above.

    Args:
        name: of a parameter of `TokenTransformer`.
        larger: depth over the base's, which is width over the base's.
    """
    end = 1 / larger if _BRANCH_END.search(name) else 1.0
    if name.endswith("bias") or name.endswith("scale_mul_1H11"):
        return Factors(1.0, end)
    if _INPUT.search(name):
        return Factors(math.sqrt(larger), 1.0)  # the paper's std falls with the root of the width
    if name.startswith("head.weight"):
        return Factors(1 / math.sqrt(larger), 1 / larger)
    # The paper divides a branch's end by the root of twice the depth already.
    return Factors(math.sqrt(larger) * end if end != 1.0 else 1.0, end / larger)


@torch.no_grad()
def rescale(module: TokenTransformer, base_depth: int) -> None:
    """Make a fresh model of the paper's one of this parametrisation, in place."""
    for name, parameter in module.named_parameters():
        if not name.endswith("scale_mul_1H11"):
            parameter.mul_(factors(name, module.depth / base_depth).std)


def transferred_groups(module: TokenTransformer, base_depth: int) -> list[dict[str, Any]]:
    """Parameter groups with the factor of each on the rate; the one on decay is its inverse."""
    found: dict[tuple[bool, float], list[torch.nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = decays(name, parameter), factors(name, module.depth / base_depth).rate
            found.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "decayed": decayed, "rate": rate}
        for (decayed, rate), parameters in sorted(found.items(), key=lambda item: (not item[0][0], -item[0][1]))
    ]
