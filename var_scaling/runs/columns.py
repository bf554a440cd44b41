"""Every column of a row: name, unit, part, meaning. Said once, and written beside the rows for whoever reads them.

A family declares its own (`Family.losses`, `Family.own_columns`); the rest of a row is the same for all families and
stands here. `columns.json` in the runs folder holds what every family's rows are made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Part = Literal["identity", "size", "compute", "loss", "recipe", "provenance"]


@dataclass(frozen=True)
class Column:
    """One column.

    A `loss` may be fitted, and compared between rows whose `comparable` columns are equal; no other two share an axis,
    a table or a fit. The first loss of a family is its headline.
    """

    name: str
    unit: str
    part: Part
    means: str
    comparable: tuple[str, ...] = ()
    heading: str = ""  # in a table; a column without one is not shown there


COLUMNS = (
    Column("trial", "", "identity", "id: a hash of all that changes the numbers"),
    Column("cell", "", "identity", "the same without the seed"),
    Column("family", "", "identity", "kind of model"),
    Column("depth", "blocks", "identity", "the ladder's dial"),
    Column("seed", "", "identity", "of weights, order and draws"),
    Column("numerics", "", "identity", "raised when a change of code alters numbers"),
    Column("data_name", "", "identity", "image set"),
    Column("data", "", "identity", "hash of the images' bytes"),
    Column("tokenizer", "", "identity", "hash of the tokenizer's weights"),
    Column("unique_images", "images", "identity", "distinct training images, U"),
    Column("views", "views an image", "identity", "crops and flips that are cached, K"),
    Column("images_seen", "images", "compute", "seen in training, D; repeats count"),
    Column("branch_images", "images", "compute", "seen on the trunk before the branch"),
    Column("epochs", "", "compute", "images seen over unique images"),
    Column("tokens_per_image", "tokens", "size", "that the transformer computes"),
    Column("params_total", "parameters", "size", "trainable, N"),
    Column("params_blocks", "parameters", "size", "attention and feed-forward"),
    Column("params_adaln", "parameters", "size", "the blocks' adaptive-norm projections, which act once an image"),
    Column("params_embedding", "parameters", "size", "of inputs, classes, places"),
    Column("params_head", "parameters", "size", "output layer"),
    Column("params_head_norm", "parameters", "size", "adaptive norm before the head"),
    Column("forward_flops_per_image", "FLOPs", "compute", "one forward pass, dense attention"),
    Column("train_flops_per_image", "FLOPs", "compute", "forward and backward, dense attention"),
    Column("train_flops", "FLOPs", "compute", "of all images seen, dense attention, C"),
    Column("train_flops_visible", "FLOPs", "compute", "the same, of the attention pairs that are not masked"),
    Column("flops_6nd", "FLOPs", "compute", "6 N tokens, for comparison only"),
    Column("forward_macs", "MACs", "compute", "half the forward FLOPs of all images seen"),
    Column("batch_size", "images", "recipe", ""),
    Column("recipe", "", "recipe", "where what was left open comes from"),
    Column("learning_rate", "", "recipe", "peak"),
    Column("weight_decay", "", "recipe", ""),
    Column("label_drop", "share", "recipe", "of labels, for guidance"),
    Column("schedule", "", "recipe", ""),
    Column("precision", "", "recipe", ""),
    Column("train_loss", "the family's", "provenance", "mean of the last journal window, label drop included"),
    Column("seconds", "s", "provenance", "inside training steps"),
    Column("images_per_second", "images / s", "provenance", ""),
    Column("finished", "s since 1970", "provenance", ""),
    Column("attempts", "", "provenance", "times that the trial was run"),
    Column("device", "", "provenance", ""),
    Column("host", "", "provenance", ""),
    Column("threads", "", "provenance", "of one process"),
    Column("processes", "", "provenance", "that shared the batch"),
    Column("torch", "", "provenance", "version"),
    Column("python", "", "provenance", "version"),
    Column("code", "", "provenance", "hash of the sources"),
)
# Columns that may differ between two runs that are bit-equal: time, place, versions, attempts.
NOT_COMPARED = frozenset(
    {"seconds", "images_per_second", "finished", "host", "device", "processes", "torch", "python", "code", "attempts"}
)


def described(columns: Iterable[Column]) -> list[dict[str, Any]]:
    """Columns as `columns.json` holds them; the first loss is the headline."""
    return [asdict(column) for column in columns]
