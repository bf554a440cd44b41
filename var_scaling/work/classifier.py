"""Train the feature network of `classifier` metrics."""

from __future__ import annotations

from var_scaling.config.data import DataConfig
from var_scaling.config.evaluate import ClassifierConfig
from var_scaling.evaluation.classifier import train_classifier
from var_scaling.work.context import Context


def do(context: Context) -> None:
    data = DataConfig.model_validate(context.config["data"])
    recipe = ClassifierConfig.model_validate(context.config["classifier"])
    images = context.images(data)
    context.publish(
        lambda out: train_classifier(
            data,
            images,
            config=recipe,
            attempt=context.attempt,
            out=out,
            device=context.device,
            threads=context.execution.threads,
        )
    )
