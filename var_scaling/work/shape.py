"""Train the feature network of `shape` metrics."""

from __future__ import annotations

from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ShapeConfig
from var_scaling.evaluation.shape import train_shape
from var_scaling.work.context import Context


def do(context: Context) -> None:
    data = DataConfig.model_validate(context.config["data"])
    recipe = ShapeConfig.model_validate(context.config["shape"])
    images = context.images(data)
    context.publish(
        lambda out: train_shape(data, images, recipe, attempt=context.attempt, out=out, device=context.device)
    )
