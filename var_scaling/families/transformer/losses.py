"""What a row says of a model of tokens. Torch-free."""

from __future__ import annotations

from var_scaling.runs.columns import Column

_COMPARABLE = ("tokenizer",)  # nats per token of one tokenizer say nothing of another's

TOKEN_LOSSES = (
    Column("loss_all_scales", "nats per token", "loss", "cross-entropy over all tokens", _COMPARABLE, "loss"),
    Column("loss_last_scale", "nats per token", "loss", "the same over the last scale", _COMPARABLE, "last"),
    Column("error_all_scales", "share", "loss", "tokens whose likeliest code is wrong", _COMPARABLE, "error"),
    Column("error_last_scale", "share", "loss", "the same over the last scale", _COMPARABLE),
)

MOST_SCALES = 32  # of any published list of token maps, and more

TOKEN_COLUMNS = (
    Column("width", "channels", "size", "of the transformer"),
    Column("head_dim", "channels", "size", "of an attention head"),
    Column("heads", "heads", "size", ""),
    Column("adaln", "", "identity", "adaptive-norm projections a block, or shared"),
    Column("vocab_size", "codes", "identity", "of the tokenizer"),
    Column("gamma_init", "", "recipe", "factor on the branches' initial gains"),
    Column("drop_path", "share", "recipe", "stochastic depth of the last block"),
    *(
        Column(f"{name}_scale_{scale}", unit, "loss", f"of scale {scale}", _COMPARABLE)
        for scale in range(1, MOST_SCALES + 1)
        for name, unit in (("loss", "nats per token"), ("error", "share"))
    ),
)
