"""Train a tokenizer, or put one of imported weights in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from var_scaling.config.data import DataConfig
from var_scaling.errors import EnvironmentProblem
from var_scaling.planning.imported import HASH_DIGITS, weights_path
from var_scaling.runs import layout, store
from var_scaling.state_dicts import weights_hash
from var_scaling.tokenizers.base import TokenizerConfig
from var_scaling.tokenizers.registry import module_of, read_tokenizer
from var_scaling.training.tokenizer import train_tokenizer
from var_scaling.work.context import Context


def place_imported(runs: Path, config: TokenizerConfig, out: Path) -> dict[str, Any]:
    """A tokenizer whose weights were read into the store, as if it had been trained there.

    Raises:
        EnvironmentProblem: they are not in this store.
    """
    held = weights_path(runs, config.weights)
    if not held.is_file():
        raise EnvironmentProblem(
            f"the weights {config.weights} are not in {held.parents[1]}; `var-scaling import FILE` puts them there"
        )
    module = module_of(config).build(config)
    module.load_state_dict(load_file(held))
    if (found := weights_hash(module)[:HASH_DIGITS]) != config.weights:
        raise EnvironmentProblem(f"{held} is damaged: its content is {found}; delete its folder and import it again")
    store.link_or_copy(held, layout.weights(out))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return {"kind": "imported tokenizer", "weights": config.weights, "parameters": parameters}


def do(context: Context) -> None:
    config = read_tokenizer(context.config["tokenizer"])
    if config.imported:
        context.publish(lambda out: place_imported(context.runs, config, out))
        return
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
