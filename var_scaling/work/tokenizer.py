"""Train a tokenizer."""

from __future__ import annotations

from var_scaling.config.data import DataConfig
from var_scaling.tokenizers.registry import module_of, read_tokenizer
from var_scaling.training.tokenizer import train_tokenizer
from var_scaling.work.context import Context


def do(context: Context) -> None:
    config = read_tokenizer(context.config["tokenizer"])
    images = context.images(DataConfig.model_validate(context.config["data"]))
    context.publish(
        lambda out: train_tokenizer(
            config,
            images,
            attempt=context.attempt,
            out=out,
            device=context.device,
            threads=context.execution.threads,
            make=module_of(config).make,
        )
    )
