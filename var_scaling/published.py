"""The public door to published weights: state dicts as modules of ours.

Each takes what `torch.load(path, weights_only=True)` gives: the state dict, or a training's checkpoint around it. What
is known of a format stands with its family or tokenizer.
"""

from __future__ import annotations

from var_scaling.families.dit.published import load_dit
from var_scaling.families.var.published import load_var
from var_scaling.tokenizers.kl.published import load_kl_tokenizer
from var_scaling.tokenizers.vq.published import load_tokenizer

__all__ = ["load_dit", "load_kl_tokenizer", "load_tokenizer", "load_var"]
