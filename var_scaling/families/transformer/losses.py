"""What a row says of a model of tokens. Torch-free."""

from __future__ import annotations

from var_scaling.runs.columns import Column

_COMPARABLE = ("tokenizer",)  # nats per token of one tokenizer say nothing of another's

TOKEN_LOSSES = (
    Column("loss_all_scales", "nats per token", "loss", "cross-entropy over all tokens", _COMPARABLE),
    Column("loss_last_scale", "nats per token", "loss", "cross-entropy over the last scale's tokens", _COMPARABLE),
    Column("error_all_scales", "share", "loss", "tokens whose likeliest code is wrong", _COMPARABLE),
    Column("error_last_scale", "share", "loss", "the same over the last scale", _COMPARABLE),
)
