"""Encode a set of images, once for all trials."""

from __future__ import annotations

from var_scaling.config.data import DataConfig
from var_scaling.data.latents import build_latents
from var_scaling.work.context import Context


def do(context: Context) -> None:
    data = DataConfig.model_validate(context.config["data"])
    images, tokenizer = context.images(data), context.tokenizer()
    context.publish(
        lambda out: build_latents(data, images, tokenizer, attempt=context.attempt, out=out, device=context.device)
    )
