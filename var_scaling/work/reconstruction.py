"""Measure a tokenizer: the floor of the metrics of all models behind it."""

from __future__ import annotations

from var_scaling.config import yaml
from var_scaling.config.evaluate import FidEvaluation
from var_scaling.evaluation.fid import evaluate_tokenizer
from var_scaling.runs import layout
from var_scaling.work.context import Context


def do(context: Context) -> None:
    evaluation = FidEvaluation.model_validate(yaml.tuples(context.config["evaluation"]))
    images = context.images(evaluation.data)
    context.publish(
        lambda out: evaluate_tokenizer(
            context.tokenizer(),
            evaluation,
            images,
            extractor_folder=context.needs.get(evaluation.fid.features),
            cache=layout.features(context.runs),
            out=out,
            attempt=context.attempt,
            device=context.device,
            weights=context.placement.feature_weights,
        )
    )
